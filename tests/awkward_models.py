"""Models that are awkward to put a codec into: each small, each taken from what people really build."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


@dataclass(frozen=True)
class Awkward:
    """A model, where it is cut, and what is true of it.

    Attributes
    ----------
    build
        The model, random weights.
    layer, options
        For `insert`.
    inputs
        A batch of 3, as `featcodec.inputs.call` takes it.
    features
        How many tensors cross in one forward.
    logits
        The outputs (3, 4) in what the model returns.
    is_cut
        Whether `split` can cut it there: the layer is called once.
    """

    build: Callable[[], nn.Module]
    layer: str
    inputs: Any
    features: int = 1
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    logits: Callable[[Any], Tensor] = lambda out: out
    is_cut: bool = True


def unchanged(y: Any) -> Any:
    return y


class Layer(nn.Module):
    """(B, 3, 8, 8) -> (B, 6, 8, 8), through `make`, which may return it in any way."""

    def __init__(self, make: Callable[[Tensor], Any] = unchanged) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.make = make

    def forward(self, x: Tensor) -> Any:
        return self.make(self.conv(x))


class Image(nn.Module):
    """A layer, what `after` does with its output, and a classifier."""

    def __init__(self, layer: nn.Module, after: Callable[[Any], Tensor] = unchanged) -> None:
        super().__init__()
        self.layer, self.after = layer, after
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.after(self.layer(x)).mean((2, 3)))


class AddsInPlace(Image):
    """`out += identity`, as residual networks do."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        y += x.mean(1, keepdim=True)
        return self.fc(y.mean((2, 3)))


class Sizes(dict):
    """A mapping with a class of its own."""


@dataclass
class Out:
    """What a model of the hub returns: fields, some of them None, one without a place in the constructor."""

    hidden: Tensor
    loss: Tensor | None = None
    extra: Any = None
    made: Any = dataclasses.field(init=False, default=None)


class ModelOutput(collections.OrderedDict):
    """As the hub's: a mapping whose keys are attributes too."""

    def __init__(self, **items: Any) -> None:
        super().__init__({k: v for k, v in items.items() if v is not None})
        self.__dict__.update(items)

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        self.__dict__[key] = value

    def __reduce__(self) -> Any:
        return _rebuild, (dict(self),)


def _rebuild(items: dict[str, Any]) -> ModelOutput:
    return ModelOutput(**items)


def pyramid(y: Tensor) -> dict[str, Tensor]:
    return {str(i): nn.functional.avg_pool2d(y, 2**i) if i else y for i in range(4)} | {"pool": y[..., ::4, ::4]}


def levels_sum(levels: Any) -> Tensor:
    return sum(nn.functional.interpolate(level, 8) for level in dict(levels).values())


class SharedHead(nn.Module):
    """One head called on five levels of a pyramid, as detectors do."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head, self.fc = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 1), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return sum(self.fc(self.head(level).mean((2, 3))) for level in pyramid(self.stem(x)).values())


class ReusedReLU(nn.Module):
    """One ReLU, in place, behind every convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.relu, self.fc = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 1), nn.ReLU(inplace=True), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.relu(self.b(self.relu(self.a(x)))).mean((2, 3)))


class Shortcut(nn.Module):
    """A residual block whose shortcut is an empty Sequential."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.shortcut, self.fc = nn.Conv2d(3, 3, 3, padding=1), nn.Sequential(), nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc((self.conv(x) + self.shortcut(x)).mean((2, 3)))


class Tokens(nn.Module):
    """A transformer's block by keyword inputs; the tail views the tokens in another shape."""

    def __init__(self, biased: bool = False) -> None:
        super().__init__()
        self.embed, self.block, self.fc = nn.Embedding(11, 8), Block(biased), nn.Linear(5 * 8, 4)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> ModelOutput:
        y = self.block(self.embed(input_ids), attention_mask)
        y = y[0] if isinstance(y, tuple) else y
        return ModelOutput(logits=self.fc(y.view(len(y), -1)), loss=y.mean(), cache=None)


