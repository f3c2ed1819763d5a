"""Tensor building blocks: no byte format, no registry."""
