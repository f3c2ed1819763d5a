"""The registry: codec ids to classes, by name only, imported when asked for."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from featcodec.codec import Codec
from featcodec.errors import ConfigError
from featcodec.spec import Spec, build, parse_spec
from featcodec.table import Row, Table
from featcodec.weights import read_weights

CODECS: Table[Codec] = Table(
    "codec",
    "featcodec.codec:Codec",
    "codec_id",
    "featcodec.codecs",
    {
        "ans": Row("featcodec.codecs.ans:AnsCodec", "ans"),
        "auto": Row("featcodec.codecs.auto:AutoCodec"),
        "bitpack": Row("featcodec.codecs.bitpack:BitpackCodec"),
        "bottlenet": Row("featcodec.codecs.bottlenet:BottleNetCodec"),
        "bottlenet++": Row("featcodec.codecs.bottlenetpp:BottleNetPlusPlusCodec"),
        "context": Row("featcodec.codecs.context:ContextCodec"),
        "dsc": Row("featcodec.codecs.dsc:DscCodec"),
        "entropic": Row("featcodec.codecs.entropic:EntropicCodec"),
        "half": Row("featcodec.codecs.half:HalfCodec"),
        "heif": Row("featcodec.codecs.heif:HeifCodec", "heif"),
        "huffman": Row("featcodec.codecs.huffman:HuffmanCodec"),
        "jpeg": Row("featcodec.codecs.jpeg:JpegCodec", "image"),
        "jscc": Row("featcodec.codecs.jscc:JsccCodec"),
        "learned_scalar": Row("featcodec.codecs.learned_scalar:LearnedScalarCodec"),
        "ldpc": Row("featcodec.codecs.ldpc:LdpcCodec"),
        "png": Row("featcodec.codecs.png:PngCodec", "image"),
        "rans": Row("featcodec.codecs.rans:RansCodec"),
        "raw": Row("featcodec.codecs.raw:RawCodec"),
        "transform": Row("featcodec.codecs.transform:TransformCodec"),
        "variable-rate": Row("featcodec.codecs.variable_rate:VariableRateCodec"),
        "vfe": Row("featcodec.codecs.vfe:VfeCodec"),
        "vq": Row("featcodec.codecs.vq:VqCodec"),
        "webp": Row("featcodec.codecs.webp:WebpCodec", "image"),
    },
)


def builtin_codecs() -> tuple[str, ...]:
    """Return the ids of the codecs that ship with featcodec, sorted."""
    return tuple(sorted(CODECS.builtin))


def list_codecs() -> tuple[str, ...]:
    """Return every codec id, sorted: built-ins, registered ones, and entry points of group "featcodec.codecs".

    A codec is listed whether or not the optional package it needs is installed.
    """
    return CODECS.ids()


def register_codec(codec_id: str, target: str | type[Codec]) -> None:
    """Register a codec for this process.

    Parameters
    ----------
    codec_id
        A new id; a taken one is refused.
    target
        The class, or "package.module:Class", which is imported when the codec is asked for.

    Raises
    ------
    ConfigError
        The id is taken or no valid id, or the target is neither a Codec class nor such a string.
    """
    CODECS.register(codec_id, target)


def codec_class(codec_id: str) -> type[Codec]:
    """Return the class of a codec id.

    Raises
    ------
    UnknownCodecError
        Nothing goes by this id; near ids are named.
    MissingDependencyError
        The codec's file needs a package that is not installed; the message has the pip line.
    """
    return CODECS.class_of(codec_id)


def get_codec(spec: Spec, **params: Any) -> Codec:
    """Build a codec.

    Parameters
    ----------
    spec
        ``"huffman"``, ``"huffman:bits=4"`` or ``{"id": "huffman", "bits": 4}``.
    **params
        More parameters; they win over those of the spec.

    Raises
    ------
    UnknownCodecError, ConfigError, MissingDependencyError
        No such codec; a parameter is unknown or out of range; an optional package is missing.
    """
    codec_id, given = parse_spec(spec)
    cls = codec_class(codec_id)
    allowed = [name for name in inspect.signature(cls).parameters if name not in ("args", "kwargs")]
    # tensors of inference mode count no changes, and nobody can train them
    with torch.inference_mode(False):
        codec: Codec = build("codec", codec_id, cls, {**given, **params}, allowed)
    _check_json(codec_id, codec.config())
    return codec


def fit_spec(spec: Spec, shape: Sequence[int]) -> dict[str, Any]:
    """Return a spec as a config, with what follows from a feature's shape filled in where the spec leaves it out.

    Parameters
    ----------
    spec
        As for `get_codec`.
    shape
        Of one sample of the feature, without the batch axis: (C, h, w), (T, D), ... Learned codecs take their `maps` from it.

    Raises
    ------
    UnknownCodecError, ConfigError, MissingDependencyError
        As for `get_codec`.
    """
    codec_id, given = parse_spec(spec)
    return {"id": codec_id, **codec_class(codec_id).fitted(given, tuple(int(dim) for dim in shape))}


def load_codec(path: str | Path, *, fingerprint: str | None = None) -> Codec:
    """Build the codec of a file that `Codec.save` wrote, with its state, in eval mode.

    Parameters
    ----------
    fingerprint
        What `Codec.fingerprint` says at the other end.

    Raises
    ------
    ConfigError
        The file is damaged, no codec's, or its state is not that of its config: what differs is named. Its codec is another
        than the fingerprint's.
    FileNotFoundError, UnknownCodecError, MissingDependencyError
        No such file; no such codec; a package is missing.
    """
    config, _ = read_weights(path)
    codec = get_codec(config).eval().load(path)
    if fingerprint not in (None, codec.fingerprint()):
        raise ConfigError(f"{path} holds a codec with the fingerprint {codec.fingerprint()}, wanted {fingerprint}")
    return codec


def _check_json(codec_id: str, config: Mapping[str, Any]) -> None:
    """Raise ConfigError where a config is not plain JSON."""
    try:
        json.dumps(dict(config), allow_nan=False)
    except (TypeError, ValueError) as e:
        raise ConfigError(f"the config of {codec_id!r} is not JSON: {e}") from e
