"""featcodec: feature compression for split computing.

The public face. Every name is imported when it is first asked for: neither torch, without which a device
gets along, nor a codec before.
"""

from __future__ import annotations

import warnings as _warnings
from typing import TYPE_CHECKING

from featcodec._core import isa_problem as _isa_problem
from featcodec._version import __version__
from featcodec.lazy import importer as _importer

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
        EdgeDeadlineError,
        EdgeError,
        FeatcodecError,
        FeatureError,
        FeatureTypeError,
        LayerError,
        MissingDependencyError,
        PartError,
        PlanError,
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
        "EdgeDeadlineError",
        "EdgeError",
        "FeatcodecError",
        "FeatureError",
        "FeatureTypeError",
        "LayerError",
        "MissingDependencyError",
        "PartError",
        "PlanError",
        "UnknownCodecError",
    ),
    "featcodec.evaluation": ("Report", "evaluate"),
    "featcodec.insertion": ("Insertion", "insert", "insertion_at"),
    "featcodec.parts": ("Crossing", "Head", "Parts", "Tail", "export", "load_part"),
    "featcodec.registry": ("codec_class", "fit_spec", "get_codec", "list_codecs", "load_codec", "register_codec"),
    "featcodec.splitting": ("split",),
    "featcodec.transmission": ("Transmission",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names} | {"channel": "featcodec.channel"}

__all__ = [
    "BitstreamError",
    "Channel",
    "Codec",
    "ConfigError",
    "Crossing",
    "EdgeDeadlineError",
    "EdgeError",
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
    "PlanError",
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


__getattr__, __dir__ = _importer(__name__, _HOME_OF, {"torch": "torch"})


if (_problem := _isa_problem()) is not None:
    _warnings.warn(_problem, RuntimeWarning, stacklevel=2)
