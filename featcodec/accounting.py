"""The ledger: what one packet costs, in bits by what they are for, in channel uses and seconds. The one place that counts."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from featcodec.bitstream import Packet, PayloadKind
from featcodec.channel.modulation import modulation as modulation_of
from featcodec.codec import Codec
from featcodec.errors import ConfigError, FeatureError
from featcodec.spec import check_choice, check_int

_PARTS = ("side", "table", "fec")


@dataclass(frozen=True)
class Ledger:
    """What one sample costs.

    wire_bits = payload_bits + side_bits + table_bits + frame_bits; channel_bits = wire_bits + fec_bits; complex_uses =
    ceil(real_symbols / 2) + ceil(channel_bits / bits per symbol of the modulation).

    Attributes
    ----------
    elements
        Of the feature.
    payload_bits
        Coded symbols; 0 where the payload is analog. All of the payload where the codec cannot tell its parts.
    side_bits
        Ranges, codebook numbers and the like.
    table_bits
        Tables of the entropy coder that travel with the sample; 0 where they are shipped with the weights.
    frame_bits
        The packet's header and checksum.
    fec_bits
        Parity of error-correcting codes: the codec's own, and that of the code rate or block code that was asked for.
    real_symbols
        Analog channel symbols, real ones.
    modulation
        What the bits are sent with.
    """

    elements: int
    payload_bits: int
    side_bits: int
    table_bits: int
    frame_bits: int
    fec_bits: int
    real_symbols: int
    modulation: str

    @property
    def wire_bits(self) -> int:
        """Bits before error correction."""
        return self.payload_bits + self.side_bits + self.table_bits + self.frame_bits

    @property
    def channel_bits(self) -> int:
        """Bits after error correction."""
        return self.wire_bits + self.fec_bits

    @property
    def complex_uses(self) -> int:
        """Channel uses, one complex symbol each: two analog symbols, or the bits of one symbol of the modulation."""
        return self._analog_uses + -(-self.channel_bits // modulation_of(self.modulation).bits_per_symbol)

    @property
    def bit_ratio(self) -> float:
        """Bits of the float32 feature over payload and side bits (the papers' figure); nan where there are none."""
        spent = self.payload_bits + self.side_bits
        return 32 * self.elements / spent if spent else math.nan

    @property
    def symbol_ratio(self) -> float:
        """Elements of the feature over analog symbols (the papers' figure); nan where there are none."""
        return self.elements / self.real_symbols if self.real_symbols else math.nan

    def latency_s(self, bandwidth_hz: float) -> float:
        """Return the seconds that the complex uses take over a bandwidth: one use a second and hertz.

        N analog symbols alone take N / (2 W); bits are those after error correction, at the modulation.
        """
        return self.complex_uses / _check_positive("bandwidth_hz", bandwidth_hz)

    def shannon_latency_s(self, bandwidth_hz: float, snr_db: float) -> float:
        """Return the seconds over a bandwidth where the bits go at capacity, W log2(1 + SNR), and analog symbols as they are.

        Capacity replaces the error correction: it is the bits on the wire that count. `snr_db` is that of
        docs/conventions.md, per real dimension, which is Es/N0 of a complex symbol.
        """
        width = _check_positive("bandwidth_hz", bandwidth_hz)
        if not math.isfinite(snr_db):
            raise ConfigError(f"snr_db must be finite, got {snr_db!r}")
        return self._analog_uses / width + self.wire_bits / (width * math.log2(1 + 10 ** (snr_db / 10)))

    def to_dict(self) -> dict[str, Any]:
        """Return every count by name, sums too."""
        sums = {name: getattr(self, name) for name in ("wire_bits", "channel_bits", "complex_uses")}
        return {**dataclasses.asdict(self), **sums}

    @property
    def _analog_uses(self) -> int:
        return -(-self.real_symbols // 2)


def ledger(
    packet: Packet,
    codec: Codec | None = None,
    *,
    frame: str = "full",
    modulation: str = "bpsk",
    code_rate: float | Fraction = 1,
    block: tuple[int, int] | None = None,
) -> Ledger:
    """Count what a packet costs.

    Parameters
    ----------
    packet
        As sent: BYTES or SYMBOLS. Analog symbols are no bits; the header in front of them is, and is sent like any bits.
    codec
        The packet's: tells side, table and its own error correction from coded symbols.
    frame
        "full": header and checksum of `Packet.to_bytes()`. "compact": those of the compact mode. "none": the payload alone,
        as the papers count.
    modulation
        What bits are sent with.
    code_rate
        R of a code around everything on the wire, 0 < R <= 1: channel bits are the wire's divided by R, rounded up.
    block
        (n, k) of a block code instead: n bits for each k of the wire, the last block filled up.

    Raises
    ------
    ConfigError
        A code rate and a block, or one that is no code; an unknown frame or modulation.
    FeatureError
        The packet holds LLR: it has been received.
    """
    if packet.kind is PayloadKind.LLR:
        raise FeatureError("the ledger counts packets as sent, BYTES or SYMBOLS, got LLR: as received")
    modulation_of(modulation)
    analog = packet.kind is PayloadKind.SYMBOLS
    parts = {} if analog or codec is None else _parts(codec, packet)
    inner = parts.get("fec", 0)
    side, table = parts.get("side", 0), parts.get("table", 0)
    payload = 0 if analog else packet.payload_bits - side - table - inner
    framing = _frame_bits(packet, check_choice("frame", frame, ("full", "compact", "none")))
    wire = payload + side + table + framing
    return Ledger(
        elements=packet.num_elements,
        payload_bits=payload,
        side_bits=side,
        table_bits=table,
        frame_bits=framing,
        fec_bits=_coded(wire + inner, code_rate, block) - wire,
        real_symbols=packet.payload.size if analog else 0,
        modulation=modulation,
    )


def _parts(codec: Codec, packet: Packet) -> dict[str, int]:
    parts = codec.payload_parts(packet.payload, packet.shape)
    if not set(parts) <= set(_PARTS) or min(parts.values(), default=0) < 0 or sum(parts.values()) > packet.payload_bits:
        raise AssertionError(f"{codec.codec_id} divides {packet.payload_bits} bits into {parts}")
    return parts


def _frame_bits(packet: Packet, frame: str) -> int:
    if frame == "none":
        return 0
    return 8 * len(packet.to_bytes(compact=True)) - packet.payload_bits if frame == "compact" else packet.frame_bits


def _coded(bits: int, code_rate: float | Fraction, block: tuple[int, int] | None) -> int:
    if block is not None:
        if code_rate != 1:
            raise ConfigError(f"give code_rate or block, got code_rate={code_rate!r} and block={block!r}")
        n = check_int("n of a block", block[0], 1, 1 << 24)
        k = check_int("k of a block", block[1], 1, n)
        return n * -(-bits // k)
    # floats such as 5 / 6 are meant as fractions
    rate = Fraction(code_rate) if math.isfinite(code_rate) else Fraction(0)
    rate = rate.limit_denominator(1 << 20) if isinstance(code_rate, float) else rate
    if not 0 < rate <= 1:
        raise ConfigError(f"a code rate is above 0 and at most 1, got {code_rate!r}")
    return math.ceil(bits / rate)


def _check_positive(name: str, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise ConfigError(f"{name} must be above 0, got {value!r}")
    return value
