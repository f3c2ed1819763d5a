"""What the core gets along with: little stack.

Each in a process of its own: it ends by a signal where the core does not get along.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="limits and /proc are Linux's")


def run(code: str, *args: str) -> str:
    """What a process prints; its own end is an error."""
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"ended with {done.returncode}: {done.stderr[-2000:]}"
    return done.stdout.strip()


SMALL_STACK = """
import sys, threading
import torch
import featcodec as fc
from featcodec import _core

fc.set_num_threads(1)  # all in the one thread with little stack
random = torch.randn(2, 64, 48, 48)
smooth = torch.cumsum(random, -1)
done = []

def work():
    for isa in _core.isas():
        _core.set_isa(isa)
        for family in ("bitpack", "huffman", "rans", "context", "auto"):
            for spec in ("bits=8", "bits=4", "bits=1", "bits=12", "bits=8,axis=map", "step=0.05"):
                if family == "bitpack" and "step" in spec:
                    continue
                codec = fc.get_codec(f"{family}:{spec}")
                for x in (random, smooth, random[:, :8, :9], smooth[:, :4]):
                    codec.decode(codec.encode(x))
        done.append(isa)

threading.stack_size(128 << 10)  # musl's default; Python and torch want some of it
thread = threading.Thread(target=work)
thread.start()
thread.join()
assert done == _core.isas()
"""


@LINUX
def test_core_codecs_get_along_with_128_kb_of_stack():
    run(SMALL_STACK)
