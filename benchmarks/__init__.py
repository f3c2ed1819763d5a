"""The benchmark suite: real features of real networks through every codec.

At the top level of the repository it is the package `benchmarks`; installed, the same files are `featcodec.benchmarks`.
"""
