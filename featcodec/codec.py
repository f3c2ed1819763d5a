"""Codec: what every codec is. The base checks, writes headers and carries gradients; authors write two methods."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from featcodec.bitstream import Packet, PayloadKind, name_of, parse_batch
from featcodec.calibrated import Calibrated
from featcodec.channel import Channel
from featcodec.core import follow_num_threads
from featcodec.errors import BitstreamError, ConfigError
from featcodec.features import check_feature, check_layout, not_traceable
from featcodec.ops.cast import DTYPE_NAMES, DTYPES, all_finite, from_floats, in_layout_of, to_floats
from featcodec.ops.clock import now
from featcodec.ops.crushed import Crushed, Watch, crushed_in
from featcodec.ops.eager import eager
from featcodec.ops.straight_through import straight_through
from featcodec.ops.versions import version_of
from featcodec.payloads.coder import Payload, PayloadCoder
from featcodec.payloads.layout import FloatArray, stacked
from featcodec.transmission import NOTHING_LOST, Losses, Transmission
from featcodec.weights import check_same_config, check_same_state, fingerprint_of, read_weights, write_weights

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Codec", "FloatArray", "Payload"]

# the core shares its work as torch does, from the first codec on
follow_num_threads(torch.get_num_threads)


class Codec(PayloadCoder, Calibrated, nn.Module):
    """A feature codec: tensors to packets and back, with a config.

    Subclasses set `codec_id` and write `encode_payload` and `decode_payload` (`PayloadCoder`, a codec's half that needs no
    torch); one with parameters adds a keyword-only `__init__`, `params` and `examples`.

    Attributes
    ----------
    codec_id
        The registry id.
    examples
        Configs (without id) that tests, goldens and benchmarks sweep.
    example_shape
        Shape of one sample that every example accepts.
    payload_kind
        What `encode_payload` returns and `decode_payload` takes.
    stable_bytes
        True where the bytes come from this package alone; False where another library's encoder may change them, or where they
        depend on how a machine rounds floats.
    protects
        True where the codec adds protection to what another one sends.
    learned
        True where the codec has weights to train: its gradient is its networks', and bytes mean nothing without its state.
        A codec around another one is learned where that one is.
    """

    example_shape: ClassVar[tuple[int, ...]] = (8, 7, 5)
    payload_kind: PayloadKind = PayloadKind.BYTES
    stable_bytes: ClassVar[bool] = True
    learned: bool = False
    protects: ClassVar[bool] = False
    _transient: ClassVar[tuple[str, ...]] = ("_config_crc",)

    def __init__(self) -> None:
        super().__init__()
        self._watch = Watch()

    # ---- what an author writes ------------------------------------------------------------------------------------------

    def payload_parts(self, payload: Payload, shape: tuple[int, ...]) -> dict[str, int]:
        """Tell what of an encoded payload is not coded symbols: bits by "side", "table" and "fec", or fewer of them.

        Side: ranges, codebook numbers. Table: the entropy coder's, sent with the sample. Fec: parity. A codec that cannot
        tell returns nothing. `featcodec.accounting` counts by it.
        """
        return {}

    def reconstruct(self, x: Tensor) -> Tensor | None:
        """Return what decoding the encoded batch would give, computed on the device of `x`; None where there is no such way.

        The values must be those of the real path bit for bit. Training takes this way: a lossless coder adds nothing to it.
        """
        return None

    # ---- what a user calls ----------------------------------------------------------------------------------------------

    def losses(self) -> dict[str, Tensor]:
        """Return what the most recent forward in training mode adds to a task's loss, unweighted.

        Classical codecs have none: {}. A learned codec returns scalars with gradients, by name: "rate" is its estimate of what
        is sent (its docstring says in which unit), others are auxiliary ("vq"). They are gone once read, and every training
        forward replaces them: weigh and add them between forward and backward, ``loss + sum(w[k] * v for k, v in ...)``.
        Where a codec is inserted, "a forward" is the model's: what all tensors and calls cost is added up.
        """
        return {}

    def keep_losses(self, losses: Mapping[str, Tensor]) -> None:
        """Add scalars to what `losses` will return; a codec without losses has nothing to add to."""

    def config(self) -> dict[str, Any]:
        """Return ``{"id": ..., **params()}``: JSON that `featcodec.get_codec` rebuilds the codec from."""
        return {"id": self.codec_id, **self.params()}

    def fingerprint(self) -> str:
        """Return 32 hexadecimal digits for the config and every tensor of the state (`weights.fingerprint_of`).

        A packet's name does not tell other weights apart; this does: both ends compare it when a session opens.
        """
        self.config_crc()  # tables that follow parameters are brought up to date
        return fingerprint_of(self.config(), self.state_dict())

    def config_crc(self) -> int:
        """Return the CRC-32C of the canonical JSON of `config()` and of every integer buffer: a packet's name for it."""
        # Cached: the parameters are fixed from here on (see __setattr__), and buffers count their changes.
        version = self._state_version()
        cached = self.__dict__.get("_config_crc")
        if cached is not None and cached[0] == version:
            known: int = cached[1]
            return known
        crc = name_of(self.config(), self._integers())
        self.__dict__["_config_crc"] = (version, crc)
        return crc

    def device_state(self) -> dict[str, NDArray[Any]]:
        """Return what makes a payload coder of this codec's config (`featcodec.device.codec`): its tables, and no network.

        Every integer buffer is there, in order: packets are named by them.
        """
        self.config_crc()  # tables that follow parameters are brought up to date
        return self._integers()

    def _integers(self) -> dict[str, NDArray[Any]]:
        # batch norm's count of batches is no table
        named = [(n, b) for n, b in self.named_buffers() if not (b.is_floating_point() or n.endswith("num_batches_tracked"))]
        return {name: np.ascontiguousarray(buffer.cpu().numpy()) for name, buffer in named}

    def device_network(self) -> nn.Module | None:
        """Return what a device runs between the head and the payload coder, features (B, ...) to latents; None for nothing."""
        return None

    def _state_version(self) -> tuple[tuple[int, int], ...]:
        """What changes whenever an integer buffer of this codec does, or of one inside it."""
        return tuple((id(buffer), version_of(buffer)) for buffer in self.buffers())

    def save(self, path: str | Path) -> None:
        """Write config, state and fingerprint to a .safetensors file, which `featcodec.load_codec` makes the codec from again.

        Raises
        ------
        MissingDependencyError
            safetensors is not installed.
        """
        write_weights(path, self.config(), self.state_dict())

    def load(self, path: str | Path) -> Self:
        """Take the state from a file that `save` wrote, of a codec of this very config; return self.

        Raises
        ------
        ConfigError
            The file is damaged, or of another config: what differs is named, and this codec stays what it was.
        FileNotFoundError, MissingDependencyError
            No such file; safetensors is not installed.
        """
        config, state = read_weights(path)
        check_same_config(path, config, self.config())
        check_same_state(path, state, self.state_dict())
        self.load_state_dict(state)
        return self

    def encode(self, x: Tensor) -> list[Packet]:
        """Encode a batch.

        Parameters
        ----------
        x
            (B, ...), at most 8 dimensions, float32, float16 or bfloat16, on any device, finite.

        Returns
        -------
        list of Packet
            One per sample; each depends on its sample alone. None of an empty batch.

        Raises
        ------
        FeatureTypeError
            `x` is no tensor, of another dtype, or one without values of its own: sparse, nested, quantised, meta, traced.
        FeatureError
            A sample is empty, too large or not finite; the index of the first bad value is named.

        Warns
        -----
        RuntimeWarning
            Once: more than half of the tokens of a sample (T, D) are crushed (`ops.crushed`). Looked at are the first
            batch and then ever fewer: the 2nd, the 4th, the 8th; every batch of an inserted codec.
        """
        packets = self.encode_over(x, None)
        if packets and self._loses_by_accident and self._watch.is_due():
            self._watch.see(crushed_in(x, self.decode(packets).to(x.device)), self.config)
        return packets

    def encode_over(self, x: Tensor, channel: Channel | None) -> list[Packet]:
        """Encode a batch as `encode` does, for a channel that the encoder may be told of."""
        array = self._check_input(x)
        crc = self.config_crc()
        shape = tuple(array.shape[1:])
        payloads = self.encode_payloads_over(array, channel) if len(array) else []
        dtype = DTYPE_NAMES[x.dtype]
        return [Packet(shape, dtype, self.payload_kind, crc, payload) for payload in payloads]

    def decode(
        self,
        packets: Sequence[Packet | bytes],
        *,
        device: torch.device | str | None = None,
        like: Packet | None = None,
        max_elements: int | None = None,
    ) -> Tensor:
        """Decode packets of one shape and dtype.

        Parameters
        ----------
        packets
            Packets, or the bytes of packets.
        device
            Where the tensor is put; the CPU unless given.
        like
            A packet of the session, for bytes in compact mode.
        max_elements
            The most elements a sample may have; 2^26 unless given, which a packet of 20 bytes may claim and decoding makes.

        Returns
        -------
        Tensor
            (B, ...) of the header's dtype, finite: a lossy value beyond the dtype's range becomes its largest.

        Raises
        ------
        BitstreamError
            A packet is damaged, of another config, not of the first one's shape and dtype, or of too many elements.
        """
        parsed = self._check_packets(packets, like, max_elements)
        x = self._to_feature(self._decode_values(parsed), len(parsed), parsed[0])
        return x if device is None else x.to(device)

    def forward(self, x: Tensor, channel: Channel | None = None) -> Tensor:
        """Return decode(channel(encode(x))): its value always, the gradient of the identity where gradients are wanted.

        In training mode a codec with an exact way on the device takes that way; the value is the same.
        """
        if not self.sends(x, channel):
            return self._pass_on_device(x)
        return self.transmit(x, channel).output

    @eager
    def transmit(self, x: Tensor, channel: Channel | None = None) -> Transmission:
        """Take the real way (encode, channel, decode) and say what it cost; errors are those of `encode` and `decode`."""
        if not torch.is_grad_enabled():
            return self._take_real_way(x, channel)[0]
        with torch.no_grad():
            way, received = self._take_real_way(x, channel)
        return way._replace(output=self.attach_gradient(x, way.output, received, channel)) if received else way

    def _take_real_way(self, x: Tensor, channel: Channel | None) -> tuple[Transmission, list[Packet]]:
        """A batch's way without its gradient, and what arrived of its packets."""
        if not isinstance(x, Tensor):
            check_layout(x)
        start = now(x.device)
        packets = self.encode_over(x, channel)
        encoded = now(x.device)
        if not packets:
            return Transmission(x, [], encoded - start, 0.0, NOTHING_LOST, Crushed(0, 0, 0), 0, 0), packets
        received, resent_bits = self.carry(packets, channel)
        arrived = now(x.device)
        value, losses = self.decode_counted(received)
        value = in_layout_of(x, value.to(x.device))
        end = now(x.device)
        crushed = crushed_in(x, value)
        if channel is None and self._loses_by_accident:
            self._watch.see(crushed, self.config)
        losses = losses if resent_bits == 0 else replace(losses, resent_bits=resent_bits)
        payload_bits = 0 if self.payload_kind is PayloadKind.SYMBOLS else sum(packet.payload_bits for packet in packets)
        frame_bits = sum(packet.frame_bits for packet in packets)
        way = Transmission(value, packets, encoded - start, end - arrived, losses, crushed, payload_bits, frame_bits)
        return way, received

    def carry(self, packets: list[Packet], channel: Channel | None) -> tuple[list[Packet], int]:
        """Return what arrives of packets, and the bits that were sent again; a codec that asks again overrides this."""
        return (packets if channel is None else [channel(packet) for packet in packets]), 0

    def decode_counted(self, packets: list[Packet]) -> tuple[Tensor, Losses]:
        """Decode as `decode` does, and say what was lost; a codec that conceals losses overrides this."""
        return self.decode(packets), NOTHING_LOST

    def attach_gradient(self, x: Tensor, value: Tensor, received: Sequence[Packet], channel: Channel | None) -> Tensor:
        """Return `value`, what `received` decoded to, with the gradient that training takes: the identity's in `x`."""
        return straight_through(x, value)

    # ---- what a codec that can go faster overrides ----------------------------------------------------------------------

    def encode_payloads_over(self, x: FloatArray, channel: Channel | None) -> list[Payload]:
        """Encode a batch for a channel; what a codec that is told of its channel overrides."""
        return self.encode_payloads(x)

    def decode_soft(self, llr: Payload, shape: tuple[int, ...]) -> FloatArray | None:
        """Decode one sample from the LLRs of its payload's bits, some of them erased; None where that cannot be done.

        What codecs of uncoded bits override: a bit in doubt then costs accuracy and not the sample.
        """
        return None

    @property
    def _loses_by_accident(self) -> bool:
        """False where networks or the tail's gradients said what may be lost: no warning then."""
        return not (self.learned or self.wants_sensitivity)

    # ---- the checks -----------------------------------------------------------------------------------------------------

    def sends(self, x: Tensor, channel: Channel | None) -> bool:
        """True where forward takes the real way and not the one on the device."""
        wants_gradient = torch.is_grad_enabled() and isinstance(x, Tensor) and x.requires_grad
        return not (wants_gradient and self.training and channel is None and type(self).reconstruct is not Codec.reconstruct)

    @eager
    def _pass_on_device(self, x: Tensor) -> Tensor:
        check_feature(x)
        with torch.no_grad():
            value = self.reconstruct(x)
        if value is None:
            raise AssertionError(f"{self.codec_id} overrides reconstruct and returns nothing")
        return straight_through(x, value)

    def _check_input(self, x: Tensor) -> FloatArray:
        check_feature(x)
        return to_floats(x)

    def _check_packets(self, packets: Sequence[Packet | bytes], like: Packet | None, most: int | None = None) -> list[Packet]:
        parsed = parse_batch(packets, like, most)
        crc = self.config_crc()
        for i, packet in enumerate(parsed):
            if packet.config_crc != crc:
                raise BitstreamError(
                    f"packet {i} is of config {packet.config_crc:#010x}, this codec is {crc:#010x}: {json.dumps(self.config())}"
                )
        return parsed

    def _decode_values(self, packets: list[Packet]) -> FloatArray:
        """What packets of one shape decode to; soft bits where the codec takes them and some were erased."""
        shape = packets[0].shape
        soft: dict[int, FloatArray] = {}
        for i, packet in enumerate(packets):
            if packet.kind is PayloadKind.LLR and self.payload_kind is PayloadKind.BYTES and not packet.payload.all():
                value = self.decode_soft(packet.payload, shape)
                if value is not None:
                    soft[i] = value
        hard = [self._receive(packet) for i, packet in enumerate(packets) if i not in soft]
        if not soft:
            return self.decode_payloads(hard, shape)
        decoded = iter(self.decode_payloads(hard, shape)) if hard else iter(())
        values = (soft[i] if i in soft else next(decoded) for i in range(len(packets)))
        return stacked(values, len(packets), shape)

    def _to_feature(self, values: FloatArray, samples: int, first: Packet) -> Tensor:
        """What a codec decoded, in the header's dtype."""
        wanted = (samples, *first.shape)
        if values.shape != wanted or values.dtype != np.float32:
            raise AssertionError(f"{self.codec_id} decoded to {values.dtype} {values.shape}, not float32 {wanted}")
        x = from_floats(values, DTYPES[first.dtype])
        if not all_finite(x):
            raise BitstreamError("the packets decode to values that are not finite")
        return x

    def _receive(self, packet: Packet) -> Payload:
        """Return the payload in the kind this codec decodes; soft bits become bytes where none was erased."""
        if packet.kind is self.payload_kind:
            return packet.payload
        if packet.kind is PayloadKind.LLR and self.payload_kind is PayloadKind.BYTES:
            erased = int(np.count_nonzero(packet.payload == 0))
            if erased == 0 and packet.payload.size % 8 == 0:
                decided = replace(packet, kind=PayloadKind.BYTES, payload=np.packbits(packet.payload < 0))
                decided.verify()  # hard decisions may be wrong
                return decided.payload
            raise BitstreamError(
                f"{erased} of {packet.payload.size} payload bits were erased on the channel; {self.codec_id!r} needs every bit"
            )
        raise BitstreamError(f"{self.codec_id!r} decodes {self.payload_kind.name} payloads, got {packet.kind.name}")

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse to change a parameter once packets have been named by it."""
        if "_config_crc" in self.__dict__ and name in self.params():
            raise ConfigError(f"{name} of a codec in use is fixed: build another codec with get_codec")
        super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out of copies and pickles what is made again when needed."""
        return {key: value for key, value in self.__dict__.items() if key not in self._transient}

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Copy, with tensors that can be trained and that count their changes, whatever mode torch is in."""
        new = type(self).__new__(type(self))
        memo[id(self)] = new
        with torch.inference_mode(False):
            new.__dict__.update(copy.deepcopy(self.__getstate__(), memo))
        return new

    def __prepare_scriptable__(self) -> None:
        """What torch.jit.script calls first."""
        raise not_traceable("torch.jit.script")

    def extra_repr(self) -> str:
        """Show the parameters when printed."""
        return ", ".join(f"{key}={value!r}" for key, value in self.params().items())
