"""A process of a data-parallel training, of one process: run by tests/test_insertion.py. Argument: a file to meet at.

It leaves without destructors: that of a process group can wait for a thread that waits for the interpreter.
"""

from __future__ import annotations

import os
import sys

import torch
from torch import distributed, nn

import featcodec as fc


def main() -> None:
    """Train a step with a codec that has no weights, and one with a learned codec."""
    distributed.init_process_group("gloo", init_method=f"file://{sys.argv[1]}", rank=0, world_size=1)
    for spec, losses in (("huffman:bits=3", []), ("entropic:maps=8,reduced=4", ["rate"])):
        model = nn.Sequential(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()), nn.Flatten(), nn.Linear(8 * 7 * 5, 3))
        with fc.insert(model, "0", spec) as cut:
            parallel = nn.parallel.DistributedDataParallel(model)
            loss = parallel(torch.randn(6, 3, 7, 5)).sum()
            for name in losses:
                loss = loss + cut.codec.losses()[name]
            loss.backward()
        assert model[0][0].weight.grad.any(), spec
        assert all(p.grad is not None and p.grad.any() for p in cut.codec.parameters() if p.numel() > 4), spec
        print(spec, "trains", flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
