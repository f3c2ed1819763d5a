"""What the core gets along with: little stack, no threads to be had, fork, and payloads that change while they are decoded.

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
from tests.transform_reference import fresh

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
        for joint in (0, 100):
            state = fresh(64, 8, 8, 64, zones=None, joint=joint)
            coder = _core.TransformCoder(64, 8, 8, 64, state)
            coder.decode(coder.encode(smooth.numpy(), 80), 48, 48)
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


NO_THREADS = """
import resource
import torch
import featcodec as fc

x = torch.randn(4, 32, 40, 40)
codec = fc.get_codec("huffman:bits=8")
fc.set_num_threads(1)
packets = codec.encode(x)
codec.decode(packets)
fc.set_num_threads(4)
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (4 << 20), -1))  # no room for a thread's 8 MB of stack
again = codec.encode(x)
resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
assert [p.to_bytes() for p in again] == [p.to_bytes() for p in packets]
with open("/proc/self/status") as file:
    print(*(line for line in file if line.startswith("Threads")))
assert torch.equal(codec.decode(again), codec.decode(packets))
"""


@LINUX
def test_where_no_thread_can_be_made_the_caller_works_alone():
    assert run(NO_THREADS) != ""


FORK = """
import os, sys
import torch
import featcodec as fc

x = torch.randn(*((1, 64, 64, 64) if sys.argv[2] == "sample" else (8, 32, 40, 40)))
codec = fc.get_codec("huffman:bits=8")
torch.set_num_threads(4)

def count():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Threads"))

def more_threads():
    before = count()
    codec.decode(codec.encode_over(x, None))
    return count() - before

if sys.argv[1] == "used":
    fc.set_num_threads(4)
    more_threads()
read, write = os.pipe()
if os.fork() == 0:
    if sys.argv[1] == "worker":
        torch.set_num_threads(1)  # as a DataLoader's worker does
    os.write(write, str(more_threads()).encode())
    os._exit(0)
os.close(write)
print(os.read(read, 100).decode())
os.wait()
"""


@LINUX
@pytest.mark.parametrize("what", ["batch", "sample"])
def test_a_forked_child_of_a_process_that_used_threads_uses_threads_too(what):
    assert run(FORK, "used", what) == "3"


@LINUX
@pytest.mark.parametrize("what", ["batch", "sample"])
def test_a_forked_child_uses_as_many_threads_as_torch(what):
    assert run(FORK, "worker", what) == "0"
    assert run(FORK, "child", what) == "3"


SCRIBBLE = """
import sys, threading
import torch
import featcodec as fc

codec = fc.get_codec(sys.argv[1])
packets = codec.encode(torch.randn(16, 64, 64, 64))
wanted = codec.decode(packets)
fc.set_num_threads(1)
sys.setswitchinterval(60)  # the other thread runs once the GIL is let go of, and not before
started, written = threading.Event(), []

def scribble():
    started.wait()
    for packet in packets:
        packet.payload[:] = 255
        written.append(packet)

thread = threading.Thread(target=scribble, daemon=True)
thread.start()
started.set()
assert not written
print(torch.equal(codec.decode(packets), wanted))
"""


TRANSFORM = """
import threading, sys
import numpy as np
from featcodec import _core
from tests.transform_reference import fresh

def status(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(name))

maps, side = int(sys.argv[1]), int(sys.argv[2])
coder = _core.TransformCoder(maps, 8, 8, maps, fresh(maps, 8, 8, maps, zones=1, joint=0))
x = np.zeros((1, maps, side, side), np.float32)
x[0, 0, 0, 0] = 1e30
payload = coder.encode(x, 100) if sys.argv[3] == "own" else [np.array([100], np.uint8)]
before = status("VmRSS")
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the peak begins anew
y = coder.decode(payload, side, side)
print((status("VmHWM") - before) / y.nbytes, (status("VmRSS") - before - y.nbytes) / 2**20)
"""


@LINUX
@pytest.mark.parametrize("sort", ["own", "one byte"])
@pytest.mark.parametrize(("maps", "side"), [(1, 4096), (3, 2400), (64, 512)])
def test_a_transform_takes_about_twice_its_output_and_keeps_little(maps, side, sort):
    peak, kept = map(float, run(TRANSFORM, str(maps), str(side), sort).split())
    assert peak < 2.2
    assert kept < 12


@LINUX
@pytest.mark.parametrize("spec", ["huffman:bits=8", "huffman:bits=2", "context:bits=4", "rans:bits=8"])
def test_payloads_that_change_while_they_are_decoded_are_read_once(spec):
    assert run(SCRIBBLE, spec) == "True"
