"""A link that changes, between a client and a server on one machine: hands on what comes, no faster than it is told.

Bytes of TCP's stream are counted, not the frames around them. Shaped network namespaces are the real thing, and need root.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress

CHUNK_S = 0.002  # as many bytes go on at once as take this long


class Relay:
    """Listens on loopback and hands on to an address, each way at `mbit_s`, for as long as the context lasts.

    Attributes
    ----------
    address
        HOST:PORT for clients.
    mbit_s
        May be changed at any time; 0: the link is gone, connections end and none is made.
    """

    def __init__(self, address: str, mbit_s: float) -> None:
        host, _, port = address.rpartition(":")
        self.mbit_s = mbit_s
        self._to = host, int(port)
        self._free_s = [0.0, 0.0]  # when each way will have sent what it has
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)

    def __enter__(self) -> Relay:
        self._thread.start()
        started = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._connected, "127.0.0.1", 0), self._loop)
        self._server = started.result(10)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *exc: object) -> None:
        self.mbit_s = 0
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.call_later, 0.1, self._loop.stop)
        self._thread.join(10)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection(*self._to)
            ways = (self._hand_on(reader, far_writer, 0), self._hand_on(far_reader, writer, 1))
            tasks = [asyncio.ensure_future(way) for way in (*ways, self._gone())]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            far_writer.close()
        writer.close()

    async def _gone(self) -> None:
        while self.mbit_s:
            await asyncio.sleep(0.02)

    async def _hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: int) -> None:
        while self.mbit_s and (data := await reader.read(max(256, int(CHUNK_S * 1e6 * self.mbit_s / 8)))):
            now = self._loop.time()
            self._free_s[way] = max(now, self._free_s[way]) + 8 * len(data) / (1e6 * self.mbit_s)
            if self._free_s[way] - now > CHUNK_S / 2:  # shorter sleeps take longer than they should
                await asyncio.sleep(self._free_s[way] - now)
            writer.write(data)
            await writer.drain()
