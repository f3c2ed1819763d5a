"""Introduction: a client's hello, and what follows from it for every request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from featcodec.outline import Outline
from featcodec.runtime.edge_pb2 import Hello, Port
from featcodec.runtime.transport import Metadata
from featcodec.runtime.wire import HELLO_BYTES_KEY, HELLO_KEY, PROTOCOL, agreed_on
from featcodec.session import Session


@dataclass(frozen=True, eq=False)
class Introduction:
    """A hello.

    Attributes
    ----------
    hello
        As it is sent.
    session
        What it agrees on: bodies are written by it.
    """

    hello: Hello
    session: Session

    @classmethod
    def of(
        cls, session: bytes, entry: str, fingerprint: str, outlines: Sequence[Outline], sizes: Sequence[str]
    ) -> Introduction:
        """Return the hello of what crosses."""
        ports = [
            Port(name=o.name, dtype=o.dtype, shape=o.shape, codec=o.codec, codec_fingerprint=o.codec_fingerprint)
            for o in outlines
        ]
        hello = Hello(protocol=PROTOCOL, session=session, entry=entry, fingerprint=fingerprint, ports=ports, sizes=sizes)
        codecs = {o.name: (o.kind, o.config_crc) for o in outlines if o.kind is not None and o.config_crc is not None}
        return cls(hello, agreed_on(hello, codecs))

    def metadata(self, whole: bool) -> Metadata:
        """Return what a request says of it: its name, and the whole where a server may not know it."""
        name: Metadata = ((HELLO_KEY, self.session.name.hex()),)
        return (*name, (HELLO_BYTES_KEY, self.hello.SerializeToString(deterministic=True))) if whole else name
