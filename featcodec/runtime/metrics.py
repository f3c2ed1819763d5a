"""Metrics: what a server counts, for Prometheus, in a registry of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from featcodec.runtime.edge_pb2 import Answer
from featcodec.runtime.jobs import Job

_MS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10000)
_SAMPLES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_STAGES = ("queue", "decode", "tail", "total")


class Metrics:
    """Counters, gauges and histograms of one server.

    Attributes
    ----------
    registry
        Prometheus' own.
    in_flight, sessions
        Gauges.
    repeated
        Counter of requests that came again.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        of: dict[str, Any] = {"namespace": "featcodec", "registry": self.registry}
        self._requests = Counter("requests", "Requests that came, refused ones among them.", ["entry"], **of)
        self._refusals = Counter("refusals", "Hellos, calls and requests that were refused.", ["cause"], **of)
        self._received = Counter("received_bytes", "Bytes of requests' bodies.", ["entry"], **of)
        self._sent = Counter("sent_bytes", "Bytes of answers' outputs.", ["entry"], **of)
        self._entries: dict[str, tuple[Any, Any, Any]] = {}
        self.repeated = Counter("repeated_requests", "Requests that came again and were not run again.", **of)
        self._batch = Histogram("batch_samples", "Samples that were run together.", buckets=_SAMPLES, **of)
        stages = Histogram("stage_ms", "Milliseconds of an answered request's stages.", ["stage"], buckets=_MS, **of)
        self._stages = {stage: stages.labels(stage) for stage in _STAGES}
        self.in_flight = Gauge("in_flight_requests", "Requests that are accepted and not answered.", **of)
        self.sessions = Gauge("sessions", "Open sessions.", **of)

    def received(self, entry: str, size_bytes: int) -> None:
        """Count a request."""
        requests, received, _ = self._counters(entry)
        requests.inc()
        received.inc(size_bytes)

    def _counters(self, entry: str) -> tuple[Any, Any, Any]:
        """Requests, bytes received and bytes sent of an entry; looked up once."""
        found = self._entries.get(entry)
        if found is None:
            found = self._requests.labels(entry), self._received.labels(entry), self._sent.labels(entry)
            self._entries[entry] = found
        return found

    def refused(self, cause: str) -> None:
        """Count a refusal."""
        self._refusals.labels(cause).inc()

    def ran(self, answers: Sequence[tuple[Job, Answer]]) -> None:
        """Count what was run together."""
        self.in_flight.dec(len(answers))
        batch = 0
        for job, answer in answers:
            if answer.HasField("refusal"):
                self.refused(answer.refusal.cause)
                continue
            batch = answer.timing.batch
            self._counters(job.session.entry.name)[2].inc(len(answer.output))
            for stage, seen in self._stages.items():
                seen.observe(getattr(answer.timing, stage) / 1e6)
        if batch:
            self._batch.observe(batch)

    def refusals(self) -> dict[str, int]:
        """Return how many refusals there were, by cause."""
        (family,) = self._refusals.collect()
        return {s.labels["cause"]: int(s.value) for s in family.samples if s.name.endswith("_total")}

    def serve(self, host: str, port: int) -> tuple[str, Any]:
        """Serve them over HTTP; return the address, and what `shutdown` and `server_close` end."""
        server, _ = start_http_server(port, host, self.registry)
        return f"{host}:{server.server_port}", server
