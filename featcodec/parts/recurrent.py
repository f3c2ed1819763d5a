"""Recurrent layers as one operation each while only sizes are computed: torch unrolls them there, step by step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_LIBRARY = torch.library.Library("featcodec", "FRAGMENT")
_REST = "Tensor[] params, bool biases, int layers, float dropout, bool train, bool both, bool batch_first"
_LIBRARY.define(f"lstm(Tensor x, Tensor[] hx, {_REST}) -> (Tensor, Tensor, Tensor)")
_LIBRARY.define(f"gru(Tensor x, Tensor hx, {_REST}) -> (Tensor, Tensor)")


def _output(x: Tensor, hidden: Tensor, both: bool, batch_first: bool) -> Tensor:
    """What a recurrent layer returns, without values: as the real one it lies in memory with time first."""
    batch, time = (x.shape[0], x.shape[1]) if batch_first else (x.shape[1], x.shape[0])
    out = x.new_empty(time, batch, hidden.shape[-1] * (2 if both else 1))
    return out.transpose(0, 1) if batch_first else out


def _lstm(x: Tensor, hx: list[Tensor], params: Any, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _output(x, hx[0], *rest[-2:]), torch.empty_like(hx[0]), torch.empty_like(hx[1])


def _gru(x: Tensor, hx: Tensor, params: Any, *rest: Any) -> tuple[Tensor, Tensor]:
    return _output(x, hx, *rest[-2:]), torch.empty_like(hx)


torch.library.register_fake("featcodec::lstm", _lstm, lib=_LIBRARY)
torch.library.register_fake("featcodec::gru", _gru, lib=_LIBRARY)

REAL_NAMES = {"featcodec.lstm.default": "aten.lstm.input", "featcodec.gru.default": "aten.gru.input"}
WITHOUT_VALUES = {
    torch.ops.aten.lstm.input: torch.ops.featcodec.lstm.default,
    torch.ops.aten.gru.input: torch.ops.featcodec.gru.default,
}
_CALLED = {torch._VF.lstm: torch.ops.featcodec.lstm.default, torch._VF.gru: torch.ops.featcodec.gru.default}


class WholeRecurrent(TorchFunctionMode):
    """Within this context recurrent layers are one operation each, which only sizes come out of."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call what a function stands for."""
        # a packed sequence has another signature
        known = _CALLED.get(func) if len(args) == 9 and isinstance(args[3], bool) else None
        return (func if known is None else known)(*args, **(kwargs or {}))
