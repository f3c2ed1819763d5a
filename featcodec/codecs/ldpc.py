"""ldpc: any digital codec behind LDPC blocks: soft bits in, lost blocks concealed or refused, sent again where asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from featcodec.bitstream import Packet, PayloadKind
from featcodec.channel import Channel, get_channel
from featcodec.codec import Codec, FloatArray, Payload
from featcodec.errors import BitstreamError, ConfigError, FeatureError
from featcodec.features import check_feature
from featcodec.fec.block_codes import MAX_MESSAGE_BYTES, Recovered
from featcodec.fec.protection import LENGTH_BYTES, MOST_MAPS, LdpcCoder
from featcodec.fec.rates import rate_points
from featcodec.ops.soft_bits import SURE
from featcodec.registry import get_codec
from featcodec.spec import Spec
from featcodec.transmission import Losses

if TYPE_CHECKING:
    from typing_extensions import Self


class LdpcCodec(LdpcCoder, Codec):
    """Protects what another codec sends by blocks: CRC-32C, LDPC, interleaving, scrambling (`featcodec.fec.block_codes`).

    Payload: where there are several groups or `head_bytes`, a head (for every group its payload's length, 4 bytes, and its
    first `head_bytes` bytes) as one protected message of its own at `head_rate`; then for each group the rest of its payload.
    Without a head the one group's payload is the message.

    Parameters
    ----------
    inner
        The codec that is protected: any spec of one that sends bytes. A learned one is trained by itself: behind ldpc its
        weights get no gradient.
    code
        "nr": 5G NR, any length and rate. "wifi": IEEE 802.11n, rate 1/2 and above.
    rate
        The code rate, as in "3/4" or 0.75. "auto": the highest at which at most `target_fer` of the features are lost on
        `channel`, from measured tables (`featcodec.fec.rates`); the config then carries the integers that follow from
        them, points (k, n), so that both ends agree.
    channel
        For rate="auto": a "bec", "bsc" or "awgn" spec.
    target_fer
        For rate="auto": the share of features that may be lost, 1e-6..0.5.
    groups
        The maps are cut into so many runs, each coded on its own: what is lost is lost for the maps of one group.
    head_bytes
        The bytes at the front of every group's payload (ranges, tables) that travel in the head.
    head_rate
        The head's code rate; half the payload's unless given. The head is always an "nr" message.
    on_loss
        "raise": a group that cannot be decoded is a BitstreamError. "conceal": an inner codec that decodes soft bits gets them,
        what remains lost becomes the mean that `calibrate` measured (0 before).
    retransmit
        How often blocks that fail are sent again in `transmit` and in an insertion; copies of a bit are added up.
    max_iterations
        Of the min-sum decoder.
    """

    protects = True
    inner: Codec

    def __init__(
        self,
        *,
        inner: Spec = "huffman",
        code: str = "nr",
        rate: str | float = "1/2",
        channel: Spec | None = None,
        target_fer: float = 1e-3,
        groups: int = 1,
        head_bytes: int = 0,
        head_rate: str | float | None = None,
        on_loss: str = "raise",
        retransmit: int = 0,
        max_iterations: int = 20,
    ) -> None:
        protected = get_codec(inner)
        if protected.payload_kind is not PayloadKind.BYTES:
            raise ConfigError(f"ldpc protects bytes, {protected.codec_id!r} sends {protected.payload_kind.name}")
        super().__init__(
            inner=protected,
            code=code,
            rate=_resolve_rate(rate, code, channel, target_fer),
            groups=groups,
            head_bytes=head_bytes,
            head_rate=head_rate,
            on_loss=on_loss,
            retransmit=retransmit,
            max_iterations=max_iterations,
        )
        self.learned = protected.learned
        # Of every map; beyond the maps that were calibrated, the mean of all.
        self.register_buffer("means", torch.zeros(MOST_MAPS))

    means: Tensor

    def params(self) -> dict[str, Any]:
        """Return the constructor's arguments; those beyond inner, code and rate where they are not the defaults."""
        every = {
            "groups": (self.groups, 1),
            "head_bytes": (self.head_bytes, 0),
            "head_rate": (self.head_rate, None),
            "on_loss": (self.on_loss, "raise"),
            "retransmit": (self.retransmit, 0),
            "max_iterations": (self.max_iterations, 20),
        }
        rest = {key: value for key, (value, default) in every.items() if value != default}
        return {"inner": self.inner.config(), "code": self.code, "rate": self.rate, **rest}

    @property
    def needs_calibration(self) -> bool:
        """True where losses are concealed, or the inner codec needs it."""
        return self.on_loss == "conceal" or self.inner.needs_calibration

    def calibrate(self, features: Tensor | Iterable[Tensor]) -> Self:
        """Measure the means that losses are concealed with, and calibrate the inner codec; see `Codec.calibrate`."""
        if not self.needs_calibration:
            return self
        batches = [features] if isinstance(features, Tensor) else list(features)
        for batch in batches:
            check_feature(batch)
        if not batches:
            raise FeatureError("there must be a feature to calibrate with")
        maps = {batch.shape[1] if batch.ndim > 1 else 1 for batch in batches}
        if len(maps) > 1:
            raise FeatureError(f"the features to calibrate with must agree in their maps, got {sorted(maps)}")
        self.inner.calibrate([b[:, part] if b.ndim > 1 else b for b in batches for part in self._parts(b.shape[1:])])
        count = min(maps.pop(), MOST_MAPS)
        flat = torch.cat([batch.detach().double().cpu().reshape(len(batch), -1) for batch in batches])
        means = flat.reshape(len(flat), count, -1).mean(dim=(0, 2)) if count < MOST_MAPS else flat.mean().expand(1)
        self.means.fill_(float(means.mean()))
        self.means[: len(means)] = means.float()
        return self

    def device_network(self) -> nn.Module | None:
        """Return the inner codec's."""
        return self.inner.device_network()

    def payload_parts(self, payload: Payload, shape: tuple[int, ...]) -> dict[str, int]:
        """Tell CRCs, parity and the head from the inner codec's bits, and those by its own parts."""
        hard = (SURE - 2 * SURE * np.unpackbits(payload).astype(np.int16)).astype(np.int8)
        groups = self._messages(hard, shape).groups
        parts = {"fec": 8 * (payload.size - sum(group.payload.size for group in groups))}
        for part, group in zip(self._parts(shape), groups, strict=True):
            part_shape = (part.stop - part.start, *shape[1:]) if shape else shape
            for name, bits in self.inner.payload_parts(group.payload, part_shape).items():
                parts[name] = parts.get(name, 0) + bits
        return parts

    def reconstruct(self, x: Tensor) -> Tensor | None:
        """Do what the inner codec does: the protection changes nothing where nothing is lost."""
        if x.ndim < 2:
            return self.inner.reconstruct(x)
        values = [self.inner.reconstruct(x[:, part]) for part in self._parts(tuple(x.shape[1:]))]
        found = [value for value in values if value is not None]
        return torch.cat(found, dim=1) if len(found) == len(values) else None

    def sends(self, x: Tensor, channel: Channel | None) -> bool:
        """Return True where the real way is taken: also in training where the inner codec has no other."""
        return super().sends(x, channel) or self.inner.sends(x, None)

    # ---- to bytes ------------------------------------------------------------------------------------------------------

    def encode_payloads_over(self, x: FloatArray, channel: Channel | None) -> list[Payload]:
        """Encode every group with the inner codec, then protect sample by sample."""
        batch = torch.from_numpy(x)
        parts = [batch] if x.ndim < 2 else [batch[:, part].contiguous() for part in self._parts(x.shape[1:])]
        groups = [self.inner.encode_over(part, channel) for part in parts]
        return [self._protect([packet.payload for packet in sample]) for sample in zip(*groups, strict=True)]

    # ---- and back ------------------------------------------------------------------------------------------------------

    def carry(self, packets: list[Packet], channel: Channel | None) -> tuple[list[Packet], int]:
        """Send, and send again what fails; see `Codec.carry`."""
        received, bits = super().carry(packets, channel)
        if channel is None or self.retransmit == 0:
            return received, bits
        pairs = [self._insist(sent, got, channel) for sent, got in zip(packets, received, strict=True)]
        return [packet for packet, _ in pairs], sum(again for _, again in pairs)

    def decode_counted(self, packets: list[Packet]) -> tuple[Tensor, Losses]:
        """Decode and count; see `Codec.decode_counted`."""
        parsed = self._check_packets(packets, None)
        values, losses = self._decode_soft_payloads([self._receive(packet) for packet in parsed], parsed[0].shape)
        return self._to_feature(values, len(parsed), parsed[0]), losses

    def decode_payloads(self, payloads: Sequence[Payload], shape: tuple[int, ...]) -> FloatArray:
        """Decode soft bits, as `_receive` gives them."""
        return self._decode_soft_payloads(payloads, shape)[0]

    def _receive(self, packet: Packet) -> Payload:
        """Return the payload's soft bits."""
        if packet.kind is PayloadKind.LLR:
            return packet.payload
        if packet.kind is PayloadKind.BYTES:
            bits = np.unpackbits(packet.payload).view(np.int8)
            soft: Payload = SURE - 2 * SURE * bits.astype(np.int16)
            return soft.astype(np.int8)
        raise BitstreamError(f"{self.codec_id!r} decodes bits, hard or soft, got {packet.kind.name}")

    def _decode_soft_payloads(self, payloads: Sequence[Payload], shape: tuple[int, ...]) -> tuple[FloatArray, Losses]:
        messages = [self._messages(soft, shape) for soft in payloads]
        parts = self._parts(shape)
        out = np.empty((len(payloads), *shape), np.float32)
        concealed = 0
        for g, part in enumerate(parts):
            part_shape = shape if not shape else (part.stop - part.start, *shape[1:])
            whole = [i for i, message in enumerate(messages) if message.groups[g].good]
            if whole:
                crc = self.inner.config_crc()
                packets = [Packet(part_shape, "float32", PayloadKind.BYTES, crc, messages[i].groups[g].payload) for i in whole]
                values = self.inner.decode(packets).numpy()
                for i, value in zip(whole, values, strict=True):
                    out[(i, part) if shape else i] = value
            for i in set(range(len(messages))) - set(whole):
                if self.on_loss == "raise":
                    lost = messages[i]
                    raise BitstreamError(f"{lost.failed} of {lost.blocks} blocks of sample {i} could not be decoded")
                out[(i, part) if shape else i] = self._conceal(messages[i].groups[g], part_shape, part.start)
                concealed += int(np.prod(part_shape))
        blocks, failed = sum(m.blocks for m in messages), sum(m.failed for m in messages)
        return out, Losses(blocks, failed, concealed)

    def _conceal(self, group: _Group, shape: tuple[int, ...], first_map: int) -> FloatArray:
        """What is known of a group that was not decoded: from its soft bits, else the calibrated means."""
        if group.soft is not None:
            value = self.inner.decode_soft(group.soft, shape)
            if value is not None:
                return value
        if not shape:
            return self.means[0].numpy()
        maps = np.minimum(np.arange(first_map, first_map + shape[0]), MOST_MAPS - 1)
        means = self.means.cpu().numpy()[maps].reshape(-1, *[1] * (len(shape) - 1))
        return np.broadcast_to(means, shape)

    # ---- one sample's soft bits to its groups' payloads ----------------------------------------------------------------

    def _messages(self, soft: Payload, shape: tuple[int, ...]) -> _Sample:
        """What arrived of every group; BitstreamError where the payload cannot be one of this codec's."""
        count = len(self._parts(shape))
        sample = _Sample([], 0, 0, [])
        if self._has_head(count):
            self._read_by_head(sample, soft, count)
        elif soft.size == 0:
            sample.groups.append(_Group(soft.view(np.uint8), True, None))
        else:
            sample.add(self._blocks.recover(soft), 0)
        return sample

    def _read_by_head(self, sample: _Sample, soft: Payload, count: int) -> None:
        head_bytes = count * (LENGTH_BYTES + self.head_bytes)
        at = 8 * self._head_blocks.coded_bytes(head_bytes)
        if soft.size < at:
            raise BitstreamError(f"the head of {count} groups is sent with {at} bits, the payload has {soft.size}")
        head = self._head_blocks.recover(soft[:at])
        sample.count(head, 0)
        if head.failed or head.data is None:
            sample.groups.extend([_LOST] * count)
            return
        for row in head.data.reshape(count, -1):
            size = int(row[:LENGTH_BYTES].view("<u4")[0])
            front = row[LENGTH_BYTES:][: min(size, self.head_bytes)]
            left = size - front.size
            if left == 0:
                sample.groups.append(_Group(np.ascontiguousarray(front), True, None))
                continue
            bits = 8 * self._blocks.coded_bytes(left) if left <= MAX_MESSAGE_BYTES else soft.size + 1
            if at + bits > soft.size:
                raise BitstreamError(f"the head says that {left} bytes follow, {(soft.size - at) // 8} coded ones are left")
            rest = self._blocks.recover(soft[at : at + bits], left)
            if rest.data is not None and rest.data.size != left:
                raise BitstreamError(f"the head says that {left} bytes follow, the blocks hold {rest.data.size}")
            sample.add(rest, at, front)
            at += bits
        if at != soft.size:
            raise BitstreamError(f"{soft.size - at} bits are left over after the last group")

    def _insist(self, sent: Packet, received: Packet, channel: Channel) -> tuple[Packet, int]:
        """Ask for failed blocks again and add what comes to what came: the packet in the end, and the bits sent again."""
        soft, bits = self._receive(received).copy(), 0
        coded = np.unpackbits(sent.payload)
        for attempt in range(1, self.retransmit + 1):
            failed = self._messages(soft, sent.shape).failed_bits
            if not failed:
                break
            places = np.concatenate(failed)
            again = Packet(sent.shape, sent.dtype, sent.kind, sent.config_crc, np.packbits(coded[places]))
            came = self._receive(channel(again, seed=(channel.seed + attempt) % (1 << 63)))
            added = soft[places].astype(np.int16) + came
            soft[places] = np.clip(added, -SURE, SURE)
            bits += 8 * again.payload.size
        return Packet(sent.shape, sent.dtype, PayloadKind.LLR, sent.config_crc, soft), bits


