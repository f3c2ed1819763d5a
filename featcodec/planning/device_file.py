"""What `featcodec.device.profile` wrote on a device, and whether it is of the model that is planned for."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from featcodec.codec import Codec
from featcodec.errors import ConfigError, LayerError, PlanError
from featcodec.parts.assemble import joined, pair_of_cut
from featcodec.parts.cut import cut_at
from featcodec.parts.trace import trace
from featcodec.spec import Spec


@dataclass(frozen=True)
class DeviceProfile:
    """A head's figures on a device.

    Attributes
    ----------
    layer, fingerprint
        Where the model was cut, and the pair's fingerprint.
    head_ms, encode_ms
        Medians of one call: the network; codecs and message.
    message_bytes
        What the head sent for noise.
    machine
        The device's, as the file says it.
    codecs
        Configs by names of what crosses (None: sent as it is); None where the file does not say.
    """

    path: str
    layer: str
    fingerprint: str
    head_ms: float
    encode_ms: float
    message_bytes: int
    machine: dict[str, Any]
    codecs: dict[str, Any] | None

    def check(
        self,
        model: nn.Module,
        example: Any,
        codec: Codec | Spec | Mapping[str, Codec | Spec] | None,
        fixed: Collection[str] = (),
    ) -> None:
        """Raise PlanError where the head is of another model, or has other codecs: the model is cut there once more.

        Parameters
        ----------
        codec
            The head's codecs as `featcodec.export` took them; those that the file names unless given.
        example, fixed
            As for `featcodec.export`.
        """
        name = type(model).__name__
        if self.layer not in dict(model.named_modules()):
            raise PlanError(f"{self.path} is of a head cut at {self.layer!r}, {name} has no such layer")
        given = codec if codec is not None else self._codecs()
        try:
            # marks of other layers would change the names in the parts, and so the fingerprint
            cut = cut_at(trace(model, [self.layer], example, fixed), self.layer, None)
            head, _ = joined(pair_of_cut(cut, self.layer), name, self.layer, given)
        except (LayerError, ConfigError) as e:
            raise PlanError(f"{self.path} is of a head that this {name} does not have: {e}") from e
        if head.fingerprint != self.fingerprint:
            raise PlanError(
                f"{self.path} is of another model, or of other codecs: its fingerprint is {self.fingerprint}, that of "
                f"{name} cut at {self.layer!r} is {head.fingerprint}. Learned and calibrated codecs are given as codec="
            )

    def _codecs(self) -> Any:
        return "raw" if self.codecs is None else {name: config for name, config in self.codecs.items() if config is not None}


def read_device_profile(path: str | Path) -> DeviceProfile:
    """Read a file that `featcodec.device.profile` wrote.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    PlanError
        It is no such file; what is missing is named.
    """
    text = Path(path).read_text()
    try:
        found = json.loads(text)
        head, codecs = found["head"], found.get("codecs")
        return DeviceProfile(
            str(path),
            str(head["layer"]),
            str(head["fingerprint"]),
            float(found["head_ms"]["median"]),
            float(found["encode_ms"]["median"]),
            int(found["message_bytes"]),
            dict(found["machine"]),
            None if codecs is None else dict(codecs),
        )
    except (ValueError, KeyError, TypeError) as e:
        raise PlanError(f"{path} is no profile that featcodec.device wrote: {type(e).__name__}: {e}") from e
