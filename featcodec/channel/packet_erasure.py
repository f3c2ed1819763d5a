"""PacketErasure: a network that loses whole packets, one by one or in bursts."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcodec.bitstream import Packet, PayloadKind
from featcodec.channel.base import Channel, arrived, check_symbols, floats, rows, to_llr
from featcodec.errors import ConfigError
from featcodec.ops.straight_through import straight_through
from featcodec.spec import check_int, check_number, check_probability

_MOST_UNIT_BYTES = 1 << 28


class PacketErasure(Channel):
    """A payload travels in network packets of `unit_bytes`, the last one shorter; each is lost or arrives whole.

    Lost BYTES arrive as erased bits (LLR 0; all others as +-127), lost SYMBOLS as zeros, lost LLR as 0. A feature below
    `unit_bytes` is one unit: all or nothing.

    Parameters
    ----------
    p
        The share of units lost, on average.
    burst
        None: units are lost independently. Else the mean stay, in units, of a two-state chain (Gilbert 1960, Elliott 1963) in
        its bad state, at least 1; every payload begins in the chain's long-run state, so bursts do not go from one to the
        next. Independent losses have bursts of 1 / (1 - p).
    loss_bad, loss_good
        With a burst: probabilities of loss in the two states, loss_good <= p <= loss_bad. The share of time in the bad state
        follows: (p - loss_good) / (loss_bad - loss_good).
    unit_bytes
        4..2^28. Analog symbols are 4 bytes each.
    seed
        Of the losses.

    Raises
    ------
    ConfigError
        A parameter is out of range, or no chain has these averages.
    """

    channel_id = "packet_erasure"
    state_kind = "erasures"
    softens: ClassVar[bool] = True

    def __init__(
        self,
        p: float,
        *,
        burst: float | None = None,
        loss_bad: float = 1.0,
        loss_good: float = 0.0,
        unit_bytes: int = 1500,
        seed: int = 0,
    ) -> None:
        super().__init__(seed=seed)
        self.p = check_probability("p", p)
        self.burst = None if burst is None else check_number("burst", burst, 1, 1e9)
        self.loss_bad = check_probability("loss_bad", loss_bad)
        self.loss_good = check_probability("loss_good", loss_good)
        self.unit_bytes = check_int("unit_bytes", unit_bytes, 4, _MOST_UNIT_BYTES)
        self._bad_share, self._enter = self._chain()

    def _chain(self) -> tuple[float, float]:
        """Return the share of time in the bad state and the probability to enter it."""
        if self.burst is None:
            if (self.loss_bad, self.loss_good) != (1.0, 0.0):
                raise ConfigError(f"loss_bad={self.loss_bad} and loss_good={self.loss_good} go with a burst, got none")
            return 0.0, 0.0
        if not (self.loss_good <= self.p <= self.loss_bad and self.loss_good < self.loss_bad):
            raise ConfigError(
                f"p lies between loss_good and loss_bad, got p={self.p}, loss_good={self.loss_good}, loss_bad={self.loss_bad}"
            )
        share = (self.p - self.loss_good) / (self.loss_bad - self.loss_good)
        # in the long run as many entries as exits: (1 - share) enter = share / burst
        if share > self.burst * (1 - share):
            raise ConfigError(
                f"bursts of {self.burst} units cannot make up {share:.3g} of the time: "
                f"p={self.p} takes a burst of {share / (1 - share) if share < 1 else float('inf'):.3g} or more"
            )
        return share, share / self.burst / (1 - share)

    @property
    def state(self) -> float:
        """Return p."""
        return self.p

    def params(self) -> dict[str, Any]:
        """Return the constructor's arguments, those of bursts where there are any."""
        bursts = {"burst": self.burst, "loss_bad": self.loss_bad, "loss_good": self.loss_good}
        return {"p": self.p, **(bursts if self.burst is not None else {}), "unit_bytes": self.unit_bytes, **super().params()}

    def damage(self, packet: Packet, rng: np.random.Generator) -> Packet:
        """Lose units."""
        if packet.kind is PayloadKind.SYMBOLS:
            lost = self._lost_items(packet.payload.size, self.unit_bytes // 4, rng)
            return arrived(packet, PayloadKind.SYMBOLS, np.where(lost, np.float32(0), packet.payload))
        llr = to_llr(packet, self)
        lost = self._lost_items(llr.size, 8 * self.unit_bytes, rng)
        return arrived(packet, PayloadKind.LLR, np.where(lost, np.int8(0), llr))

    def _lost_items(self, items: int, unit: int, rng: np.random.Generator) -> NDArray[np.bool_]:
        draws = torch.from_numpy(rng.random((2, 1, -(-items // unit))))
        return np.repeat(self._lost_units(draws)[0].numpy(), unit)[:items]

    def perturb(self, symbols: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return analog symbols (B, ...), zeros where lost; so is their gradient there."""
        check_symbols(symbols)
        return torch.where(self._lost_like(symbols, self.unit_bytes // 4, generator), 0.0, symbols)

    def perturb_bits(self, bits: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the bits (or probabilities), 1/2 where lost."""
        sent = floats(bits)
        lost = self._lost_like(sent, 8 * self.unit_bytes, generator)
        return straight_through(sent, torch.where(lost, 0.5, sent.detach()))

    def _lost_like(self, values: Tensor, unit: int, generator: torch.Generator | None) -> Tensor:
        batch, items = rows(values).shape
        shape = (2, batch, -(-items // unit))
        lost = self._lost_units(torch.rand(shape, device=values.device, generator=generator))
        return lost.repeat_interleave(unit, dim=1)[:, :items].reshape(values.shape)

    def _lost_units(self, draws: Tensor) -> Tensor:
        """Tell which units are lost, (B, N), from uniform draws (2, B, N): of the chain, and of the loss in its state."""
        chain, loss = draws
        lost: Tensor = loss < (self.p if self.burst is None else self._loss_by_unit(chain, self.burst))
        return lost

    def _loss_by_unit(self, draws: Tensor, burst: float) -> Tensor:
        """Walk the chain of states along uniform draws (B, N) and return each unit's probability of loss."""
        # A unit is bad where its draw is below P(bad | the state before). That is one of two probabilities: a draw below both
        # or above both sets the state whatever it was; one between them keeps it, or swaps it if bad states rather end.
        stay = 1 - 1 / burst
        low, high = min(stay, self._enter), max(stay, self._enter)
        sets = (draws < low) | (draws >= high)
        sets[:, :1] = True
        state = draws < low
        state[:, :1] = draws[:, :1] < self._bad_share
        at = torch.arange(draws.shape[1], device=draws.device).expand_as(sets)
        last = torch.where(sets, at, 0).cummax(dim=1).values
        bad = state.gather(1, last)
        if stay < self._enter:
            bad = bad ^ ((at - last) % 2 == 1)
        return self.loss_good + (self.loss_bad - self.loss_good) * bad
