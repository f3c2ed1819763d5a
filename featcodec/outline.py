"""Outline: what the two ends of a cut compare of one tensor that crosses. NumPy and the core only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from featcodec.bitstream import PayloadKind


@dataclass(frozen=True)
class Outline:
    """One tensor that crosses.

    Attributes
    ----------
    name, dtype
        The dtype by name.
    shape
        With a codec: of one sample, without the axis of its packets. Else of the whole tensor. -1 in place of an open size.
    codec
        Canonical JSON of its config; empty where the tensor is sent as it is.
    codec_fingerprint
        Of config and state; empty where only the pair's fingerprint tells.
    kind, config_crc
        As in the headers of its packets; None where it has none.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    codec: str = ""
    codec_fingerprint: str = ""
    kind: PayloadKind | None = None
    config_crc: int | None = None


def canonical(config: Mapping[str, Any]) -> str:
    """Return a config as the JSON by which two ends compare it."""
    return json.dumps(config, sort_keys=True, separators=(",", ":"), allow_nan=False)
