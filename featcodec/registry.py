"""The registry: codec ids to classes, by name only, imported when asked for."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, NamedTuple

from featcodec.codec import Codec, check_params
from featcodec.errors import ConfigError, MissingDependencyError, UnknownCodecError
from featcodec.spec import Spec, build, near_names, parse_spec
from featcodec.weights import read_weights

ENTRY_POINT_GROUP = "featcodec.codecs"


class Row(NamedTuple):
    """Where a codec lives, and the extra of this package that installs what it needs."""

    target: str | type[Codec]
    extra: str | None = None


_BUILTIN: dict[str, Row] = {
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
    "variable-rate": Row("featcodec.codecs.variable_rate:VariableRateCodec"),
    "vfe": Row("featcodec.codecs.vfe:VfeCodec"),
    "vq": Row("featcodec.codecs.vq:VqCodec"),
    "webp": Row("featcodec.codecs.webp:WebpCodec", "image"),
}
_registered: dict[str, Row] = {}


@cache
def _entry_points() -> dict[str, EntryPoint]:
    """Third-party codecs; a built-in id is never theirs."""
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP) if point.name not in _BUILTIN}


def builtin_codecs() -> tuple[str, ...]:
    """Return the ids of the codecs that ship with featcodec, sorted."""
    return tuple(sorted(_BUILTIN))


def list_codecs() -> tuple[str, ...]:
    """Return every codec id, sorted: built-ins, registered ones, and entry points of group "featcodec.codecs".

    A codec is listed whether or not the optional package it needs is installed.
    """
    return tuple(sorted({*_BUILTIN, *_registered, *_entry_points()}))


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
    if not isinstance(codec_id, str) or not codec_id or any(c in codec_id for c in ":,=() "):
        raise ConfigError(f"a codec id is a non-empty string without spaces and : , = ( ), got {codec_id!r}")
    if codec_id in list_codecs():
        raise ConfigError(f"codec id {codec_id!r} is taken")
    if isinstance(target, str):
        module, _, name = target.partition(":")
        if not module or not name:
            raise ConfigError(f'a target is written "package.module:Class", got {target!r}')
    else:
        _check_class(codec_id, target)
    _registered[codec_id] = Row(target)


def codec_class(codec_id: str) -> type[Codec]:
    """Return the class of a codec id.

    Raises
    ------
    UnknownCodecError
        Nothing goes by this id; near ids are named.
    MissingDependencyError
        The codec's file needs a package that is not installed; the message has the pip line.
    """
    if codec_id in _entry_points() and codec_id not in _registered:
        return _check_class(codec_id, _entry_points()[codec_id].load())
    row = _BUILTIN.get(codec_id) or _registered.get(codec_id)
    if row is None:
        raise UnknownCodecError(f"no codec {codec_id!r}; {near_names(str(codec_id), list_codecs())}")
    if not isinstance(row.target, str):
        return row.target
    module, _, name = row.target.partition(":")
    try:
        return _check_class(codec_id, getattr(importlib.import_module(module), name))
    except ModuleNotFoundError as e:
        if e.name is None or e.name.split(".")[0] == "featcodec":  # a fault of ours
            raise
        line = f"pip install 'featcodec[{row.extra}]'" if row.extra else f"pip install the package that provides {e.name}"
        raise MissingDependencyError(f"codec {codec_id!r} needs {e.name}, which is not installed: {line}") from e


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
    codec: Codec = build("codec", codec_id, cls, {**given, **params}, allowed)
    check_params(codec_id, codec.config())
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


def load_codec(path: str | Path) -> Codec:
    """Build the codec of a file that `Codec.save` wrote, with its state, in eval mode.

    Raises
    ------
    ConfigError
        The file is damaged, no codec's, or its state is not that of its config: what differs is named.
    FileNotFoundError, UnknownCodecError, MissingDependencyError
        No such file; no such codec; a package is missing.
    """
    config, _ = read_weights(path)
    return get_codec(config).eval().load(path)


def _check_class(codec_id: str, target: Any) -> type[Codec]:
    if not (isinstance(target, type) and issubclass(target, Codec)):
        raise ConfigError(f"codec {codec_id!r} must be a subclass of featcodec.Codec, got {target!r}")
    if getattr(target, "codec_id", None) != codec_id:
        raise ConfigError(f"codec {codec_id!r} names itself {getattr(target, 'codec_id', None)!r}: codec_id must be the same")
    return target
