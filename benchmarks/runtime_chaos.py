"""Requests to a server that is killed and started again every few seconds: how each ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor

import featcodec as fc
from benchmarks import runtime_servers
from benchmarks.runtime_ledger import Ledger
from featcodec.runtime.client import Client

_DOWN_S = 0.5
_SHOWN = 10_000  # requests between two lines of progress


class Killed:
    """A server that a thread kills (SIGKILL) every few seconds; the next, loaded beside it, listens `down_s` seconds later.

    Attributes
    ----------
    kills
        How often, so far.
    """

    def __init__(self, folder: Path, alive_s: float, down_s: float) -> None:
        self.address = f"127.0.0.1:{runtime_servers.free_port()}"
        self.kills = 0
        self._folder, self._alive_s, self._down_s = folder, alive_s, down_s
        self._over = threading.Event()
        self._server = self._loading()
        self._server.go()
        self._next = self._loading()
        self._thread = threading.Thread(target=self._run, name="killer")

    def __enter__(self) -> Killed:
        """Begin to kill."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End."""
        self._over.set()
        self._thread.join()
        self._server.kill()
        self._next.kill()

    def _loading(self) -> runtime_servers.Starting:
        return runtime_servers.Starting(self._folder, self.address, runtime_servers.Options())

    def _run(self) -> None:
        while not self._over.wait(self._alive_s):
            self._next.wait()
            self._server.kill()
            self.kills += 1
            time.sleep(self._down_s)
            self._next.go()
            self._server, self._next = self._next, self._loading()


def measure_chaos(
    folder: Path, codec: fc.Codec, features: Tensor, known: Tensor, requests: int, alive_s: float, say: Callable[[str], None]
) -> dict[str, Any]:
    """Send features over and over through a client while its server is killed.

    Parameters
    ----------
    features
        (N, ...): request i is feature i modulo N.
    known
        (N, classes): what one process makes of each.
    """
    ledger, start = Ledger(known), time.monotonic()
    ids: set[int] = set()
    with Killed(folder, alive_s, _DOWN_S) as server, Client(server.address, codec, entry="feature", deadline_s=60.0) as client:
        answers = client.map(_inputs(features, requests), in_flight=runtime_servers.IN_FLIGHT)
        for number, result in enumerate(answers):
            ids.add(result.id)
            if result.failed:
                ledger.error(number, type(result.error).__name__)
            else:
                ledger.result(number, result.output[0])
            if (number + 1) % _SHOWN == 0:
                say(f"chaos: {number + 1} of {requests}, {server.kills} kills, {time.monotonic() - start:.0f} s")
        found = ledger.figures(requests)
        link = client.link
        return {
            **found,
            "exact": found["exact"] and len(ids) == requests,
            "kills": server.kills,
            "seconds": time.monotonic() - start,
            "resent": link.resent,
            "losses": link.losses,
            "strays": link.strays,
        }


def _inputs(features: Tensor, requests: int) -> Iterator[Tensor]:
    for number in range(requests):
        yield features[number % len(features)][None]
