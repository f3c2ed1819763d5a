"""context: symbols coded given their left and upper neighbours in the map: the tightest of ours."""

from __future__ import annotations

from featcodec.families.entropy import EntropyCodec
from featcodec.payloads.entropy import ContextCoder


class ContextCodec(ContextCoder, EntropyCodec):
    """Tokens by rANS given their neighbours, maps in parallel lanes, and raw bits; packed bits where they are smaller."""
