"""LdpcCoder: the payloads of another coder behind LDPC blocks, group by group; what is sent, and not how it is received."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from featcodec.errors import ConfigError
from featcodec.fec.block_codes import LOWEST_RATE, BlockCode, Policy, parse_rate
from featcodec.fec.rates import Points, check_points, interpolate
from featcodec.payloads.coder import Payload, PayloadCoder, State
from featcodec.payloads.coders import coder_of, inner_state
from featcodec.payloads.layout import FloatArray
from featcodec.spec import check_choice, check_int

if TYPE_CHECKING:
    from typing_extensions import Self

MOST_MAPS = 4096
LENGTH_BYTES = 4


class LdpcCoder(PayloadCoder):
    """The parameters are those of the codec (`featcodec.codecs.ldpc`), rate="auto" resolved and `inner` a coder."""

    codec_id = "ldpc"
    decodes = False
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"inner": {"id": "huffman", "bits": 4, "axis": "sample"}},
        {"inner": {"id": "context", "bits": 4, "axis": "sample"}, "code": "wifi", "rate": "5/6"},
        {
            "inner": {"id": "bitpack", "bits": 3, "axis": "sample"},
            "rate": "3/4",
            "groups": 4,
            "head_bytes": 8,
            "on_loss": "conceal",
        },
        {"inner": {"id": "rans", "bits": 4, "axis": "sample"}, "rate": 0.8, "retransmit": 1},
    )

    inner: PayloadCoder

    def __init__(
        self,
        *,
        inner: PayloadCoder,
        code: str = "nr",
        rate: Any = "1/2",
        groups: int = 1,
        head_bytes: int = 0,
        head_rate: str | float | None = None,
        on_loss: str = "raise",
        retransmit: int = 0,
        max_iterations: int = 20,
    ) -> None:
        super().__init__()
        self.inner = inner
        self.code = check_choice("code", code, ("nr", "wifi"))
        self.rate = check_points(rate) if isinstance(rate, (list, tuple)) else rate
        self.groups = check_int("groups", groups, 1, MOST_MAPS)
        self.head_bytes = check_int("head_bytes", head_bytes, 0, 1 << 16)
        self.head_rate = head_rate
        self.on_loss = check_choice("on_loss", on_loss, ("raise", "conceal"))
        self.retransmit = check_int("retransmit", retransmit, 0, 1000)
        self.max_iterations = check_int("max_iterations", max_iterations, 1, 1000)
        self._blocks, self._head_blocks = self._block_codes()

    @classmethod
    def of(cls, params: Mapping[str, Any], state: State) -> Self:
        """See `PayloadCoder.of`."""
        if "inner" not in params:
            raise ConfigError(f"codec 'ldpc' needs 'inner' in its config, got {', '.join(params) or 'nothing'}")
        coder = super().of({**params, "inner": coder_of(params["inner"], inner_state(state))}, {})
        coder.of_latents = coder.inner.of_latents
        if coder.of_latents and coder.groups > 1:
            raise ConfigError(f"a learned codec behind ldpc runs without torch in one group, got groups={coder.groups}")
        return coder

    def encode_payloads(self, x: FloatArray) -> list[Payload]:
        """Encode every group with the inner coder, then protect sample by sample."""
        parts = [x] if x.ndim < 2 else [np.ascontiguousarray(x[:, part]) for part in self._parts(x.shape[1:])]
        groups = [self.inner.encode_payloads(part) for part in parts]
        return [self._protect(list(sample)) for sample in zip(*groups, strict=True)]

    def _protect(self, payloads: list[Payload]) -> Payload:
        if not self._has_head(len(payloads)):
            return self._blocks.protect(payloads[0]) if payloads[0].size else payloads[0]
        head = np.zeros((len(payloads), LENGTH_BYTES + self.head_bytes), np.uint8)
        for row, payload in zip(head, payloads, strict=True):
            row[:LENGTH_BYTES] = np.array([payload.size], "<u4").view(np.uint8)
            front = payload[: self.head_bytes]
            row[LENGTH_BYTES:][: front.size] = front
        rest = [payload[self.head_bytes :] for payload in payloads]
        coded = [self._blocks.protect(np.ascontiguousarray(part)) for part in rest if part.size]
        return np.concatenate([self._head_blocks.protect(head.reshape(-1)), *coded])

    # ---- what the parameters mean --------------------------------------------------------------------------------------

    def _has_head(self, groups: int) -> bool:
        return groups > 1 or self.head_bytes > 0

    def _parts(self, shape: Sequence[int]) -> list[slice]:
        """The runs of maps that are coded on their own: as equal as can be, the first ones longer."""
        maps = shape[0] if shape else 1
        groups = min(self.groups, maps)
        ends = [maps * g // groups for g in range(groups + 1)]
        return [slice(a, b) for a, b in pairwise(ends)]

    def _block_codes(self) -> tuple[BlockCode, BlockCode]:
        """The blocks of payloads and those of heads."""
        iterations = self.max_iterations
        if isinstance(self.rate, list):
            payload: Policy | Fraction = _ByPoints(*self.rate)
            lowest = min(Fraction(k, n) for points in self.rate for k, n in points)
        else:
            payload = lowest = parse_rate(self.code, self.rate)
        head_rate = max(lowest / 2, LOWEST_RATE) if self.head_rate is None else parse_rate("nr", self.head_rate)
        return BlockCode(self.code, payload, max_iterations=iterations), BlockCode("nr", head_rate, max_iterations=iterations)


@dataclass(frozen=True)
class _ByPoints:
    """Sent bits between measured points: those of a message of one block, and those of many."""

    one: Points
    many: Points

    def __call__(self, k: int, count: int) -> int:
        return interpolate(self.one if count == 1 else self.many, k)
