"""Payload coders by the id of their codec: what runs without torch. A codec that is not here runs with torch alone."""

from __future__ import annotations

from featcodec.errors import ConfigError
from featcodec.payloads.coder import PayloadCoder, State
from featcodec.spec import Spec, parse_spec
from featcodec.table import Row, Table

CODERS: Table[PayloadCoder] = Table(
    "payload coder",
    "featcodec.payloads.coder:PayloadCoder",
    "codec_id",
    "featcodec.coders",
    {
        "auto": Row("featcodec.payloads.entropy:AutoCoder"),
        "bitpack": Row("featcodec.payloads.entropy:BitpackCoder"),
        "bottlenet": Row("featcodec.payloads.latents:BottleNetCoder"),
        "bottlenet++": Row("featcodec.payloads.latents:UnitWordsCoder"),
        "context": Row("featcodec.payloads.entropy:ContextCoder"),
        "dsc": Row("featcodec.payloads.latents:DscCoder"),
        "entropic": Row("featcodec.payloads.latents:EntropicCoder"),
        "half": Row("featcodec.payloads.plain:HalfCoder"),
        "huffman": Row("featcodec.payloads.entropy:HuffmanCoder"),
        "jpeg": Row("featcodec.payloads.jpeg:JpegCoder", "image"),
        "ldpc": Row("featcodec.fec.protection:LdpcCoder"),
        "learned_scalar": Row("featcodec.payloads.latents:LearnedScalarCoder"),
        "png": Row("featcodec.payloads.png:PngCoder", "image"),
        "rans": Row("featcodec.payloads.entropy:RansCoder"),
        "raw": Row("featcodec.payloads.plain:RawCoder"),
        "transform": Row("featcodec.payloads.transform:TransformCoder"),
        "vq": Row("featcodec.payloads.latents:VqCoder"),
        "webp": Row("featcodec.payloads.webp:WebpCoder", "image"),
    },
)


def coder_of(spec: Spec, state: State) -> PayloadCoder:
    """Return the payload coder of a codec.

    Parameters
    ----------
    spec
        The codec's config, whole, as `Codec.config` gives it.
    state
        What `Codec.device_state` gave.

    Raises
    ------
    ConfigError
        The codec runs with torch alone, or config and state are not a codec's.
    MissingDependencyError
        A package is missing; the message has the pip line.
    """
    codec_id, params = parse_spec(spec)
    if codec_id not in CODERS.ids():
        raise ConfigError(f"codec {codec_id!r} does not run without torch; these do: {', '.join(CODERS.ids())}")
    return CODERS.class_of(codec_id).of(params, state)


def inner_state(state: State) -> State:
    """Return the part of a state that is the inner codec's."""
    return {name.removeprefix("inner."): value for name, value in state.items() if name.startswith("inner.")}
