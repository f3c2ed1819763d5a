"""What learned codecs do to latents: another codec's feature, integers by a learned density, words of n bits.

The networks before them run elsewhere: in torch, or in a head's ONNX file. A coder is made of those of its codec's parameters
that say how latents are coded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featcodec.errors import BitstreamError, ConfigError, FeatureError
from featcodec.ops.steps import check_step
from featcodec.payloads import prior_coder
from featcodec.payloads.coder import Payload, PayloadCoder, State
from featcodec.payloads.coders import coder_of, inner_state
from featcodec.payloads.layout import FloatArray
from featcodec.payloads.prior_coder import LIMIT, WINDOW, Integers
from featcodec.payloads.quantizer import unit_quantize
from featcodec.payloads.words import Words, pack_words
from featcodec.spec import Spec, check_int, check_number

if TYPE_CHECKING:
    from typing_extensions import Self

_MAX_LATENTS = 1 << 20  # of one sample: what a decoder works through for a few bytes that claim a large feature
INTEGERS = (-LIMIT, LIMIT)
STEPS = (1e-6, 1e6)


class NestedCoder(PayloadCoder):
    """Latents through another codec: its payloads."""

    of_latents = True
    decodes = False

    def __init__(self, inner: PayloadCoder) -> None:
        super().__init__()
        self.inner = inner

    @classmethod
    def of(cls, params: Mapping[str, Any], state: State) -> Self:
        """See `PayloadCoder.of`."""
        return cls(coder_of(cls.inner_spec(params), inner_state(state)))

    @classmethod
    def inner_spec(cls, params: Mapping[str, Any]) -> Spec:
        """Return the spec of the other codec."""
        spec: Spec = needed(cls, params, "inner")
        return spec

    def encode_payloads(self, x: FloatArray) -> list[Payload]:
        """Encode with the inner codec."""
        return self.inner.encode_payloads(x)


class BottleNetCoder(NestedCoder):
    """The reduced maps through an inner codec."""

    codec_id = "bottlenet"


class DscCoder(NestedCoder):
    """A step quantiser and an entropy coder."""

    codec_id = "dsc"

    @classmethod
    def inner_spec(cls, params: Mapping[str, Any]) -> Spec:
        """Return the entropy coder's spec, which follows from the parameters."""
        return {
            "id": needed(cls, params, "coder"),
            "step": needed(cls, params, "step"),
            "tables": needed(cls, params, "tables"),
        }


class EntropicCoder(PayloadCoder):
    """q = rint(z / Q), coded by integer tables, one for each map.

    Parameters
    ----------
    step
        Q.
    frequencies, first
        As in `payloads.prior_coder`.
    """

    codec_id = "entropic"
    of_latents = True
    decodes = False

    def __init__(self, step: float, frequencies: Integers, first: Integers) -> None:
        super().__init__()
        self.step, self.frequencies, self.first = step, frequencies, first

    @classmethod
    def of(cls, params: Mapping[str, Any], state: State) -> Self:
        """See `PayloadCoder.of`."""
        frequencies, first = (needed(cls, state, f"prior.{name}") for name in ("frequencies", "first"))
        if first.ndim != 1 or frequencies.shape != (len(first), WINDOW + 1):
            raise ConfigError(
                f"tables of entropic are (maps, {WINDOW + 1}) and (maps,), got {frequencies.shape}, {first.shape}"
            )
        step = check_number("step", needed(cls, params, "step"), *STEPS)
        return cls(step, frequencies.astype(np.int64), first.astype(np.int64))

    def encode_payloads(self, x: FloatArray) -> list[Payload]:
        """Quantise and code latents (B, maps, h, w), map after map."""
        _check_count(x.shape[1:], FeatureError)
        check_step(x, self.step, INTEGERS, STEPS[1])
        integers: Integers = np.rint(x.astype(np.float64) / self.step).astype(np.int64)
        rows = integers.reshape(len(x), len(self.first), -1)
        return [np.frombuffer(prior_coder.encode(row, self.frequencies, self.first), np.uint8) for row in rows]

    def decode_payload(self, payload: Payload, shape: tuple[int, ...]) -> FloatArray:
        """Decode and dequantise."""
        _check_count(shape, BitstreamError)
        integers = prior_coder.decode(payload.tobytes(), math.prod(shape[1:]), self.frequencies, self.first)
        values: FloatArray = (integers.reshape(shape) * self.step).astype(np.float32)
        return values


