"""Why a server does not answer, as a status, a cause by which it is counted, and what came and what was wanted."""

from __future__ import annotations

from enum import Enum

from grpc import StatusCode

from featcodec.runtime.edge_pb2 import Refusal

_MAX_TEXT = 1500  # bytes: metadata are small


class Cause(Enum):
    """A cause's word, and the status that goes with it."""

    def __init__(self, word: str, status: StatusCode) -> None:
        self.word, self.status = word, status

    PROTOCOL = "protocol", StatusCode.FAILED_PRECONDITION
    HELLO = "malformed hello", StatusCode.INVALID_ARGUMENT
    ENTRY = "entry", StatusCode.NOT_FOUND
    TAIL = "tail fingerprint", StatusCode.FAILED_PRECONDITION
    PORTS = "ports", StatusCode.FAILED_PRECONDITION
    CODEC = "codec", StatusCode.FAILED_PRECONDITION
    CODEC_STATE = "codec fingerprint", StatusCode.FAILED_PRECONDITION
    DTYPE = "dtype", StatusCode.FAILED_PRECONDITION
    SHAPE = "shape", StatusCode.FAILED_PRECONDITION
    UNKNOWN_SESSION = "unknown session", StatusCode.FAILED_PRECONDITION
    OTHER_HELLO = "other hello", StatusCode.FAILED_PRECONDITION
    TOO_MANY_SESSIONS = "too many sessions", StatusCode.RESOURCE_EXHAUSTED
    TOKEN = "token", StatusCode.UNAUTHENTICATED
    TOO_LARGE = "too large", StatusCode.RESOURCE_EXHAUSTED
    DAMAGED = "damaged", StatusCode.INVALID_ARGUMENT
    REUSED_ID = "reused id", StatusCode.ALREADY_EXISTS
    CLIENT_FULL = "client full", StatusCode.RESOURCE_EXHAUSTED
    SERVER_FULL = "server full", StatusCode.RESOURCE_EXHAUSTED
    DEADLINE = "deadline", StatusCode.DEADLINE_EXCEEDED
    CANCELLED = "cancelled", StatusCode.UNAVAILABLE
    TAIL_FAILED = "tail failed", StatusCode.INTERNAL
    DRAINING = "draining", StatusCode.UNAVAILABLE
    SLOW_SENDER = "slow sender", StatusCode.DEADLINE_EXCEEDED
    SLOW_READER = "slow reader", StatusCode.DEADLINE_EXCEEDED
    NO_MESSAGE = "no message", StatusCode.INVALID_ARGUMENT
    POSITION = "position", StatusCode.FAILED_PRECONDITION
    STATE_LOST = "state lost", StatusCode.FAILED_PRECONDITION
    STATE_TOO_LARGE = "state too large", StatusCode.RESOURCE_EXHAUSTED
    TOO_MANY_STATES = "too many states", StatusCode.RESOURCE_EXHAUSTED


class RefusedError(Exception):
    """A request, or a hello, that is not answered.

    Parameters
    ----------
    cause
        Why.
    text
        What came and what was wanted.
    retry_after_ms
        After which it may be worth to try again; 0 where that is not known.
    """

    def __init__(self, cause: Cause, text: str, retry_after_ms: int = 0) -> None:
        super().__init__(text)
        self.cause, self.retry_after_ms = cause, retry_after_ms
        self.text = text.encode()[:_MAX_TEXT].decode(errors="ignore")

    def message(self) -> Refusal:
        """Return it as it is sent on a stream."""
        code: int = self.cause.status.value[0]
        return Refusal(code=code, cause=self.cause.word, message=self.text, retry_after_ms=self.retry_after_ms)
