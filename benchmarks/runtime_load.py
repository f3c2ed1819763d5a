"""A load generator that replays stored requests: a process of its own, on a core of its own, without head, codec or torch."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import grpc
import numpy as np

from featcodec.runtime import edge_pb2, edge_pb2_grpc
from featcodec.runtime.wire import CAUSE_KEY, HELLO_BYTES_KEY, HELLO_KEY, UNKNOWN_SESSION, hello_name

_OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
_OPEN_S = 60.0  # a server may still be starting


@dataclass(frozen=True)
class Stored:
    """What one client sent: its hello, and the bodies of its requests."""

    hello: bytes
    bodies: Sequence[bytes]

    def save(self, path: Path) -> None:
        """Write an .npz file."""
        ends = np.cumsum([len(body) for body in self.bodies])
        np.savez(
            path, hello=np.frombuffer(self.hello, np.uint8), ends=ends, bodies=np.frombuffer(b"".join(self.bodies), np.uint8)
        )

    @classmethod
    def load(cls, path: Path) -> Stored:
        """Read what `save` wrote."""
        with np.load(path) as file:
            ends, data = file["ends"].tolist(), file["bodies"].tobytes()
            return cls(file["hello"].tobytes(), [data[start:end] for start, end in zip([0, *ends], ends, strict=False)])


@dataclass
class Replayed:
    """What a replay found.

    Attributes
    ----------
    took_ns
        Of each answered request, from before it was sent until its answer was there.
    refused
        Requests that were refused, by cause.
    batches
        Requests by the size of the batch they were run in.
    sent_bytes, received_bytes
        Of requests and answers, as protobuf writes them; HTTP/2's and TCP's own are not counted.
    server_ns
        What the server says of its stages, summed over the answers.
    """

    seconds: float = 0.0
    took_ns: list[int] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    batches: Counter[int] = field(default_factory=Counter)
    sent_bytes: int = 0
    received_bytes: int = 0
    server_ns: Counter[str] = field(default_factory=Counter)

    def answered(self, took_ns: int, answer: edge_pb2.Answer) -> None:
        """Count an answer."""
        self.received_bytes += answer.ByteSize()
        if answer.HasField("refusal"):
            self.refused[answer.refusal.cause] += 1
            return
        self.took_ns.append(took_ns)
        self.batches[answer.timing.batch] += 1
        for stage in ("total", "queue", "decode", "tail"):
            self.server_ns[stage] += getattr(answer.timing, stage)

    def figures(self) -> dict[str, Any]:
        """Return requests a second, latencies in ms, and the counts, as JSON has them."""
        answers = max(1, len(self.took_ns))
        at = np.percentile(self.took_ns, (50, 99)) / 1e6 if self.took_ns else (None, None)
        return {
            "answers": len(self.took_ns),
            "refused": dict(self.refused),
            "seconds": self.seconds,
            "per_second": len(self.took_ns) / self.seconds if self.seconds else None,
            "median_ms": at[0],
            "p99_ms": at[1],
            "batch_mean": sum(size * n for size, n in self.batches.items()) / answers,
            "request_bytes": self.sent_bytes / max(1, answers + self.refused.total()),
            "answer_bytes": self.received_bytes / max(1, answers + self.refused.total()),
            "server_ms": {stage: ns / answers / 1e6 for stage, ns in self.server_ns.items()},
        }


async def replay(address: str, stored: Stored, requests: int, in_flight: int, first_id: int = 1) -> Replayed:
    """Open a session, send so many requests, `in_flight` at a time, and wait for all answers."""
    async with grpc.aio.insecure_channel(address, options=_OPTIONS) as channel:
        stub = edge_pb2_grpc.EdgeStub(channel)
        hello = edge_pb2.Hello.FromString(stored.hello)
        hello.session = os.urandom(16)
        welcome = await stub.Open(hello, timeout=_OPEN_S, wait_for_ready=True)
        if welcome.max_in_flight and welcome.max_in_flight < in_flight:
            raise ValueError(f"{in_flight} requests in flight: the server takes {welcome.max_in_flight} of a client")
        bodies = [stored.bodies[i % len(stored.bodies)] for i in range(requests)]
        found, start = Replayed(), perf_counter_ns()
        if welcome.streams:
            await _stream(stub, hello.session, bodies, in_flight, first_id, found)
        else:
            await _calls(stub, hello, bodies, in_flight, first_id, found)
        found.seconds = (perf_counter_ns() - start) / 1e9
        return found


async def _stream(stub: Any, session: bytes, bodies: Sequence[bytes], in_flight: int, first: int, found: Replayed) -> None:
    call, free, sent = stub.Stream(), asyncio.Semaphore(in_flight), {}

    async def send() -> None:
        for number, body in enumerate(bodies, first):
            await free.acquire()
            request = edge_pb2.Request(id=number, session=session, body=body)
            found.sent_bytes += request.ByteSize()
            sent[number] = perf_counter_ns()
            await call.write(request)
        await call.done_writing()

    sending = asyncio.create_task(send())
    async for answer in call:
        found.answered(perf_counter_ns() - sent.pop(answer.id), answer)
        free.release()
    await sending
    if sent:
        raise RuntimeError(f"{len(sent)} requests were not answered, {min(sent)} the first")


async def _calls(
    stub: Any, hello: edge_pb2.Hello, bodies: Sequence[bytes], in_flight: int, first: int, found: Replayed
) -> None:
    """One call a request, the hello's name in its metadata: any replica can answer, or ask for the whole hello."""
    numbered = iter(enumerate(bodies, first))
    name = (HELLO_KEY, hello_name(hello).hex())
    whole = (HELLO_BYTES_KEY, hello.SerializeToString(deterministic=True))

    async def ask(request: edge_pb2.Request) -> edge_pb2.Answer:
        try:
            return await stub.Infer(request, metadata=(name,))
        except grpc.aio.AioRpcError as e:
            if _cause(e) != UNKNOWN_SESSION:
                raise
        return await stub.Infer(request, metadata=(name, whole))

    async def work() -> None:
        for number, body in numbered:
            request = edge_pb2.Request(id=number, session=hello.session, body=body)
            found.sent_bytes += request.ByteSize()
            start = perf_counter_ns()
            try:
                answer = await ask(request)
            except grpc.aio.AioRpcError as e:
                found.refused[_cause(e)] += 1
                continue
            if answer.id != number:
                raise RuntimeError(f"request {number} got the answer of {answer.id}")
            found.answered(perf_counter_ns() - start, answer)

    await asyncio.gather(*(work() for _ in range(in_flight)))


def _cause(error: grpc.aio.AioRpcError) -> str:
    said = dict(error.trailing_metadata() or ())
    cause: str = said.get(CAUSE_KEY) or error.code().name
    return cause


def in_process(address: str, path: Path, requests: int, in_flight: int, core: int | None) -> dict[str, Any]:
    """Replay in a process of its own, pinned to a core; return its figures."""
    command = [sys.executable, "-m", "benchmarks.runtime_load", address, str(path)]
    command += ["--requests", str(requests), "--in-flight", str(in_flight)]
    if core is not None:
        command += ["--core", str(core)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the load generator failed: {done.stderr.strip()[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Replay, and print the figures as JSON."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.runtime_load", description=__doc__)
    p.add_argument("address")
    p.add_argument("stored", type=Path)
    p.add_argument("--requests", type=int, default=1000)
    p.add_argument("--in-flight", type=int, default=32)
    p.add_argument("--core", type=int, help="pins the process")
    args = p.parse_args(argv)
    if args.core is not None:
        os.sched_setaffinity(0, {args.core})
    found = asyncio.run(replay(args.address, Stored.load(args.stored), args.requests, args.in_flight))
    json.dump(found.figures(), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
