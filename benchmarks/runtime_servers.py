"""The server of the runtime benchmark: `python -m benchmarks.runtime_servers FOLDER` serves, `serving` starts and ends it."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
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
_START_S = 180.0
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
class Options:
    """How a server runs.

    Attributes
    ----------
    max_batch
        1: each request by itself.
    core
        That the process is pinned to; None: to none.
    namespace
        Of the network, in which it listens.
    replicas
        On Ray Serve; None: the local server.
    entries
        MODULE:FUNCTION that makes what the local server serves, of the folder.
    """

    max_batch: int = 32
    core: int | None = SERVER_CORE
    namespace: str | None = None
    replicas: int | None = None
    entries: str = "benchmarks.runtime_servers:entries"


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
def serving(folder: Path, options: Options | None = None, listen: str | None = None) -> Iterator[Running]:
    """Serve from another process until the context is left.

    Parameters
    ----------
    listen
        HOST:PORT; a free port of loopback unless given.

    Raises
    ------
    RuntimeError
        The server does not start.
    """
    server = Starting(folder, listen or f"127.0.0.1:{free_port()}", options or Options())
    try:
        server.go()
        yield Running(server.address, server.process)
    finally:
        server.stop()


class Starting:
    """A server that is loaded in a process of its own, and listens once it is told.

    Attributes
    ----------
    address, process
        Where it will listen; the process.
    """

    def __init__(self, folder: Path, address: str, options: Options) -> None:
        self.address = address
        self._signs = Path(tempfile.mkdtemp(prefix="server", dir=folder))
        self._said = self._signs / "said"
        command = [sys.executable, "-m", "benchmarks.runtime_servers", str(folder), "--listen", address]
        command += ["--signs", str(self._signs), "--max-batch", str(options.max_batch), "--entries", options.entries]
        command += [] if options.core is None else ["--core", str(options.core)]
        command += [] if options.replicas is None else ["--replicas", str(options.replicas)]
        if options.namespace is not None:
            command = inside(options.namespace, command)
        with self._said.open("wb") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=file)

    def wait(self) -> None:
        """Return once everything is loaded; RuntimeError where that fails."""
        self._wait_for("loaded")

    def go(self) -> None:
        """Let it listen; return once it does. RuntimeError where that fails."""
        (self._signs / "go").touch()
        self._wait_for("ready")

    def _wait_for(self, sign: str) -> None:
        deadline = time.monotonic() + _START_S
        while not (self._signs / sign).is_file():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                said = self._said.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"the server at {self.address} is not {sign}: {said}")
            time.sleep(0.01)

    def kill(self) -> None:
        """End it as a machine that loses its power."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Ask it to leave, and kill it where it does not."""
        self.process.terminate()
        try:
            self.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()


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
    p.add_argument("--signs", type=Path, required=True, help="a folder: loaded and ready are written, go is waited for")
    p.add_argument("--max-batch", type=int, default=32)
    p.add_argument("--core", type=int)
    p.add_argument("--entries", required=True, help="MODULE:FUNCTION")
    p.add_argument("--replicas", type=int, help="on Ray Serve")
    args = p.parse_args(argv)
    if args.core is not None:
        os.sched_setaffinity(0, {args.core})
    torch.set_num_threads(1)
    module, _, function = args.entries.partition(":")
    tails = getattr(importlib.import_module(module), function)(args.folder)
    (args.signs / "loaded").touch()
    while not (args.signs / "go").is_file():
        time.sleep(0.005)
    with _on_ray(args) if args.replicas is not None else Server(tails, listen=args.listen, max_batch=args.max_batch):
        told = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: told.set())
        (args.signs / "ready").touch()
        told.wait()
    return 0


@contextmanager
def _on_ray(args: argparse.Namespace) -> Iterator[None]:
    from benchmarks import runtime_servers  # by its name: replicas import it
    from featcodec.runtime import ray_deployment

    tails = partial(runtime_servers.entries, args.folder)
    port = int(args.listen.rpartition(":")[2])
    ray_deployment.deploy(tails, port=port, replicas=args.replicas, max_batch=args.max_batch)
    try:
        yield
    finally:
        ray_deployment.withdraw()


if __name__ == "__main__":
    sys.exit(main())
