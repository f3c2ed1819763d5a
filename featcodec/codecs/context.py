"""context: symbols coded given their left and upper neighbours in the map: the tightest of ours."""

from __future__ import annotations

from featcodec.families.entropy import EntropyCodec


class ContextCodec(EntropyCodec):
    """Tokens by rANS given their neighbours, maps in parallel lanes, and raw bits; packed bits where they are smaller."""

    codec_id = "context"
    family = "context"
