"""Suites, peers, goals and committed results. Not installed: what `featcodec bench` needs is `featcodec.bench`."""
