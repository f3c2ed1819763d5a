"""Which channel symbols are worth sending: a gain for each, its cost under a log-uniform prior, and those that are left.

Shao, Mao and Zhang, "Learning task-oriented communication for edge inference: an information bottleneck approach", IEEE JSAC
2022. A symbol z in noise of variance sigma^2 costs the divergence of N(z, sigma^2) from the log-uniform prior, by the
approximation of Molchanov et al. (ICML 2017); what the task does not need, it drives to zero.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from featcodec.ops.versions import version_of

_K1, _K2, _K3 = 0.63576, 1.8732, 1.48695
_LEAST = 1e-8  # of z^2: the logarithm's slope stays finite
_SLOPE = 4.0  # of a gain against log sigma, where it depends on it
_USUAL_SIGMA = 0.1


def log_uniform_divergence(z: Tensor, sigma: float) -> Tensor:
    """Return the divergence of N(z, sigma^2) from the log-uniform prior, in nats, elementwise; differentiable in z.

    With alpha = sigma^2 / z^2: k1 - k1 S(k2 + k3 log alpha) + log(1 + 1 / alpha) / 2, from 0 at z = 0 up.
    """
    t = 2 * math.log(sigma) - (z.float().square() + _LEAST).log()
    return _K1 * torch.sigmoid(-(_K2 + _K3 * t)) + 0.5 * nn.functional.softplus(-t)


class Gains(nn.Module):
    """A gain for each of N symbols, and the order in which those that are left are sent.

    Attributes
    ----------
    order
        (N,) int64 buffer: the indices of the symbols that are sent, in the order of sending, then -1s. All of them at first.
    """

    order: Tensor

    def __init__(self, symbols: int, adaptive: bool) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(symbols))
        # at the usual noise all symbols are well past their onset
        self.onset = nn.Parameter(torch.full((symbols,), -1.5)) if adaptive else None
        self.register_buffer("order", torch.arange(symbols))

    def forward(self, sigma: float) -> Tensor:
        """Return the gains (N,) in noise of this sigma; where they depend on it, more noise never makes one smaller."""
        gain: Tensor = self.gain
        if self.onset is not None:
            gain = gain * torch.sigmoid(_SLOPE * (math.log(sigma / _USUAL_SIGMA) - self.onset))
        return gain

    def sent(self) -> Tensor:
        """Return the indices of the symbols that are sent at the most, in order.

        Raises
        ------
        ValueError
            The buffer, which a state may have brought, is no order.
        """
        # looked at several times a forward: kept for as long as the buffer is what it was
        version = (id(self.order), version_of(self.order), self.order.device)
        known = self.__dict__.get("_sent")
        if known is None or known[0] != version:
            known = self.__dict__["_sent"] = (version, _checked(self.order))
        left: Tensor = known[1]
        return left

    def count(self, sigma: float, threshold: float) -> int:
        """Return how many of those are sent in noise of this sigma: all; of adaptive gains those up to the last live one."""
        left = self.sent()
        if self.onset is None:
            return len(left)
        live = (self(sigma).detach().abs()[left] >= threshold).nonzero()
        return int(live[-1]) + 1 if len(live) else 1

    @torch.no_grad()
    def prune(self, threshold: float, most_sigma: float) -> int:
        """Keep the symbols whose gain is at least the threshold, in noise of the largest sigma there is; return how many.

        Those that need the least noise come first: at every sigma the ones that are sent are the first ones. A pruned symbol
        never comes back; the largest gain of all is kept.
        """
        left = self.sent()
        gains = self(most_sigma).abs()[left]
        first = -gains if self.onset is None else self._least_log_sigma(threshold)[left]
        keep = gains >= threshold
        keep[gains.argmax()] = True
        # the sort is stable and of float64 on the CPU: equal ones stay in order
        ranked = torch.sort(first[keep].double().cpu(), stable=True).indices
        kept = left[keep][ranked.to(left.device)]
        self.order.fill_(-1)
        self.order[: len(kept)] = kept
        return len(kept)

    def _least_log_sigma(self, threshold: float) -> Tensor:
        """log sigma from which on each gain reaches the threshold."""
        assert self.onset is not None
        ratio = threshold / self.gain.abs().double().clamp_min(threshold * (1 + 1e-9))
        return self.onset.double() + torch.logit(ratio) / _SLOPE


def _checked(order: Tensor) -> Tensor:
    count = int((order >= 0).sum())
    left, rest = order[:count], order[count:]
    sound = count and bool((rest == -1).all()) and bool((left < len(order)).all()) and len(set(left.tolist())) == count
    if not sound:
        raise ValueError(f"the state's order of symbols is none of {len(order)}: {order.tolist()[:16]}")
    return left.clone()
