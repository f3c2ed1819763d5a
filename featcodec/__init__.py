"""featcodec: feature compression for split computing.

The public face. Every name is imported when it is first asked for: neither torch, without which a device
gets along, nor a codec before.
"""

from __future__ import annotations

import importlib as _importlib
import warnings as _warnings
from typing import TYPE_CHECKING, Any

from featcodec._core import isa_problem as _isa_problem
from featcodec._version import __version__
from featcodec.errors import MissingDependencyError as _MissingDependencyError

if TYPE_CHECKING:
    from featcodec import channel
    from featcodec.bitstream import Packet, PayloadKind
    from featcodec.calibration import calibrate
    from featcodec.channel import Channel, get_channel
    from featcodec.codec import Codec
    from featcodec.core import core_info, set_num_threads
    from featcodec.errors import (
        BitstreamError,
        ConfigError,
        FeatcodecError,
        FeatureError,
        FeatureTypeError,
        LayerError,
        MissingDependencyError,
        PartError,
        UnknownCodecError,
    )
    from featcodec.evaluation import Report, evaluate
    from featcodec.insertion import Insertion, insert, insertion_at
    from featcodec.parts import Crossing, Head, Parts, Tail, export, load_part
    from featcodec.registry import codec_class, fit_spec, get_codec, list_codecs, load_codec, register_codec
    from featcodec.splitting import split
    from featcodec.transmission import Transmission

# Where each name lives.
_HOMES = {
    "featcodec.bitstream": ("Packet", "PayloadKind"),
    "featcodec.calibration": ("calibrate",),
    "featcodec.channel": ("Channel", "get_channel"),
    "featcodec.codec": ("Codec",),
    "featcodec.core": ("core_info", "set_num_threads"),
    "featcodec.errors": (
        "BitstreamError",
        "ConfigError",
        "FeatcodecError",
        "FeatureError",
        "FeatureTypeError",
        "LayerError",
        "MissingDependencyError",
        "PartError",
        "UnknownCodecError",
    ),
    "featcodec.evaluation": ("Report", "evaluate"),
    "featcodec.insertion": ("Insertion", "insert", "insertion_at"),
    "featcodec.parts": ("Crossing", "Head", "Parts", "Tail", "export", "load_part"),
    "featcodec.registry": ("codec_class", "fit_spec", "get_codec", "list_codecs", "load_codec", "register_codec"),
    "featcodec.splitting": ("split",),
    "featcodec.transmission": ("Transmission",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "BitstreamError",
    "Channel",
    "Codec",
    "ConfigError",
    "Crossing",
    "FeatcodecError",
    "FeatureError",
    "FeatureTypeError",
    "Head",
    "Insertion",
    "LayerError",
    "MissingDependencyError",
    "Packet",
    "PartError",
    "Parts",
    "PayloadKind",
    "Report",
    "Tail",
    "Transmission",
    "UnknownCodecError",
    "__version__",
    "calibrate",
    "channel",
    "codec_class",
    "core_info",
    "evaluate",
    "export",
    "fit_spec",
    "get_channel",
    "get_codec",
    "insert",
    "insertion_at",
    "list_codecs",
    "load_codec",
    "load_part",
    "register_codec",
    "set_num_threads",
    "split",
]


def __getattr__(name: str) -> Any:
    if name != "channel" and name not in _HOME_OF:
        raise AttributeError(f"module 'featcodec' has no attribute {name!r}")
    try:
        home = _importlib.import_module(_HOME_OF.get(name, "featcodec.channel"))
    except ModuleNotFoundError as e:
        if e.name != "torch":
            raise
        line = "pip install 'featcodec[torch]'"
        raise _MissingDependencyError(f"featcodec.{name} needs torch, which is not installed: {line}") from e
    value = globals()[name] = home if name == "channel" else getattr(home, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if (_problem := _isa_problem()) is not None:
    _warnings.warn(_problem, RuntimeWarning, stacklevel=2)
