"""Progress of a training: events, and a reporter of lines, or of a bar where rich is installed and somebody watches."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO


@dataclass(frozen=True)
class Event:
    """Where a training is.

    Attributes
    ----------
    kind
        "cache": a batch of head features was made; "step": a batch was trained on; "epoch": an epoch has ended.
    phase
        Name of the phase; of a cache, the layer.
    epoch, epochs
        Of the phase, from 1.
    step, steps
        Of the epoch, from 1; `steps` is 0 where the loader has no length. Of a cache: samples so far.
    losses
        Means since the epoch began, unweighted, and the weighted "total".
    validation
        At an epoch's end, where there was one; as in `History`.
    """

    kind: str
    phase: str
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    seconds: float = 0.0
    losses: Mapping[str, float] = field(default_factory=dict)
    validation: Mapping[str, float | None] = field(default_factory=dict)


Progress = Callable[[Event], None]


def show_progress(file: TextIO | None = None, every_s: float = 20.0) -> Progress:
    """Return a reporter for `fit`: a line an epoch and one every so many seconds; on a terminal, with rich, a live line.

    Parameters
    ----------
    file
        Where to; standard error unless given.
    every_s
        Seconds between lines within an epoch.
    """
    out = sys.stderr if file is None else file
    live = _live_line(out)
    last = time.monotonic()

    def show(event: Event) -> None:
        nonlocal last
        text = _line(event)
        if live is not None:
            live(text, event.kind == "epoch")
        elif event.kind == "epoch" or time.monotonic() - last >= every_s:
            last = time.monotonic()
            print(text, file=out, flush=True)

    return show


def _line(event: Event) -> str:
    if event.kind == "cache":
        return f"{event.phase}: {event.step:,} features cached, {event.seconds:.0f} s"
    where = f"{event.phase} {event.epoch}/{event.epochs}"
    if event.kind == "step":
        where += f", step {event.step}" + (f"/{event.steps}" if event.steps else "")
    figures = [f"{name} {value:.4g}" for name, value in event.losses.items()]
    figures += [f"validation {name} {value:.4g}" for name, value in event.validation.items() if value is not None]
    return f"{where}: {', '.join(figures)}, {event.seconds:.0f} s"


def _live_line(out: TextIO) -> Callable[[str, bool], None] | None:
    """A function that shows a line in place of the one before, or for good; None where there is no terminal or no rich."""
    if not out.isatty():
        return None
    try:
        console: Any = importlib.import_module("rich.console").Console(file=out)
        live: Any = importlib.import_module("rich.live").Live(console=console, transient=True, auto_refresh=False)
    except ModuleNotFoundError:
        return None

    def show(text: str, for_good: bool) -> None:
        if for_good:
            live.stop()
            console.print(text, markup=False, highlight=False)
        else:
            live.start()
            live.update(text, refresh=True)

    return show
