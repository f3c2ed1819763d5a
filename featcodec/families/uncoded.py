"""UncodedBottleneckCodec: what bottlenecks share that send words of n bits as they are; they decode whatever arrives."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from featcodec.bitstream import Packet, PayloadKind
from featcodec.channel import Channel
from featcodec.codec import FloatArray, Payload
from featcodec.families.bottleneck import BottleneckCodec
from featcodec.payloads.words import Words, pack_words, unpack_words, word_probabilities


class UncodedBottleneckCodec(BottleneckCodec):
    """Latents as words of `bits` bits, most significant first, in order, the last byte filled with zeros.

    Any payload of the right length decodes: flipped bits are other words, soft bits are decoded to an expectation.
    A subclass sets `bits` and writes `to_words`, `from_words` and `from_probabilities`.
    """

    bits: int

    def to_words(self, z: FloatArray) -> Words:
        """Return the words (B, N) of latents (B, ...)."""
        raise NotImplementedError

    def from_words(self, words: Words) -> FloatArray:
        """Return the latents, of any shape, that words (N,) of one sample stand for."""
        raise NotImplementedError

    def from_probabilities(self, probabilities: NDArray[np.float64]) -> FloatArray:
        """Return the expected latents of one sample whose bits (N, bits) are 1 with these probabilities."""
        raise NotImplementedError

    def num_words(self, shape: tuple[int, ...]) -> int:
        """Return N for latents of this shape."""
        return math.prod(shape)

    def encode_latents(self, z: FloatArray, channel: Channel | None = None) -> list[Payload]:
        """Pack the words."""
        return [pack_words(words, self.bits) for words in self.to_words(z)]

    def decode_latents(self, payloads: Sequence[Payload], shape: tuple[int, ...]) -> FloatArray:
        """Unpack words, or take the expectation where soft bits arrived."""
        count = self.num_words(shape)
        rows = [
            self.from_probabilities(word_probabilities(payload, count, self.bits))
            if payload.dtype == np.int8
            else self.from_words(unpack_words(payload, count, self.bits))
            for payload in payloads
        ]
        return np.stack([row.reshape(shape) for row in rows]).astype(np.float32, copy=False)

    def decode_soft(self, llr: Payload, shape: tuple[int, ...]) -> FloatArray:
        """Decode one sample from the LLRs of its payload's bits."""
        sample: FloatArray = self.decode_payloads([llr], shape)[0]
        return sample

    def _receive(self, packet: Packet) -> Payload:
        soft = packet.kind is PayloadKind.LLR and self.payload_kind is PayloadKind.BYTES
        return packet.payload if soft else super()._receive(packet)
