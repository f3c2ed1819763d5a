"""The server of the runtime benchmark: `python -m benchmarks.runtime_servers FOLDER` serves, `serving` starts and ends it."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

import featcodec as fc
from benchmarks.runtime_links import inside
from benchmarks.runtime_peers import JpegPictureCodec, OfPictures, TorchSaveCodec
from featcodec.bench.models import resnet20
from featcodec.runtime import Served, Server

LAYER, SPEC = "layer2", "context:bits=4"
SERVER_CORE, CLIENT_CORE = 0, 1
IN_FLIGHT = 32
_START_S = 120.0
_STOP_S = 20.0


def export(folder: Path) -> tuple[fc.Head, fc.Tail]:
    """Cut the embedded ResNet-20 and write both halves into a folder; return them as they are read back."""
    example = torch.zeros(2, 3, 32, 32)
    fc.export(resnet20(), LAYER, example, codec=fc.get_codec(SPEC).eval()).save(folder)
    head, tail = fc.load_part(folder / "head.fcz"), fc.load_part(folder / "tail.fcz")
    if not isinstance(head, fc.Head) or not isinstance(tail, fc.Tail):
        raise TypeError(f"head.fcz and tail.fcz are a head and a tail, got {head} and {tail}")
    return head, tail


def behind_layer() -> nn.Module:
    """Return what lies behind the cut, as a module of the model."""
    model = resnet20()
    return nn.Sequential(model.layer3, model.avgpool, nn.Flatten(), model.fc).eval()


def entries(folder: Path) -> dict[str, Served]:
    """Return what is served: our tail from its file, the same as a module behind two codecs, the whole model."""
    tail = fc.load_part(folder / "tail.fcz")
    return {
        "ours": Served(tail),
        "feature": Served(behind_layer(), fc.get_codec(SPEC).eval()),
        "torch.save": Served(behind_layer(), TorchSaveCodec().eval()),
        "jpeg": Served(OfPictures(resnet20()).eval(), JpegPictureCodec().eval()),
    }


@dataclass(frozen=True)
class Running:
    """A server in a process of its own."""

    address: str
    process: subprocess.Popen[bytes]

    def resident_mb(self) -> float:
        """Return the process's resident memory in 10^6 bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
        return int(kilobytes) * 1024 / 1e6


@contextmanager
def serving(
    folder: Path, max_batch: int = 32, namespace: str | None = None, host: str = "127.0.0.1", port: int = 0
) -> Iterator[Running]:
    """Serve from another process, pinned to a core of its own, until the context is left.

    Parameters
    ----------
    max_batch
        1: each request by itself.
    namespace
        Of the network, in which `host` is an address.
    port
        0: any that is free here.

    Raises
    ------
    RuntimeError
        The server does not start.
    """
    address = f"{host}:{port or free_port()}"
    process = start(folder, address, max_batch, namespace)
    try:
        wait_for(process, address, namespace)
        yield Running(address, process)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def start(folder: Path, address: str, max_batch: int, namespace: str | None = None) -> subprocess.Popen[bytes]:
    """Start a server and return at once."""
    command = [sys.executable, "-m", "benchmarks.runtime_servers", str(folder), "--listen", address]
    command += ["--max-batch", str(max_batch), "--core", str(SERVER_CORE)]
    return subprocess.Popen(command if namespace is None else inside(namespace, command))


def wait_for(process: subprocess.Popen[bytes], address: str, namespace: str | None = None) -> None:
    """Wait until a server takes connections."""
    deadline = time.monotonic() + _START_S
    while not _listens(address, namespace):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the server at {address} does not start: status {process.poll()}")
        time.sleep(0.05)


def _listens(address: str, namespace: str | None) -> bool:
    host, _, port = address.rpartition(":")
    if namespace is not None:
        probe = f"import socket; socket.create_connection(({host!r}, {port}), 1)"
        return subprocess.run(inside(namespace, [sys.executable, "-c", probe]), capture_output=True).returncode == 0
    try:
        with socket.create_connection((host, int(port)), 1):
            return True
    except OSError:
        return False


def free_port() -> int:
    """Return a port of loopback that nothing listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.runtime_servers", description=__doc__)
    p.add_argument("folder", type=Path)
    p.add_argument("--listen", required=True)
    p.add_argument("--max-batch", type=int, default=32)
    p.add_argument("--core", type=int)
    args = p.parse_args(argv)
    if args.core is not None:
        os.sched_setaffinity(0, {args.core})
    torch.set_num_threads(1)
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    with Server(entries(args.folder), listen=args.listen, max_batch=args.max_batch):
        told.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
