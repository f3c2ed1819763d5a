"""advise: whether coding pays on a link, or the bytes are better sent as they are."""

from __future__ import annotations

import math
from dataclasses import dataclass

from featcodec.errors import PlanError
from featcodec.planning.links import Link


@dataclass(frozen=True)
class Advice:
    """What `advise` says.

    Attributes
    ----------
    send
        "raw" or "coded"; raw where both take the same.
    raw_ms, coded_ms
        From the first byte's making to the last one's reading, the round trip in both.
    break_even_bps
        The rate at which both take the same: coding pays below it. 0 where it never pays (it saves no bytes), infinite where it
        takes no time.
    """

    send: str
    raw_ms: float
    coded_ms: float
    break_even_bps: float


def advise(
    bytes_raw: float,
    bytes_coded: float,
    rate_bps: float,
    rtt_ms: float = 0.0,
    encode_ms: float = 0.0,
    decode_ms: float = 0.0,
    loss: float = 0.0,
) -> Advice:
    """Say whether a feature is sent raw or coded: coding pays where it saves more of the link's time than it takes.

    Tiny messages on fast links are sent raw.

    Parameters
    ----------
    bytes_raw, bytes_coded
        Of one message without and with the codec.
    rate_bps, rtt_ms, loss
        As in `Link`.
    encode_ms, decode_ms
        The codec's, on the device and on the server.

    Raises
    ------
    PlanError
        A size or a time is negative; as for `Link`.
    """
    figures = {"bytes_raw": bytes_raw, "bytes_coded": bytes_coded, "encode_ms": encode_ms, "decode_ms": decode_ms}
    for name, value in figures.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
            raise PlanError(f"{name} is a number from 0, got {value!r}")
    link = Link(rate_bps, rtt_ms, loss)
    raw = link.upload_ms(bytes_raw) + rtt_ms
    coded = link.upload_ms(bytes_coded) + rtt_ms + encode_ms + decode_ms
    saved_bits, spent_ms = 8 * (bytes_raw - bytes_coded) / (1 - loss), encode_ms + decode_ms
    even = 0.0 if saved_bits <= 0 else math.inf if spent_ms == 0 else saved_bits / spent_ms * 1e3
    return Advice("coded" if coded < raw else "raw", raw, coded, even)
