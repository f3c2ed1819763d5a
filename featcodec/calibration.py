"""calibrate: unlabelled inputs once through a model, and a codec at a layer knows the features and what the tail reads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from featcodec.batch_norm import measure_batch_norm
from featcodec.codec import Codec
from featcodec.errors import ConfigError, FeatureError
from featcodec.held_out import CHANGES, HeldOut
from featcodec.inputs import batch_size, head_of, map_inputs, to_device, unpack
from featcodec.layers import evaluating
from featcodec.outputs import Wanted
from featcodec.registry import codec_class, get_codec
from featcodec.sensitivity import NotDifferentiableError, Tap, gradients, tapped
from featcodec.spec import Spec, format_spec, parse_spec

_LEAST = 16  # inputs; a quarter of them is held out
_MOST_HELD_OUT = 256
_PROJECTIONS = (2, 4)  # of each output: at least, and at most
_MOST_GRADIENTS = 1 << 28  # numbers: beyond the least projections, no more are taken
_NEAR = 1.02  # of configs whose bytes differ by less, the smaller is taken
_TRIED = range(28, 97, 8)  # of 100: where configs are compared
# of relative L2, which is much the same thing as the KL divergence, but does not hang on the few inputs that are near a border
_LEVELS = (0.1, 0.15, 0.2)
_STRENGTH = 0.1
_OTHER_STRENGTHS = (0.03, 0.3)


def calibrate(
    model: nn.Module,
    layer: str | nn.Module,
    codec: Codec | Spec,
    loader: Iterable[Any],
    samples: int = 1024,
    *,
    max_table: int = 1 << 18,
    budget_bytes: float | None = None,
    max_change: float | None = None,
    change: str | None = None,
    flips: bool = False,
    batch_norm: bool = False,
    fallback: bool = False,
    tensors: int | str | Sequence[int | str] | None = None,
    batch_axis: int = 0,
    device: torch.device | str | None = None,
    seed: int = 0,
    report: Callable[[str], None] | None = print,
) -> Codec:
    """Calibrate a codec for a layer of a model from unlabelled inputs; nothing is trained.

    A codec that asks for it (`Codec.wants_gradients`) is told the gradients of the model's output by the feature, too. Of the
    configs that fit the spec the one is chosen that changes the output least at equal bytes, on a quarter of the inputs (at
    most 256), held out; then all inputs calibrate it.

    Parameters
    ----------
    codec
        A spec: what it leaves out is chosen. A codec: its config stays, and it is calibrated itself.
    loader
        Batches as `featcodec.evaluate` takes them; targets are never looked at.
    samples
        How many inputs are used at most; fewer where the loader has no more.
    max_table
        Numbers that a codec's matrices may hold on either side.
    budget_bytes
        Chooses the finest quality whose mean payload on the inputs held out is no larger.
    max_change
        Chooses the coarsest quality that changes the output no more on them.
    change
        What `max_change` bounds: "top1", the share of inputs whose largest logit is another (the default for outputs
        (B, classes)); "kl", the mean KL divergence of the softmax in nats; "l2", |difference| / |output| (the others' default).
    flips
        Pictures (B, 1 or 3, H, W) are seen mirrored, too.
    batch_norm
        Batch norm after the layer measures its means and variances anew, on what the codec gives back: this changes the model.
    fallback
        Where what follows the layer cannot be differentiated, every direction of the feature counts alike; else an error.
    tensors, batch_axis, device
        As for `featcodec.evaluate`; one tensor crosses.
    report
        Called with lines that say what was tried, and what was chosen and why; None for silence.

    Returns
    -------
    Codec
        In eval mode, its quality set where `budget_bytes` or `max_change` is given.

    Raises
    ------
    FeatureError
        The loader gives no input, or too few; features differ in their shapes or are all the same; what follows the layer
        cannot be differentiated.
    ConfigError
        No config keeps to `max_table`; the codec has no quality to choose; no quality keeps to the budget or to the change.
    LayerError
        No such layer.
    """
    _check(samples, budget_bytes, max_change, change)
    say = report or (lambda line: None)
    batches = list(_inputs(loader, samples, device))
    found = sum(batch_size(batch) or 0 for batch in batches)
    if found < _LEAST:
        raise FeatureError(
            f"calibration wants at least {_LEAST} inputs, {samples} where there are as many; the loader gave {found}"
        )
    with (
        evaluating(model, *([codec] if isinstance(codec, Codec) else [])),
        tapped(model, layer, Wanted.of(tensors), batch_axis) as tap,
    ):
        run = _Run(model, tap, torch.Generator().manual_seed(seed), flips, fallback, say)
        chosen = run.over(codec, batches, found, max_table)
        if budget_bytes is not None:
            chosen.set_quality(run.finest(chosen, budget_bytes))
        if max_change is not None:
            chosen.set_quality(run.coarsest(chosen, max_change, change))
        if batch_norm:
            measure_batch_norm(model, tap, chosen, batches)
    return chosen


def _check(samples: int, budget_bytes: float | None, max_change: float | None, change: str | None) -> None:
    if samples < _LEAST:
        raise ConfigError(f"samples must be at least {_LEAST}, got {samples}")
    if budget_bytes is not None and max_change is not None:
        raise ConfigError("give budget_bytes or max_change, not both: each chooses the quality")
    if change is not None and change not in CHANGES:
        raise ConfigError(f"change must be one of {', '.join(CHANGES)}, got {change!r}")
    for name, value in (("budget_bytes", budget_bytes), ("max_change", max_change)):
        if value is not None and not value > 0:
            raise ConfigError(f"{name} must be above 0, got {value!r}")


def _inputs(loader: Iterable[Any], samples: int, device: torch.device | str | None) -> Iterator[Any]:
    """The first inputs, batch by batch."""
    left = samples
    for batch in loader:
        inputs, _ = unpack(batch)
        size = batch_size(inputs) or 0
        if size:
            yield to_device(inputs if size <= left else head_of(inputs, left), device)
            left -= min(size, left)
        if not left:
            return


@dataclass
class _Seen:
    """Features and gradients of inputs."""

    features: list[Tensor] = field(default_factory=list)
    gradients: list[Tensor] | None = field(default_factory=list)

    def and_of(self, other: _Seen) -> _Seen:
        both = None if self.gradients is None or other.gradients is None else self.gradients + other.gradients
        return _Seen(self.features + other.features, both)

    @property
    def samples(self) -> int:
        return sum(map(len, self.features))


class _Run:
    """One calibration."""

    held_out: HeldOut
    projections: int

    def __init__(
        self, model: nn.Module, tap: Tap, generator: torch.Generator, flips: bool, fallback: bool, say: Callable[[str], None]
    ) -> None:
        self.model, self.tap, self.generator = model, tap, generator
        self.flips, self.fallback, self.say = flips, fallback, say

    def over(self, codec: Codec | Spec, batches: list[Any], found: int, max_table: int) -> Codec:
        """See, choose, calibrate."""
        cls = type(codec) if isinstance(codec, Codec) else codec_class(parse_spec(codec)[0])
        fitting, kept = _parted(batches, min(_MOST_HELD_OUT, found // 4))
        self.held_out = HeldOut(self.model, self.tap, kept)
        wants = cls.wants_gradients(codec.params() if isinstance(codec, Codec) else parse_spec(codec)[1])
        inputs = found * (2 if self.flips else 1)
        self.projections = _projections(inputs * self.held_out.features[0][0].numel())
        seen, rest = self.see(fitting, wants), self.see(kept, wants)
        if rest.gradients is None:
            seen.gradients = None
        if isinstance(codec, Codec):
            choices = [codec.params()]
        else:
            given = parse_spec(codec)[1]
            choices = cls.choices(given, tuple(self.held_out.features[0].shape[1:]), seen.samples + rest.samples, max_table)
        params, strength = self.choose(cls, choices, seen)
        chosen = codec.eval() if isinstance(codec, Codec) else get_codec({"id": cls.codec_id, **params}).eval()
        whole = seen.and_of(rest)
        return chosen.calibrate_for(whole.features, whole.gradients, strength)

    def see(self, batches: list[Any], wants_gradients: bool) -> _Seen:
        """Run the model on inputs, and on their mirror images."""
        seen = _Seen([], [] if wants_gradients else None)
        for inputs in batches:
            for view in (inputs, map_inputs(inputs, _mirrored)) if self.flips else (inputs,):
                self._see(view, seen)
        return seen

    def _see(self, inputs: Any, seen: _Seen) -> None:
        if seen.gradients is not None:
            try:
                feature, moved = gradients(self.tap, self.model, inputs, self.projections, self.generator)
                seen.gradients.append(moved.cpu())
                seen.features.append(feature.float().cpu())
                return
            except NotDifferentiableError as e:
                if not self.fallback:
                    raise FeatureError(f"{e}; fallback=True counts every direction of the feature alike") from e
                self.say(f"{e}: every direction counts alike")
                seen.gradients = None
        with torch.no_grad():
            seen.features.append(self.tap.forward(self.model, inputs)[1].float().cpu())

    # ---- choosing -------------------------------------------------------------------------------------------------------

    def choose(self, cls: type[Codec], choices: list[dict[str, Any]], seen: _Seen) -> tuple[dict[str, Any], float]:
        """Return the arguments and the strength that take the fewest bytes at equal change."""
        if cls.qualities is None or (len(choices) == 1 and seen.gradients is None):
            return choices[0], _STRENGTH
        tried = [(self._try(cls, params, _STRENGTH, seen), _numbers(cls, params), i) for i, params in enumerate(choices)]
        near = min(tried)[0] * _NEAR
        _, least, i = min((numbers, size, i) for size, numbers, i in tried if size <= near)
        best, strength = choices[i], _STRENGTH
        for other in _OTHER_STRENGTHS if seen.gradients is not None else ():
            size = self._try(cls, best, other, seen)
            if size < least:
                least, strength = size, other
                break
        named = format_spec({"id": cls.codec_id, **best})
        why = "the fewest at equal change, or the smaller config of those within 2 %"
        self.say(f"chosen: {named}, strength {strength:g}: {least:.0f} bytes, {why}")
        return best, strength

    def _try(self, cls: type[Codec], params: dict[str, Any], strength: float, seen: _Seen) -> float:
        """Return the geometric mean of the payload at the levels of change that layouts are compared at."""
        codec = get_codec({"id": cls.codec_id, **params}).eval()
        codec.calibrate_for(seen.features, seen.gradients, strength)
        curve = []
        for quality in _TRIED:
            codec.set_quality(quality)
            cost = self.held_out.cost(codec)
            curve.append((cost.changes["l2"], cost.payload_bytes))
            if curve[-1][0] < _LEVELS[0] and len(curve) > 1:
                break
        at = [_bytes_at(curve, level) for level in _LEVELS]
        words = ", ".join(f"{size:.0f}" for size in at)
        levels = ", ".join(f"{level:g}" for level in _LEVELS)
        named = f"{format_spec({'id': cls.codec_id, **params})}, strength {strength:g}"
        self.say(f"{named}: {words} bytes at a change (l2) of {levels} of {self.held_out.samples} inputs")
        return math.exp(sum(map(math.log, at)) / len(at))

    def finest(self, codec: Codec, budget_bytes: float) -> int:
        """Return the finest quality whose mean payload fits."""

        def fits(quality: int) -> bool:
            codec.set_quality(quality)
            return self.held_out.payload_bytes(codec) <= budget_bytes

        qualities = _qualities(codec)
        if not fits(qualities[0]):
            size = self.held_out.payload_bytes(codec)
            raise ConfigError(f"a budget of {budget_bytes:g} bytes is less than the coarsest quality takes, {size:.1f}")
        best = _last(qualities, fits)
        codec.set_quality(best)
        self.say(f"quality {best}: the finest within {budget_bytes:g} bytes, {self.held_out.payload_bytes(codec):.1f}")
        return best

    def coarsest(self, codec: Codec, max_change: float, change: str | None) -> int:
        """Return the coarsest quality that changes the output no more."""
        known = self.held_out.known_changes
        name = change or ("top1" if "top1" in known else "l2")
        if name not in known:
            raise ConfigError(f"change={name!r} is of outputs (B, classes); of this model's there is {', '.join(known)}")

        def changes(quality: int) -> float:
            codec.set_quality(quality)
            return self.held_out.cost(codec).changes[name]

        qualities = _qualities(codec)
        least = changes(qualities[-1])
        if least > max_change:
            raise ConfigError(f"a change ({name}) of {max_change:g} is less than the finest quality makes, {least:.4g}")
        coarser = _last(list(reversed(qualities)), lambda quality: changes(quality) <= max_change)
        self.say(f"quality {coarser}: the coarsest within a change ({name}) of {max_change:g}, {changes(coarser):.4g}")
        return coarser


def _projections(numbers: int) -> int:
    """How many of each output, where the gradients of one have so many numbers."""
    least, most = _PROJECTIONS
    return max(least, min(most, _MOST_GRADIENTS // max(1, numbers)))


def _numbers(cls: type[Codec], params: dict[str, Any]) -> int:
    """What a config's state holds."""
    return sum(tensor.numel() for tensor in get_codec({"id": cls.codec_id, **params}).state_dict().values())


def _qualities(codec: Codec) -> Sequence[int]:
    if codec.qualities is None:
        raise ConfigError(
            f"codec {codec.codec_id!r} has no quality to choose at run time: leave out budget_bytes and max_change"
        )
    return codec.qualities


def _last(values: Sequence[int], holds: Callable[[int], bool]) -> int:
    """The last of those for which it holds, where it holds for the first and then no more once it does not."""
    low, high = 0, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(values[middle]) else (low, middle)
    return values[low]


def _bytes_at(curve: list[tuple[float, float]], level: float) -> float:
    """The payload at a change, between its neighbours in the logarithm of both; beyond the ends along the last pair."""
    points = [(math.log(max(change, 1e-9)), math.log(max(size, 0.5))) for change, size in sorted(curve)]
    x = math.log(level)
    i = min(max(1, sum(point[0] < x for point in points)), len(points) - 1)
    (x0, y0), (x1, y1) = points[i - 1], points[i]
    return math.exp(y0 if x1 == x0 else y0 + (y1 - y0) * (x - x0) / (x1 - x0))


def _parted(batches: list[Any], held: int) -> tuple[list[Any], list[Any]]:
    """Batches without the last inputs, and those."""
    rest: list[Any] = []
    while held:
        last = batches[-1]
        size = batch_size(last) or 0
        batches = batches[:-1]
        if size <= held:
            rest.insert(0, last)
            held -= size
            continue
        batches.append(head_of(last, size - held))
        rest.insert(0, _tail_of(last, size - held))
        held = 0
    return batches, rest


def _tail_of(inputs: Any, first: int) -> Any:
    whole = batch_size(inputs)
    return map_inputs(inputs, lambda x: x[first:] if x.ndim > 0 and len(x) == whole else x)


def _mirrored(x: Tensor) -> Tensor:
    return x.flip(3) if x.ndim == 4 and x.shape[1] in (1, 3) else x
