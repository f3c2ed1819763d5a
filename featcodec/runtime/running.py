"""Requests that are run together: decoded, joined, run, taken apart. One that fails fails alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import Any, NamedTuple

import torch
from torch import Tensor

from featcodec.errors import FeatcodecError
from featcodec.message import Item, PlainTensor
from featcodec.parts import Crossing
from featcodec.runtime.edge_pb2 import Answer
from featcodec.runtime.jobs import Job
from featcodec.runtime.limits import Limits
from featcodec.runtime.refusals import Cause, RefusedError
from featcodec.runtime.sessions import Entry
from featcodec.runtime.state import state_bytes
from featcodec.runtime.wire import describe, pack_output

_MOST_KEYS = 64  # of which it is remembered whether they can be taken apart
_LOG = logging.getLogger(__name__)


class Output(NamedTuple):
    """What a tail gave: the layout as JSON, and the tensors."""

    text: bytes
    tensors: list[Tensor]


class Done(NamedTuple):
    """A request with its output as it is sent, or with why there is none; times in nanoseconds."""

    job: Job
    output: bytes | RefusedError
    decode_ns: int
    tail_ns: int
    samples: int


def run_jobs(jobs: Sequence[Job], limits: Limits) -> list[tuple[Job, Answer]]:
    """Return the answers of requests of one key.

    Requests that nobody waits for any more, or whose deadline has passed, are dropped before they are decoded, and again
    before the tail.
    """
    taken = perf_counter_ns()
    late, timely = _sorted_out(jobs)
    done = [Done(job, refused, 0, 0, 0) for job, refused in late]
    if timely:
        done += _decoded_and_run(timely, limits)
    return [(each.job, _answer(each, taken)) for each in done]


def _sorted_out(jobs: Sequence[Job]) -> tuple[list[tuple[Job, RefusedError]], list[Job]]:
    """Those that are not to be done, with why, and the others."""
    now = perf_counter_ns()
    late: list[tuple[Job, RefusedError]] = []
    timely: list[Job] = []
    for job in jobs:
        if not job.wanted:
            late.append((job, RefusedError(Cause.CANCELLED, "nobody waits for the request any more")))
        elif job.deadline_ns is not None and job.deadline_ns < now:
            over = (now - job.deadline_ns) / 1e6
            late.append((job, RefusedError(Cause.DEADLINE, f"the deadline passed {over:.1f} ms before there was time for it")))
        else:
            timely.append(job)
    return late, timely


def _decoded_and_run(jobs: list[Job], limits: Limits) -> list[Done]:
    begin = perf_counter_ns()
    try:
        crossing = _decoded([job.items for job in jobs], jobs[0])
        failed: list[tuple[Job, RefusedError]] = []
    except Exception:
        jobs, crossing, failed = _decoded_each(jobs)
    decode_ns = perf_counter_ns() - begin
    done = [Done(job, refused, decode_ns, 0, 0) for job, refused in failed]
    late, timely = _sorted_out(jobs)
    if not timely:
        return done + [Done(job, refused, decode_ns, 0, 0) for job, refused in late]
    # where some are late, the others' tensors are joined with theirs already
    begin = perf_counter_ns()
    outputs = _step(jobs[0], crossing, limits) if jobs[0].session.state is not None else _outputs(jobs, crossing)
    written = [_written(out, limits) if isinstance(out, Output) else out for out in outputs]
    tail_ns = perf_counter_ns() - begin
    samples = sum(job.samples for job in jobs)
    return done + [Done(job, out, decode_ns, tail_ns, samples) for job, out in zip(jobs, written, strict=True)]


def _decoded(bodies: Sequence[tuple[Item, ...]], like: Job) -> Crossing:
    """What several requests bring, joined along their batch axes."""
    session = like.session
    behind, axes = session.entry.served.behind, session.entry.served.axes
    tensors = {}
    for at, port in enumerate(session.ports):
        items = [body[at] for body in bodies]
        if len(items) == 1:
            tensors[port.name] = port.unpacked(items[0], behind.device)
        elif port.codec is not None:
            joined = tuple(packet for item in items if isinstance(item, tuple) for packet in item)
            tensors[port.name] = port.unpacked(joined, behind.device)
        else:
            parts = [port.unpacked(item, behind.device) for item in items]
            tensors[port.name] = torch.cat(parts, (axes or {})[port.name])
    sizes = [item for item in bodies[0][len(session.ports) :] if isinstance(item, int)]
    return Crossing(tensors, dict(zip(behind.sizes, sizes, strict=True)))


def _decoded_each(jobs: list[Job]) -> tuple[list[Job], Crossing, list[tuple[Job, RefusedError]]]:
    """The same one by one, without those that cannot be decoded."""
    good: list[tuple[Job, Crossing]] = []
    failed: list[tuple[Job, RefusedError]] = []
    for job in jobs:
        try:
            good.append((job, _decoded([job.items], job)))
        except FeatcodecError as e:
            failed.append((job, RefusedError(Cause.DAMAGED, f"the request cannot be decoded: {e}")))
        except Exception as e:  # a codec that fails on what it read: its request alone is lost
            _LOG.exception("a codec failed")
            failed.append((job, RefusedError(Cause.DAMAGED, f"the request cannot be decoded: {type(e).__name__}")))
    if len(good) <= 1:
        return [job for job, _ in good], good[0][1] if good else Crossing({}), failed
    axes = good[0][0].session.entry.served.axes or {}
    tensors = {name: torch.cat([c[name] for _, c in good], axes[name]) for name in good[0][1]}
    return [job for job, _ in good], Crossing(tensors, good[0][1].sizes), failed


def _outputs(jobs: list[Job], crossing: Crossing) -> list[Output | RefusedError]:
    """The output of each request."""
    entry = jobs[0].session.entry
    if len(jobs) == 1:
        return [_run(entry, crossing)]
    counts = [job.samples for job in jobs]
    if entry.follows.get(jobs[0].key, True):
        together = _run(entry, crossing)
        if isinstance(together, Output) and _follows(jobs, crossing, together):
            return list(_apart(together, counts))
    # the batch failed, or its output cannot be taken apart
    return [_run(entry, part) for part in _crossings(entry, crossing, counts)]


def _run(entry: Entry, crossing: Crossing) -> Output | RefusedError:
    return _caught(lambda: Output(*describe(entry.served.behind.run(crossing), _is_tensor)))


def _caught(run: Callable[[], Output]) -> Output | RefusedError:
    try:
        return run()
    except FeatcodecError as e:
        return RefusedError(Cause.TAIL_FAILED, f"the tail does not take the request: {e}")
    except Exception as e:  # a tail may be anybody's code: its request alone is lost, the client learns no more than the class
        _LOG.exception("a tail failed")
        return RefusedError(Cause.TAIL_FAILED, f"the tail failed with {type(e).__name__}")


def _is_tensor(leaf: Any) -> bool:
    return isinstance(leaf, Tensor)


def _follows(jobs: list[Job], crossing: Crossing, together: Output) -> bool:
    """Whether the output's first axes follow the batch: looked at once for each key, one request alone beside all."""
    entry, key = jobs[0].session.entry, jobs[0].key
    known = entry.follows.get(key)
    if known is not None:
        return known
    counts = [job.samples for job in jobs]
    alone = _run(entry, next(iter(_crossings(entry, crossing, counts))))
    if isinstance(alone, RefusedError):
        return False
    shapes = [(tuple(a.shape), tuple(b.shape)) for a, b in zip(alone.tensors, together.tensors, strict=False)]
    total = sum(counts)
    fits = alone.text == together.text and all(a[:1] == (counts[0],) and b == (total, *a[1:]) for a, b in shapes)
    if len(entry.follows) >= _MOST_KEYS:
        entry.follows.clear()
    entry.follows[key] = fits
    return fits


