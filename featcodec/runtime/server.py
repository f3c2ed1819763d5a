"""Server: tails behind gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health

from featcodec.runtime.edge import Edge
from featcodec.runtime.limits import Limits
from featcodec.runtime.loop import run_in_loop
from featcodec.runtime.metrics import Metrics
from featcodec.runtime.security import Tls, check_token
from featcodec.runtime.served import Served
from featcodec.runtime.service import NAME, Service

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

_SLACK_BYTES = 64 << 10  # what a message has beside its body
_METADATA_BYTES = 128 << 10  # hellos come in them
_EXPIRE_EVERY_S = 5.0


class Server:
    """An edge server: it opens sessions, decodes what heads send, runs tails, and answers.

    Parameters
    ----------
    tails
        By the names of their entries; or one.
    listen
        Host and port; port 0 is any that is free. Loopback unless another host is given.
    limits
        What it takes.
    max_batch
        Samples that are decoded and run together at most. A batched float network rounds differently from one by one: 1 gives
        what the tail gives for each request by itself.
    max_wait_ms
        How long a request waits for others to be run with. By default it does not wait.
    tls
        Its certificate, and whose clients it takes; without it connections are plain.
    token
        What clients show in every call: at least 16 characters. The health service asks for none.
    metrics_listen
        Host and port where Prometheus' metrics are served; nowhere unless given.

    Raises
    ------
    ConfigError, ValueError
        What is given is out of range.
    """

    def __init__(
        self,
        tails: Mapping[str, Served] | Served,
        *,
        listen: str = "127.0.0.1:0",
        limits: Limits | None = None,
        max_batch: int = 32,
        max_wait_ms: float = 0.0,
        tls: Tls | None = None,
        token: str | None = None,
        metrics_listen: str | None = None,
    ) -> None:
        check_token(token)
        self._listen, self._tls, self._token = _host_and_port(listen), tls, token
        self._metrics_listen = None if metrics_listen is None else _host_and_port(metrics_listen)
        self._edge = Edge(tails, limits=limits, max_batch=max_batch, max_wait_ms=max_wait_ms)
        self._address: str | None = None
        self._metrics_address: str | None = None
        self._metrics_server: Any = None
        self._stopped = False

    @property
    def address(self) -> str:
        """Host and port where it listens; RuntimeError before it does."""
        if self._address is None:
            raise RuntimeError("the server has not been started")
        return self._address

    @property
    def metrics_address(self) -> str | None:
        """Host and port of the metrics; None where they are not served."""
        return self._metrics_address

    @property
    def metrics(self) -> Metrics:
        """What it counts."""
        return self._edge.metrics

    def start(self) -> Self:
        """Listen; return at once.

        Raises
        ------
        OSError
            It cannot listen there.
        """
        if self._stopped or self._address is not None:
            raise RuntimeError("a server is started once")
        run_in_loop(self._start())
        if self._metrics_listen is not None:
            self._metrics_address, self._metrics_server = self.metrics.serve(*self._metrics_listen)
        self._edge.log.event("listening", address=self.address, metrics=self._metrics_address, entries=list(self._edge.entries))
        return self

    def stop(self, grace_s: float = 30.0) -> None:
        """Answer what was accepted, take nothing more, and leave; calls that last longer than the grace are cut off."""
        if self._stopped:
            return
        self._stopped = True
        if self._address is not None:
            self._edge.log.event("leaving", grace_s=grace_s)
            run_in_loop(self._stop(grace_s))
        if self._metrics_server is not None:
            self._metrics_server.shutdown()
            self._metrics_server.server_close()
        self._edge.stop()
        self._edge.log.event("left")

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop."""
        self.stop()

    # ---- in the loop ----------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        limits = self._edge.limits
        self._server = aio.server(options=_options(limits), maximum_concurrent_rpcs=limits.calls)
        self._service = Service(self._edge, self._token)
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._server.add_generic_rpc_handlers((self._service.handlers(),))
        host, port = self._listen
        where = f"{host}:{port}"
        try:
            secure = None if self._tls is None else self._tls.credentials()
            bound = self._server.add_insecure_port(where) if secure is None else self._server.add_secure_port(where, secure)
        except RuntimeError as e:
            raise OSError(f"cannot listen at {where}: {e}") from e
        await self._server.start()
        for name in ("", NAME):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        self._address = f"{host}:{bound}"
        self._expiring = asyncio.ensure_future(self._expire())

    async def _stop(self, grace_s: float) -> None:
        await self._health.enter_graceful_shutdown()
        self._service.leave()
        await self._server.stop(grace_s)
        self._expiring.cancel()

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(min(_EXPIRE_EVERY_S, self._edge.limits.session_s, self._edge.limits.state_s))
            self._edge.expire()


def _options(limits: Limits) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", limits.message_bytes + _SLACK_BYTES),
        ("grpc.max_send_message_length", limits.message_bytes + _SLACK_BYTES),
        ("grpc.max_metadata_size", _METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", _METADATA_BYTES),
        ("grpc.max_concurrent_streams", limits.calls_per_connection),
        ("grpc.so_reuseport", 0),  # a second server on the port is an error, not a share of the calls
        ("grpc.keepalive_time_ms", 30_000),  # connections whose other end has gone
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.server_handshake_timeout_ms", 10_000),
    ]


def _host_and_port(listen: str) -> tuple[str, int]:
    host, colon, port = listen.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"an address is HOST:PORT, got {listen!r}")
    return host, int(port)
