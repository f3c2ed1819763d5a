"""The choices of kernels that tests sweep: instruction sets, and on AVX-512 those for AMD's processors and for others."""

from __future__ import annotations

from featcodec import _core

KERNELS = [(level, amd) for level in _core.isas() for amd in ((False, True) if level.startswith("avx512") else (False,))]


def choose(level: str, amd: bool) -> None:
    _core.set_isa(level)
    _core.set_amd(amd)