def _apart(together: Output, counts: Sequence[int]) -> list[Output]:
    pieces = [torch.split(x, list(counts)) for x in together.tensors]
    return [Output(together.text, [piece[i] for piece in pieces]) for i in range(len(counts))]


def _crossings(entry: Entry, crossing: Crossing, counts: Sequence[int]) -> list[Crossing]:
    axes = entry.served.axes or {}
    pieces = {name: torch.split(x, list(counts), axes[name]) for name, x in crossing.items()}
    return [Crossing({name: piece[i] for name, piece in pieces.items()}, crossing.sizes) for i in range(len(counts))]


def _step(job: Job, crossing: Crossing, limits: Limits) -> list[Output | RefusedError]:
    """A step of a session that keeps a state; a step that fails loses it."""
    state = job.session.state
    if state is None:
        raise AssertionError("the session keeps no state")
    following: list[Any] = []

    def run() -> Output:
        output, value = job.session.entry.served.behind.step(crossing, state.value)
        following.append(value)
        return Output(*describe(output, _is_tensor))

    out = _caught(run)
    if isinstance(out, Output) and (size := state_bytes(following[0])) > limits.state_bytes:
        out = RefusedError(Cause.STATE_TOO_LARGE, f"the state has {size} bytes, at most {limits.state_bytes} are kept")
    if isinstance(out, RefusedError):
        state.lose(f"a step was refused: {out.cause.word}")
        return [out]
    state.following = following[0]
    return [out]


def _answer(done: Done, taken: int) -> Answer:
    job = done.job
    if isinstance(done.output, RefusedError):
        return job.refusal(done.output)
    answer = job.answer(done.output, taken, done.decode_ns, done.tail_ns, done.samples)
    if job.session.state is not None:
        job.session.state.advance(job.number, job.digest, answer)
    return answer


def _written(output: Output, limits: Limits) -> bytes | RefusedError:
    size = sum(x.nbytes for x in output.tensors)
    if size > limits.message_bytes:
        return RefusedError(Cause.TOO_LARGE, f"the output has {size} bytes, at most {limits.message_bytes} are sent")
    try:
        return pack_output(output.text, [_plain(x) for x in output.tensors])
    except FeatcodecError as e:
        return RefusedError(Cause.TAIL_FAILED, f"the output cannot be sent: {e}")


def _plain(x: Tensor) -> PlainTensor:
    flat = x.detach().cpu().contiguous().reshape(-1)
    data = flat.view(torch.uint8) if flat.numel() else torch.empty(0, dtype=torch.uint8)
    return PlainTensor(str(x.dtype).removeprefix("torch."), tuple(x.shape), data.numpy())
