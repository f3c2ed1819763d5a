"""Slow links on one machine: two network namespaces joined by a cable that `tc` shapes, and a proxy that delays.

Needs the right to make namespaces (root, mostly), ``ip`` and ``tc``: `why_not` says what is missing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

RATES = {"3G": 1.1, "4G": 5.85, "Wi-Fi": 18.88}  # Mbit/s up the link, of the papers
BURST_BYTES = 1600  # of the token bucket: one frame, the least that tc takes
EDGE_ADDRESS = "10.231.7.2"
EDGE_PORT, NEAR_PORT = 50071, 50072  # of the server in its namespace, of the proxy in the device's
_CHUNK = 1 << 16
_QUEUE_MS = 400  # what the bucket's queue may hold


@dataclass(frozen=True)
class Link:
    """Two namespaces and the cable between them.

    Attributes
    ----------
    device, edge
        Names of the namespaces.
    edge_address
        Where the edge is seen from the device.
    """

    device: str
    edge: str
    edge_address: str


def why_not() -> str | None:
    """Return why namespaces cannot be made here, or None."""
    missing = [tool for tool in ("ip", "tc") if shutil.which(tool) is None]
    if missing:
        return f"{' and '.join(missing)} not found"
    try:
        with link(100.0):
            return None
    except subprocess.CalledProcessError as e:
        return f"{' '.join(e.cmd)}: {e.stderr.strip()}"


@contextmanager
def link(rate_mbit: float) -> Iterator[Link]:
    """Make two namespaces whose cable carries `rate_mbit` Mbit/s each way; remove them on the way out."""
    here = os.getpid()
    ends = Link(f"fcdevice{here}", f"fcedge{here}", EDGE_ADDRESS)
    try:
        for namespace, cable, address in ((ends.device, "head", "10.231.7.1"), (ends.edge, "tail", ends.edge_address)):
            _ip("netns", "add", namespace)
            if cable == "head":
                _ip("-n", ends.device, "link", "add", "head", "type", "veth", "peer", "name", "tail")
            else:
                _ip("-n", ends.device, "link", "set", "tail", "netns", ends.edge)
            _ip("-n", namespace, "address", "add", f"{address}/30", "dev", cable)
            for interface in ("lo", cable):
                _ip("-n", namespace, "link", "set", interface, "up")
            # frames, not the kernel's heaps of them, must pass the bucket
            _ip("-n", namespace, "link", "set", cable, "gso_max_segs", "1")
            _run(*shaping(namespace, cable, rate_mbit))
        yield ends
    finally:
        for namespace in (ends.device, ends.edge):
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "delete", namespace)


def shaping(namespace: str, cable: str, rate_mbit: float) -> list[str]:
    """Return the command that shapes what leaves by a cable's end."""
    bucket = ["tbf", "rate", f"{round(rate_mbit * 1e6)}bit", "burst", str(BURST_BYTES), "latency", f"{_QUEUE_MS}ms"]
    return ["tc", "-n", namespace, "qdisc", "replace", "dev", cable, "root", *bucket]


def inside(namespace: str, command: Sequence[str]) -> list[str]:
    """Return a command as it is run in a namespace."""
    return ["ip", "netns", "exec", namespace, *command]


@contextmanager
def delaying(link: Link, port: int, delay_ms: float, rate_mbit: float) -> Iterator[str]:
    """Run the proxy on the device, to a port of the edge; give the address by which the device then sees the edge."""
    shaped = [str(NEAR_PORT), link.edge_address, str(port), "--delay-ms", str(delay_ms), "--rate-mbit", str(rate_mbit)]
    command = inside(link.device, [sys.executable, "-m", "benchmarks.runtime_links", *shaped])
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        if process.stdout is None or not process.stdout.readline():
            raise RuntimeError(f"the proxy ended before it was ready: status {process.wait()}")
        yield f"127.0.0.1:{NEAR_PORT}"
    finally:
        process.terminate()
        process.wait()


def _ip(*words: str) -> None:
    _run("ip", *words)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


# ---- the proxy -------------------------------------------------------------------------------------------------------------


@dataclass
class Lag:
    """When what arrives at the proxy may go on.

    A link takes its bytes' time for a frame; a token bucket that has rested passes it at once. What the bucket saves is waited
    for here, and `delay_s` beside it.

    Attributes
    ----------
    delay_s
        Seconds that everything is delayed, one way.
    rate_mbit
        Of the link behind; None for one that is not shaped.
    """

    delay_s: float = 0.0
    rate_mbit: float | None = None
    _full_at: float = 0.0  # when the bucket will have rested enough to be full
    _due: float = 0.0

    def due(self, size: int, now: float) -> float:
        """Return the second at which `size` bytes that arrived at second `now` go on: never before what came earlier."""
        saved = 0.0
        if self.rate_mbit is not None:
            per_byte = 8 / (self.rate_mbit * 1e6)
            empty_for = max(0.0, self._full_at - now)
            saved = max(0.0, min(size, BURST_BYTES) * per_byte - empty_for)
            self._full_at = min(max(self._full_at, now) + size * per_byte, now + BURST_BYTES * per_byte)
        self._due = max(self._due, now + self.delay_s + saved)
        return self._due


async def proxy(listen_port: int, host: str, port: int, lag: Callable[[], Lag]) -> asyncio.Server:
    """Listen on loopback; hand on what comes to host:port, and back, each way of a connection with a `Lag` of its own.

    Parameters
    ----------
    listen_port
        0: any; the server that is returned knows which.
    """

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(host, port)
        except OSError:
            writer.close()  # what a client sees of a server that is not there
            return
        await asyncio.gather(_hand_on(reader, far_writer, lag()), _hand_on(far_reader, writer, lag()))

    return await asyncio.start_server(connected, "127.0.0.1", listen_port)


async def _hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lag: Lag) -> None:
    waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
    sending = asyncio.create_task(_send_when_due(waiting, writer))
    with suppress(ConnectionError):
        while data := await reader.read(_CHUNK):
            waiting.put_nowait((lag.due(len(data), time.monotonic()), data))
    waiting.put_nowait((time.monotonic() + lag.delay_s, b""))
    with suppress(ConnectionError):
        await sending
    writer.close()


async def _send_when_due(waiting: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
    while True:
        due, data = await waiting.get()
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        if not data:
            return
        writer.write(data)
        await writer.drain()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the proxy until it is ended: ``python -m benchmarks.runtime_links PORT HOST PORT --delay-ms 10 --rate-mbit 1.1``."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.runtime_links", description=__doc__)
    p.add_argument("listen_port", type=int)
    p.add_argument("host")
    p.add_argument("port", type=int)
    p.add_argument("--delay-ms", type=float, default=0.0, help="one way")
    p.add_argument("--rate-mbit", type=float, help="of the link behind")
    args = p.parse_args(argv)

    async def serve() -> None:
        server = await proxy(args.listen_port, args.host, args.port, lambda: Lag(args.delay_ms / 1e3, args.rate_mbit))
        print("ready", flush=True)
        await server.serve_forever()

    with suppress(KeyboardInterrupt):
        asyncio.run(serve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
