"""Result: what became of one input, and where its time went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

STAGES = ("head", "encode", "network", "queue", "decode", "tail")


@dataclass(frozen=True)
class Timing:
    """Where the time of one input went, in milliseconds; None for a stage that was not gone through.

    Attributes
    ----------
    head, encode
        On this machine: the model's first half; codecs and message.
    network
        The client's round trip less the server's `total` for the same request: the way there and back, gRPC on both sides
        included. In `map` it holds what an answer waits for its turn on the wire, too.
    queue, decode, tail
        On the server's clock: waiting for a batch, codecs, the model's second half and the writing of what it gave. Requests of
        one batch share the last two.
    wall
        From the input's arrival at the client to its result.
    batch
        How many requests the server ran together.
    attempts
        How often the request was sent.
    """

    head: float | None = None
    encode: float | None = None
    network: float | None = None
    queue: float | None = None
    decode: float | None = None
    tail: float | None = None
    wall: float = 0.0
    batch: int | None = None
    attempts: int = 0

    @property
    def uncovered(self) -> float:
        """What of `wall` no stage covers: reading outputs, waiting for another attempt, the client's and server's own work."""
        return self.wall - sum(getattr(self, stage) or 0.0 for stage in STAGES)


@dataclass(frozen=True, eq=False)
class Result:
    """What became of one input.

    Attributes
    ----------
    id
        Of the request; 0 where none was made.
    source
        Who computed the output: "edge", or "fallback" where the edge was lost, the deadline would have passed, or a `Follower`
        decided for the device.
    timing
        Where the time went.
    size_bytes
        Of the message that was sent; 0 where none was made.
    error
        Why there is no output; in a result of the fallback, why it was asked, None where it was chosen; else None.
    value
        The output, None where there is none: read `output`, which says why.
    """

    id: int
    source: Literal["edge", "fallback"]
    timing: Timing
    size_bytes: int = 0
    error: Exception | None = None
    value: Any = None
    candidate: str = ""

    @property
    def failed(self) -> bool:
        """True where there is no output."""
        return self.error is not None and self.source == "edge"

    @property
    def output(self) -> Any:
        """What the model returned: tensors behind a head in torch, NumPy arrays behind a device's, as the model lays them.

        Raises
        ------
        Exception
            The one that kept this input from having an output.
        """
        if self.failed and self.error is not None:
            raise self.error
        return self.value
