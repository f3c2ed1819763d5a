"""Client: a head on this machine, its tail on another."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featcodec.errors import ConfigError
from featcodec.runtime.edge_pb2 import Welcome
from featcodec.runtime.edge_session import EdgeSession
from featcodec.runtime.exchange import FALLBACK_PATIENCE_S, Manners
from featcodec.runtime.grpc_transport import GrpcTransport, Security
from featcodec.runtime.line import Line
from featcodec.runtime.link import Link
from featcodec.runtime.result import Result
from featcodec.runtime.sender import Sender
from featcodec.runtime.transport import Transport

if TYPE_CHECKING:
    from featcodec.codec import Codec

MAX_ANSWER_BYTES = 64 << 20


class Client:
    """A connection to an edge server, and a session on it. Any number of threads may use it.

    Parameters
    ----------
    address
        HOST:PORT.
    codec
        Of the feature, in eval mode, the same as the server's; None with a head that has its own.
    head
        A `featcodec.Head` (from a .fcz file) or a `featcodec.device.Head` (from ONNX, without torch), either with its codecs.
        Or, with `codec`, any callable that gives features (B, ...); None: inputs are features.
    entry
        Which of the server's tails; empty where it serves one.
    shape, dtype
        With `codec`: of one sample of the feature, -1 for an open size. Without a shape the session opens with the first
        input, for features of its shape and dtype alone.
    deadline_s, fallback, patience_s
        See `Manners`. A deadline stands on every request.
    ca, cert, key, token
        See `Security`.
    max_answer_bytes
        The largest output that is taken.
    transport
        In place of gRPC to `address`.

    Attributes
    ----------
    link
        What was measured of the network.

    Raises
    ------
    EdgeError
        The server refuses the session, and says what differs; or it cannot be reached, and there is no fallback.
    ConfigError
        A head without codecs, or with two kinds of them.
    """

    def __init__(
        self,
        address: str,
        codec: Codec | None = None,
        *,
        head: Any = None,
        entry: str = "",
        shape: Sequence[int] | None = None,
        dtype: str = "float32",
        deadline_s: float = 30.0,
        fallback: Callable[[Any], Any] | None = None,
        patience_s: float = FALLBACK_PATIENCE_S,
        ca: str | Path | None = None,
        cert: str | Path | None = None,
        key: str | Path | None = None,
        token: str | None = None,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        transport: Transport | None = None,
    ) -> None:
        self._manners = Manners(deadline_s, fallback, patience_s)
        sender = sender_of(codec, head, shape, dtype)
        if transport is None:
            transport = GrpcTransport(address, Security(ca, cert, key, token), max_answer_bytes)
        self._line = Line(transport)
        self._sessions: list[EdgeSession] = []
        try:
            self._first = self._opened(sender, entry, self._manners)
        except BaseException:
            transport.close()
            raise

    def __enter__(self) -> Client:
        """Return itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close it."""
        self.close()

    @property
    def link(self) -> Link:
        """What was measured of the network."""
        return self._line.link

    @property
    def fallback(self) -> Callable[[Any], Any] | None:
        """What answers where the edge does not; None: nothing."""
        return self._manners.fallback

    @property
    def welcome(self) -> Welcome | None:
        """The server's limits; None before it was reached."""
        return self._first.welcome

    @property
    def position(self) -> int:
        """How many steps a stateful session has done."""
        return self._first.position

    def session(
        self,
        codec: Codec | None = None,
        *,
        head: Any = None,
        entry: str = "",
        shape: Sequence[int] | None = None,
        dtype: str = "float32",
        fallback: Callable[[Any], Any] | None = None,
    ) -> EdgeSession:
        """Open another session on the same connection: another cut or codec for the next request.

        Parameters are those of the client, and so is the fallback unless another is given. Sessions may be used side by side;
        the client closes them with itself.

        Raises
        ------
        EdgeError, ConfigError
            As for the client.
        """
        manners = self._manners if fallback is None else replace(self._manners, fallback=fallback)
        return self._opened(sender_of(codec, head, shape, dtype), entry, manners)

    def own(self, session: Client | EdgeSession) -> EdgeSession:
        """Return a session of this client, its first one where the client itself is given.

        Raises
        ------
        ConfigError
            The session is another client's.
        """
        found = session._first if isinstance(session, Client) else session
        if found not in self._sessions:
            raise ConfigError("the session is another client's, or closed: sessions of one client share its connection")
        return found

    def _opened(self, sender: Sender, entry: str, manners: Manners) -> EdgeSession:
        session = EdgeSession(self._line, sender, entry, manners)
        self._sessions = [known for known in self._sessions if not known.closed] + [session]
        return session

    def infer(self, x: Any, *, deadline_s: float | None = None) -> Result:
        """See `EdgeSession.infer`."""
        return self._first.infer(x, deadline_s=deadline_s)

    def map(
        self, inputs: Iterable[Any], *, in_flight: int = 8, ordered: bool = True, deadline_s: float | None = None
    ) -> Iterator[Result]:
        """See `EdgeSession.map`."""
        return self._first.map(inputs, in_flight=in_flight, ordered=ordered, deadline_s=deadline_s)

    def step(self, x: Any, *, deadline_s: float | None = None) -> Result:
        """See `EdgeSession.step`."""
        return self._first.step(x, deadline_s=deadline_s)

    def close(self) -> None:
        """End the sessions and the connection."""
        for session in self._sessions:
            session.close()
        self._line.transport.close()


def sender_of(codec: Codec | None, head: Any, shape: Sequence[int] | None, dtype: str) -> Sender:
    """Return what makes messages: the head itself, where it has its codecs."""
    if codec is None:
        if not hasattr(head, "outlines"):
            raise ConfigError(f"a client needs a codec, or a head that has its own; got head={type(head).__name__}, codec=None")
        own: Sender = head
        return own
    if hasattr(head, "outlines"):
        raise ConfigError("the head has its codecs: give it without codec=")
    # a machine without torch has no such codec, and need not import one
    feature_head: Any = importlib.import_module("featcodec.runtime.feature_head")
    made: Sender = feature_head.FeatureHead(codec, head, shape, dtype)
    return made