class UnitWordsCoder(PayloadCoder):
    """Latents in [0, 1] as words of n bits."""

    codec_id = "bottlenet++"
    of_latents = True
    decodes = False

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = check_int("bits", bits, 1, 16)

    @classmethod
    def of(cls, params: Mapping[str, Any], state: State) -> Self:
        """See `PayloadCoder.of`."""
        if params.get("mode") != "digital":
            raise ConfigError(f"without torch 'bottlenet++' sends words, mode=digital, got mode={params.get('mode')}")
        return cls(needed(cls, params, "bits"))

    def encode_payload(self, x: FloatArray) -> Payload:
        """Quantise, and pack the words."""
        return pack_words(unit_quantize(x.reshape(-1), self.bits), self.bits)


class CodebookCoder(PayloadCoder):
    """Groups of latents as words: the indices of their nearest codewords.

    Parameters
    ----------
    bits
        Of a word.
    codebook
        As in `nearest`.
    """

    of_latents = True
    decodes = False

    def __init__(self, bits: int, codebook: NDArray[np.floating[Any]]) -> None:
        super().__init__()
        self.bits, self.codebook = check_int("bits", bits, 1, 12), codebook

    @classmethod
    def of(cls, params: Mapping[str, Any], state: State) -> Self:
        """See `PayloadCoder.of`."""
        coder = cls(needed(cls, params, "bits"), needed(cls, state, "codebook"))
        books = coder.codebook.shape
        if len(books) != 3 or books[1] != 1 << coder.bits or 0 in books:
            raise ConfigError(f"a codebook of {coder.bits} bits is (books, {1 << coder.bits}, length), got {books}")
        return coder

    def encode_payloads(self, x: FloatArray) -> list[Payload]:
        """Look for the codewords of latents (B, hidden), and pack their indices."""
        hidden, (books, _, length) = x.shape[-1], self.codebook.shape
        if x.ndim != 2 or hidden % length or (books > 1 and hidden != books * length):
            raise FeatureError(f"latents (B, hidden) for {books} books of codewords of {length} were expected, got {x.shape}")
        return [pack_words(words, self.bits) for words in nearest(x, self.codebook)]


class LearnedScalarCoder(CodebookCoder):
    """One book of scalars."""

    codec_id = "learned_scalar"


class VqCoder(CodebookCoder):
    """A book for every group."""

    codec_id = "vq"


def nearest(z: FloatArray, codebook: NDArray[np.floating[Any]]) -> Words:
    """Return the index of the nearest codeword of each group, the first of equals.

    Parameters
    ----------
    z
        (B, N * length): latents, finite.
    codebook
        (books, 2^bits, length); books is N, or 1, which serves every group.

    Returns
    -------
    Words
        (B, N).
    """
    groups = z.astype(np.float64).reshape(len(z), -1, 1, codebook.shape[2])
    words: Words = np.square(groups - codebook.astype(np.float64)).sum(-1).argmin(-1)
    return words


def needed(coder: type[PayloadCoder], given: Mapping[str, Any], name: str) -> Any:
    """Return what a config or a state must have; ConfigError where it has not."""
    if name not in given:
        raise ConfigError(f"codec {coder.codec_id!r} needs {name!r} in its config or state, got {', '.join(given) or 'none'}")
    return given[name]


def _check_count(shape: tuple[int, ...], error: type[Exception]) -> None:
    if math.prod(shape) > _MAX_LATENTS:
        raise error(f"a sample has at most {_MAX_LATENTS} latents, got {math.prod(shape)}: {shape}")