class Block(nn.Module):
    def __init__(self, biased: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.bias = nn.Parameter(torch.randn(1, 2, 5, 5)) if biased else None

    def forward(self, x: Tensor, mask: Tensor | None) -> Any:
        y = x + self.attention(x, x, x, key_padding_mask=None if mask is None else mask == 0)[0]
        return y if self.bias is None else (y, self.bias, None, 7)


class Recurrent(nn.Module):
    """An LSTM, or a GRU with time first."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.batch_first = kind == "lstm"
        self.rnn = nn.LSTM(5, 6, 2, batch_first=True) if self.batch_first else nn.GRU(5, 6)
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        out, state = self.rnn(x)
        return self.fc(state[0][-1] + out.mean(1)) if self.batch_first else self.fc(out.mean(0))


class Detector(nn.Module):
    """Takes a list of pictures of several sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.fc = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(6, 4)

    def forward(self, pictures: list[Tensor]) -> Tensor:
        batch = torch.zeros(len(pictures), 3, 8, 8)
        for row, picture in zip(batch, pictures, strict=True):
            row[:, : picture.shape[1], : picture.shape[2]] = picture
        return self.fc(self.layer(batch).mean((2, 3)))


class Checkpointed(Image):
    """The layer's activations are computed again in the backward."""

    def forward(self, x: Tensor) -> Tensor:
        y = checkpoint(self.layer, x, use_reentrant=False)
        return self.fc(y.mean((2, 3)))


class Frozen(nn.Module):
    """A batch norm that stays in eval mode, whatever the model's."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Conv2d(3, 6, 1), nn.BatchNorm2d(6))
        self.fc = nn.Linear(6, 4)

    def train(self, mode: bool = True) -> Frozen:
        super().train(mode)
        self.layer[1].eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.layer(x).mean((2, 3)))


def relu_in_place(y: Tensor) -> Tensor:
    return nn.functional.relu(y, inplace=True)


def images() -> Tensor:
    return torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(5))


def sequences(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5))


IDS = {"input_ids": torch.arange(15).reshape(3, 5) % 11, "attention_mask": torch.ones(3, 5, dtype=torch.long)}


def out_of(y: Tensor) -> Out:
    out = Out(y, loss=y.mean())
    out.made = y * 2
    return out


MODELS: dict[str, Awkward] = {
    "plain": Awkward(lambda: Image(Layer()), "layer", images()),
    "in place after": Awkward(lambda: Image(Layer(), relu_in_place), "layer", images()),
    "adds in place": Awkward(lambda: AddsInPlace(Layer()), "layer", images()),
    "reused relu": Awkward(ReusedReLU, "relu", images(), features=2, is_cut=False),
    "pyramid": Awkward(lambda: Image(Layer(pyramid), levels_sum), "layer", images(), features=5),
    "mapping": Awkward(lambda: Image(Layer(lambda y: Sizes(a=y, n=3)), lambda out: out["a"]), "layer", images()),
    "defaultdict": Awkward(
        lambda: Image(Layer(lambda y: collections.defaultdict(list, a=y, b=y[:, :2])), lambda out: out["a"]),
        "layer",
        images(),
        features=2,
    ),
    "tuple": Awkward(lambda: Image(Layer(lambda y: (y, 3, None, y.long())), lambda out: out[0]), "layer", images()),
    "dataclass": Awkward(lambda: Image(Layer(out_of), lambda out: out.hidden + out.made), "layer", images(), features=2),
    "model output": Awkward(
        lambda: Image(Layer(lambda y: ModelOutput(hidden=y, loss=y.mean())), lambda out: out.hidden), "layer", images()
    ),
    "one of several": Awkward(
        lambda: Image(Layer(lambda y: {"a": (y, y * 2), "b": y}), lambda out: out["a"][1]),
        "layer",
        images(),
        options={"tensors": "a.1"},
    ),
    "shared head": Awkward(SharedHead, "head", images(), features=5, is_cut=False),
    "empty shortcut": Awkward(Shortcut, "shortcut", images()),
    "tokens": Awkward(Tokens, "block", IDS, logits=lambda out: out.logits),
    "biased block": Awkward(lambda: Tokens(True), "block", IDS, options={"tensors": 0}, logits=lambda out: out["logits"]),
    "lstm": Awkward(lambda: Recurrent("lstm"), "rnn", sequences(3, 7, 5), options={"tensors": 0}),
    "lstm state": Awkward(
        lambda: Recurrent("lstm"), "rnn", sequences(3, 7, 5), features=2, options={"tensors": "1", "batch_axis": 1}
    ),
    "time first": Awkward(lambda: Recurrent("gru"), "rnn", sequences(7, 3, 5), options={"tensors": 0, "batch_axis": 1}),
    "detector": Awkward(Detector, "layer", [images()[0], images()[1][:, :5], images()[2][..., :6]]),
    "checkpointed": Awkward(lambda: Checkpointed(Layer()), "layer", images()),
    "frozen norm": Awkward(Frozen, "layer", images()),
}