def _resolve_rate(rate: Any, code: str, channel: Spec | None, target_fer: float) -> Any:
    """The rate as a config carries it: a code rate, or the points that "auto" is on its channel."""
    if rate == "auto":
        if channel is None:
            raise ConfigError("rate=auto needs the channel it is for, as in channel=(bec:p=0.01)")
        return rate_points(code, get_channel(channel).config(), _check_target(target_fer))
    if channel is not None:
        raise ConfigError("channel= belongs to rate=auto; give the channel that packets meet to insert or forward")
    return rate


@dataclass(frozen=True)
class _Group:
    """A group's payload; where it is not good, `soft` has its bits as LLRs (`Recovered.soft`); None where all is lost."""

    payload: Payload
    good: bool
    soft: Payload | None


_LOST = _Group(np.zeros(0, np.uint8), False, None)


@dataclass
class _Sample:
    """What arrived of one sample, group by group."""

    groups: list[_Group]
    blocks: int
    failed: int
    failed_bits: list[NDArray[np.int64]]

    def count(self, message: Recovered, start: int) -> None:
        """Count the blocks of a message whose bits begin at `start`."""
        self.blocks += message.blocks
        self.failed += message.failed
        if message.failed:
            self.failed_bits.append(message.failed_bits + start)

    def add(self, message: Recovered, start: int, front: Payload | None = None) -> None:
        """Add the group that a message carries, after the bytes of it that came with the head."""
        self.count(message, start)
        if message.data is None:
            self.groups.append(_LOST)
            return
        front = message.data[:0] if front is None else front
        payload = np.concatenate([front, message.data])
        if message.failed == 0:
            self.groups.append(_Group(payload, True, None))
            return
        known = (SURE - 2 * SURE * np.unpackbits(front).astype(np.int16)).astype(np.int8)
        self.groups.append(_Group(payload, False, np.concatenate([known, message.soft])))


def _check_target(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1e-6 <= value <= 0.5:
        raise ConfigError(f"target_fer must be 1e-6..0.5, got {value!r}")
    return float(value)
