"""What a training minimises: the task's loss, distillation, and what the codec adds, each by its weight."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from featcodec.errors import ConfigError, FeatureError, FeatureTypeError
from featcodec.training.paths import CUT, Passage
from featcodec.training.phase import Phase

TaskLoss = Callable[[Any, Any], Tensor]
_OURS = ("task", "kd", "features")


def needs_teacher(phase: Phase) -> bool:
    """Tell whether a phase compares with the model without the codec."""
    return "kd" in phase.losses or "features" in phase.losses


def needs_outputs(phase: Phase) -> bool:
    """Tell whether a phase needs what the model gives at its end."""
    return "kd" in phase.losses or "task" in phase.losses


def terms(
    phase: Phase, task: TaskLoss, student: Passage, teacher: Passage | None, targets: Any, codec: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return every loss of a phase, unweighted, as float32 scalars.

    Raises
    ------
    ConfigError
        The phase weighs a loss that the codec does not have, or leaves one of its losses out.
    FeatureError
        A loss is not finite.
    """
    found: dict[str, Tensor] = {}
    if "task" in phase.losses:
        found["task"] = task(_full(student.outputs), targets)
    if teacher is not None and "kd" in phase.losses:
        found["kd"] = _softened(student.outputs, teacher.outputs, phase.temperature)
    if teacher is not None and "features" in phase.losses:
        names = phase.match or (CUT,)
        pairs = [pair for name in names for pair in zip(student.features[name], teacher.features[name], strict=True)]
        found["features"] = torch.stack([_relative_error(a.float(), b.float()) for a, b in pairs]).mean()
    _check_names(phase, codec)
    found.update({name: value for name, value in codec.items() if name in phase.losses})
    for name, value in found.items():
        if not bool(torch.isfinite(value).all()):
            raise FeatureError(f"phase {phase.name!r}: the loss {name!r} is {float(value.detach())}; try a lower learning rate")
    return found


def weighted(phase: Phase, found: Mapping[str, Tensor]) -> Tensor:
    """Return the sum that is minimised."""
    return torch.stack([phase.losses[name] * value for name, value in found.items()]).sum()


def _full(outputs: Any) -> Any:
    return outputs.float() if isinstance(outputs, Tensor) and outputs.is_floating_point() else outputs


def _check_names(phase: Phase, codec: Mapping[str, Tensor]) -> None:
    unknown = [name for name in phase.losses if name not in _OURS and name not in codec]
    unweighed = [name for name in codec if name not in phase.losses]
    has = f"the codec's are: {', '.join(codec) or 'none'}"
    if unknown:
        raise ConfigError(f"phase {phase.name!r} weighs {', '.join(unknown)}, which is no loss; {has}")
    if unweighed:
        raise ConfigError(f"phase {phase.name!r} must weigh {', '.join(unweighed)}, be it by 0; {has}")


def _softened(student: Any, teacher: Any, temperature: float) -> Tensor:
    """T^2 KL(softmax(t / T) | softmax(s / T)), mean over the batch."""
    if not (isinstance(student, Tensor) and isinstance(teacher, Tensor)):
        raise FeatureTypeError(f"'kd' compares tensors of logits, the model gives {type(student).__name__}")
    s, t = ((logits.float() / temperature).log_softmax(1) for logits in (student, teacher))
    return temperature**2 * nn.functional.kl_div(s, t, reduction="batchmean", log_target=True)


def _relative_error(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error over the mean square of what is aimed at: of no unit, so that layers can be averaged."""
    return (student - teacher).square().mean() / teacher.square().mean().clamp_min(1e-12)
