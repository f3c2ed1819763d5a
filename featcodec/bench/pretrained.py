"""The trained codecs that ship with the benchmark: each a .safetensors file with the record of its training beside it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import featcodec as fc
from featcodec.bench.shipped import ASSETS

CODECS = ASSETS / "codecs"


@dataclass(frozen=True)
class Trained:
    """A trained codec.

    Attributes
    ----------
    name
        Of its files.
    record
        What `featcodec train` wrote: command, seed, history, and the row measured on the test set.
    """

    name: str
    record: dict[str, Any]

    @property
    def layer(self) -> str:
        """The layer of the embedded ResNet-20 that it was trained at."""
        return str(self.record["row"]["layer"])

    @property
    def is_control(self) -> bool:
        """True of the same fine-tuning without a bottleneck."""
        return not fc.codec_class(self.record["row"]["codec"]["id"]).learned

    def codec(self) -> fc.Codec:
        """Load it; a codec of several levels at its last one, whose row the record shows."""
        codec: Any = fc.load_codec(CODECS / f"{self.name}.safetensors")
        if hasattr(codec, "level"):
            codec.level = len(codec.bottlenecks) - 1
        loaded: fc.Codec = codec
        return loaded


def trained_codecs(layer: str | None = None, folder: Path = CODECS) -> list[Trained]:
    """Return the trained codecs of a layer, or of all, by name; the controls come along without weights."""
    found = [Trained(path.stem, json.loads(path.read_text())) for path in sorted(folder.glob("*.json"))]
    return [trained for trained in found if layer in (None, trained.layer)]
