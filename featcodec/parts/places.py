"""Where in a model something went wrong: the module and the line of source."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

import featcodec.layers

_OTHERS = (str(Path(torch.__file__).parent), str(Path(featcodec.layers.__file__).parent))


def place_of(error: BaseException, model: nn.Module) -> str:
    """Return " in MODULE (FILE:LINE, SOURCE)" for an error in a model's forward; "" where it does not show."""
    names = {id(module): name for name, module in model.named_modules(remove_duplicate=False)}
    line, module = "", ""
    for cause in _causes(error):
        for frame, number in traceback.walk_tb(cause.__traceback__):
            owner = names.get(id(frame.f_locals.get("self")))
            module = module if owner is None else owner
            if not frame.f_code.co_filename.startswith(_OTHERS):
                summary = traceback.FrameSummary(frame.f_code.co_filename, number, frame.f_code.co_name)
                if owner is not None or module:
                    line = f"{Path(summary.filename).name}:{number}, {summary.line}"
        if line:
            break
    if not line:
        return ""
    return f" in {module or type(model).__name__} ({line})"


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
