"""featcodec: feature compression for split computing.

The public face; every codec and optional package is imported when it is first asked for.
"""

import warnings as _warnings

import torch as _torch

from featcodec import channel
from featcodec._core import isa_problem as _isa_problem
from featcodec._version import __version__
from featcodec.bitstream import Packet, PayloadKind
from featcodec.channel import Channel, get_channel
from featcodec.codec import Codec, Transmission
from featcodec.core import core_info, set_num_threads
from featcodec.errors import (
    BitstreamError,
    ConfigError,
    FeatcodecError,
    FeatureError,
    FeatureTypeError,
    LayerError,
    MissingDependencyError,
    UnknownCodecError,
)
from featcodec.evaluation import Report, evaluate
from featcodec.insertion import Insertion, insert
from featcodec.registry import codec_class, fit_spec, get_codec, list_codecs, load_codec, register_codec
from featcodec.splitting import split

__all__ = [
    "BitstreamError",
    "Channel",
    "Codec",
    "ConfigError",
    "FeatcodecError",
    "FeatureError",
    "FeatureTypeError",
    "Insertion",
    "LayerError",
    "MissingDependencyError",
    "Packet",
    "PayloadKind",
    "Report",
    "Transmission",
    "UnknownCodecError",
    "__version__",
    "channel",
    "codec_class",
    "core_info",
    "evaluate",
    "fit_spec",
    "get_channel",
    "get_codec",
    "insert",
    "list_codecs",
    "load_codec",
    "register_codec",
    "set_num_threads",
    "split",
]

set_num_threads(_torch.get_num_threads())
if (_problem := _isa_problem()) is not None:
    _warnings.warn(_problem, RuntimeWarning, stacklevel=2)
