"""Exchange: what a session does for each input, from the head to the result, whichever way the request goes."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from featcodec.errors import EdgeDeadlineError, EdgeError, FeatcodecError
from featcodec.outline import Outline
from featcodec.runtime.edge_pb2 import Answer, Request, Welcome
from featcodec.runtime.introduction import Introduction
from featcodec.runtime.line import Line
from featcodec.runtime.pending import Pending
from featcodec.runtime.post import Post
from featcodec.runtime.refusals import Cause
from featcodec.runtime.retrying import wait_before_retry
from featcodec.runtime.sender import Sender, call, completed
from featcodec.runtime.transport import Metadata, Outcome
from featcodec.runtime.waiting import computed
from featcodec.runtime.wire import SESSION_BYTES, UNKNOWN_SESSION, unpack_output

FALLBACK_PATIENCE_S = 1.0
_MOST_DEADLINE_S = 86_400.0


@dataclass(frozen=True)
class Manners:
    """How a session deals with time and trouble.

    Attributes
    ----------
    deadline_s
        Of a request, unless it is given its own.
    fallback
        Called with the input where the edge does not answer; None: an error then.
    patience_s
        For how long a lost edge is waited for before the fallback is asked. While the edge stays lost, each request tries it
        once and then turns to the fallback.
    """

    deadline_s: float = 30.0
    fallback: Callable[[Any], Any] | None = None
    patience_s: float = FALLBACK_PATIENCE_S

    def __post_init__(self) -> None:
        """Refuse times that are none."""
        checked_deadline(self.deadline_s)
        if not self.patience_s >= 0:
            raise ValueError(f"patience_s must be at least 0, got {self.patience_s}")


def checked_deadline(deadline_s: float) -> float:
    """Return a deadline in seconds; ValueError where it is none."""
    if not 0 < deadline_s <= _MOST_DEADLINE_S:
        raise ValueError(f"deadline_s must be above 0 and at most {_MOST_DEADLINE_S:g}, got {deadline_s}")
    return deadline_s


class Exchange:
    """A session's part in every request. Any number of threads may use it."""

    def __init__(self, line: Line, sender: Sender, entry: str, manners: Manners) -> None:
        self.line, self.sender, self.manners = line, sender, manners
        self.id = secrets.token_bytes(SESSION_BYTES)
        self.welcome: Welcome | None = None
        self.closed = False
        self._entry = entry
        self._introduction: Introduction | None = None
        self._lock = threading.Lock()
        self._post = Post(line)

    # ---- opening --------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Say hello where what crosses is known; a lost server is waited for, where no fallback stands by."""
        pending = Pending(None, time.monotonic() + self.manners.deadline_s)
        if self.sender.outlines(None) is None:
            return
        while self.welcome is None:
            try:
                pending.attempts += 1
                self._introduced(pending)
            except EdgeError as e:
                self.line.saw(e)
                if e.cause == "lost" and self.manners.fallback is not None:
                    return
                wait = wait_before_retry(e, pending.attempts)
                if wait is None or wait >= pending.left_s():
                    raise
                time.sleep(wait)

    def _introduced(self, pending: Pending) -> Introduction:
        """Return what was agreed on, after a hello where none was said."""
        with self._lock:
            if self._introduction is None or self.welcome is None:
                outlines = self.sender.outlines(pending.crossing) or ()
                introduction = self._hello(outlines)
                welcome = self.line.transport.open(introduction.hello, max(pending.left_s(), 1e-3))
                if welcome.session != self.id:
                    raise EdgeError(f"the server welcomes session {welcome.session.hex()}, not {self.id.hex()}", "answer")
                self._introduction, self.welcome = introduction, welcome
            return self._introduction

    def _hello(self, outlines: tuple[Outline, ...]) -> Introduction:
        return Introduction.of(self.id, self._entry, self.sender.fingerprint, outlines, self.sender.sizes)

    def close(self) -> None:
        """Tell the server that the session is over."""
        if self.closed:
            return
        self.closed = True
        self._post.close()
        if self.welcome is not None:
            self.line.transport.forget(self.id)

    # ---- an input -------------------------------------------------------------------------------------------------------

    def began(self, x: Any, deadline_s: float | None) -> Pending:
        """Return an input with what the head makes of it; errors are the head's."""
        wanted = self.manners.deadline_s if deadline_s is None else checked_deadline(deadline_s)
        pending = Pending(x, time.monotonic() + wanted, self.manners.fallback)
        start = time.perf_counter_ns()
        pending.crossing = computed(call(self.sender, x))
        pending.stages["head"] = (time.perf_counter_ns() - start) / 1e6
        return pending

    def request(self, pending: Pending) -> tuple[Request, Metadata]:
        """Return what is sent now, made when it is first asked for.

        Raises
        ------
        EdgeError
            The server does not want this session, or is lost.
        FeatcodecError
            What the head gave is no feature.
        """
        agreed = self._introduced(pending)
        if not pending.id:
            self._encode(pending, agreed)
        return pending.request(self.id), agreed.metadata(whole=pending.introduced)

    def _encode(self, pending: Pending, agreed: Introduction) -> None:
        start = time.perf_counter_ns()
        pending.body = agreed.session.to_bytes(self.sender.items(pending.crossing))
        pending.stages["encode"] = (time.perf_counter_ns() - start) / 1e6
        limit = self.welcome.max_message_bytes if self.welcome is not None else 0
        if limit and len(pending.body) > limit:
            raise EdgeError(
                f"the server takes messages of at most {limit} bytes, this one has {len(pending.body)}", Cause.TOO_LARGE.word
            )
        pending.id = self.line.new_id()

    def ask(self, request: Request, metadata: Metadata, timeout_s: float) -> Outcome:
        """Send a request and wait for its answer, on a stream where the server offers it."""
        if self.welcome is not None and self.welcome.streams:
            return self._post.ask(request, metadata, self.stream_metadata, timeout_s)
        return self.line.transport.infer(request, metadata, timeout_s)

    @property
    def stream_metadata(self) -> Metadata:
        """What a stream says when it opens: the whole hello, for streams are few."""
        return () if self._introduction is None else self._introduction.metadata(whole=True)

    # ---- what becomes of it ---------------------------------------------------------------------------------------------

    def settle(self, pending: Pending, outcome: Outcome, arrived_ns: int) -> None:
        """Give an input its result, or a time at which it is sent again."""
        self.line.saw(outcome)
        if isinstance(outcome, EdgeError):
            self._failed(pending, outcome)
        elif outcome.id != pending.id:
            self.line.link.count(strays=1)
            pending.failed(EdgeError(f"request {pending.id} was answered by the answer to {outcome.id}", "answer"))
        else:
            self._deliver(pending, outcome, arrived_ns)

    def expire(self, pending: Pending) -> None:
        """Settle an input whose deadline has passed."""
        last = "" if pending.trouble is None else f"; the last time: {pending.trouble}"
        self._give_up(pending, EdgeDeadlineError(f"no answer before the deadline, sent {pending.attempts} times{last}"))

    def _deliver(self, pending: Pending, answer: Answer, arrived_ns: int) -> None:
        network_ns = max(arrived_ns - pending.sent_ns - answer.timing.total, 0)
        self.line.link.answered(len(pending.body), len(answer.output), network_ns / 1e6)
        try:
            output = unpack_output(answer.output, self.sender.array)
        except FeatcodecError as e:
            pending.failed(e)
            return
        pending.answered(answer, network_ns, completed(output, self.sender.known(pending.crossing)))

    def _failed(self, pending: Pending, error: EdgeError) -> None:
        if error.cause == UNKNOWN_SESSION and not pending.introduced and not pending.position:
            pending.introduced, pending.resend_s = True, time.monotonic()
            return
        pending.trouble = error
        wait = wait_before_retry(error, max(pending.attempts, 1))
        tired = pending.fallback is not None and self.line.lost_for_s() > self.manners.patience_s
        if wait is None or tired or wait >= pending.left_s():
            self._give_up(pending, error)
            return
        self.line.link.count(resent=1)
        pending.resend_s = time.monotonic() + wait

    def _give_up(self, pending: Pending, error: EdgeError) -> None:
        helps = error.cause in ("lost", "deadline") or error.retry_after_s is not None
        if helps:
            pending.fall_back(error)
        else:
            pending.failed(error)
