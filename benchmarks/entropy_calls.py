"""What the entropy benchmark measures at the user's calls: crossings, the range coder, large samples on threads, tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import featcodec as fc
from benchmarks.ours import threads
from benchmarks.timing import Effort, Timed, time_in_turn
from featcodec.codecs.entropic import EntropicCodec
from featcodec.payloads import prior_coder
from tests import prior_reference
from tests.features import smooth

Row = dict[str, Any]
Shape = tuple[int, int, int]

CROSSINGS = {"huffman static": "huffman:bits=4,tables=static", "huffman": "huffman:bits=4", "context": "context:bits=4"}
CROSSING = (16, 8, 8)  # 4 KB of float32
RANGE_CODED = ("entropic:maps=128,reduced=8,stride=2,step=0.005", (128, 56, 56))  # 8 x 28 x 28 latents of many values
LARGE_CODERS = ("huffman", "rans", "context", "auto", "bitpack")
LARGE_SHAPE, LARGE_BITS = (64, 256, 256), (4, 8)
PACKED_SHAPE, PACKED_CODERS = (160, 221, 221), ("bitpack", "huffman")
TOKENS = (197, 192)
TOKEN_CODERS = ("context", "rans", "auto")


def measure_crossings(effort: Effort) -> list[Row]:
    """Time a codec by itself, and a small model without and with it: microseconds, batch 1.

    `extra_us` is what the forward takes longer with the codec inserted, `ratio` that over the codec's own encode and decode.
    """
    x = smooth(CROSSING, 0)
    rows = []
    for name, spec in CROSSINGS.items():
        codec, inserted = fc.get_codec(spec), fc.get_codec(spec)
        if codec.needs_calibration:
            seen = torch.cat([smooth(CROSSING, seed) for seed in range(1, 65)])
            codec.calibrate(seen)
            inserted.calibrate(seen)
        bare, model = (nn.Sequential(nn.ReLU(), nn.Flatten()).eval() for _ in range(2))
        with fc.insert(model, "0", inserted):
            alone = Timed(name, _both_ways(codec, x), torch.no_grad)
            forwards = Timed(name, {"bare": partial(bare, x), "inserted": partial(model, x)}, torch.no_grad)
            time_in_turn([alone, forwards], effort)
        times = {**_medians(alone), **_medians(forwards)}
        own, extra = times["encode_us"] + times["decode_us"], times["inserted_us"] - times["bare_us"]
        rows.append({"coder": name, "codec": codec.config(), **times, "extra_us": extra, "ratio": extra / own})
    return rows


def measure_range_coder(effort: Effort) -> list[Row]:
    """Time `entropic`, its range coder alone, and the same in plain Python: a row for encoding and one for decoding."""
    spec, shape = RANGE_CODED
    torch.manual_seed(0)
    codec = fc.get_codec(spec).eval()
    assert isinstance(codec, EntropicCodec)
    x = smooth(shape, 0)
    count = int(np.prod(codec.latent_shape(*shape[1:])[1:]))
    data = codec.encode(x)[0].payload.tobytes()
    tables = codec.prior.tables()
    integers = prior_coder.decode(data, count, *tables)
    jobs = [
        Timed("codec", _both_ways(codec, x), torch.no_grad),
        Timed(
            "coder",
            {
                "encode": partial(prior_coder.encode, integers, *tables),
                "decode": partial(prior_coder.decode, data, count, *tables),
            },
            torch.no_grad,
        ),
        Timed(
            "python",
            {
                "encode": partial(prior_reference.encode, integers, *tables),
                "decode": partial(prior_reference.decode, data, count, *tables),
            },
            torch.no_grad,
        ),
    ]
    time_in_turn(jobs, effort)
    return [
        {"call": call, "latents": integers.size, **{f"{job.label}_us": job.median_us(call) for job in jobs}}
        for call in ("encode", "decode")
    ]


def measure_large(effort: Effort, most_threads: int) -> list[Row]:
    """Time one large sample, on one thread and on all; and one of 7.8 M elements through `bitpack` and `huffman` on one."""
    rows = []
    for bits in LARGE_BITS:
        rows += measure_sample(LARGE_SHAPE, LARGE_CODERS, bits, sorted({1, most_threads}), effort)
    return rows + measure_sample(PACKED_SHAPE, PACKED_CODERS, 8, [1], effort)


def measure_sample(shape: Shape, coders: Sequence[str], bits: int, counts: Sequence[int], effort: Effort) -> list[Row]:
    """Time one sample through codecs in turn: a row for each and for each number of threads, in microseconds and MB/s.

    MB/s are 10^6 elements a second, as everywhere in this benchmark.
    """
    x = smooth(shape, 0)
    cases = [(fc.get_codec(coder, bits=bits), count) for coder in coders for count in counts]
    jobs = [Timed(codec.codec_id, _both_ways(codec, x), partial(threads, count)) for codec, count in cases]
    time_in_turn(jobs, effort)
    rows = []
    for job, (_, count) in zip(jobs, cases, strict=True):
        speeds = {f"{call}_mbps": x.numel() / job.median_us(call) for call in job.calls}
        rows.append({"coder": job.label, "bits": bits, "elements": x.numel(), "threads": count, **_medians(job), **speeds})
    return rows


def measure_tokens() -> list[Row]:
    """Count the bits an element of features of tokens at 8 bits: payloads of the coders that should find what there is."""
    rows = []
    for feature, x in token_features().items():
        for axis in ("sample", "token"):
            packets = {coder: fc.get_codec(coder, bits=8, axis=axis).encode(x)[0] for coder in TOKEN_CODERS}
            sizes = {coder: packet.payload_bits / x.numel() for coder, packet in packets.items()}
            rows.append({"feature": feature, "axis": axis, **sizes})
    return rows


def token_features() -> dict[str, Tensor]:
    """Return features (1, tokens, dimensions) as transformers have them, made here: no network of tokens is embedded."""
    g = torch.Generator().manual_seed(0)
    tokens, size = TOKENS
    normal = torch.randn(1, tokens, size, generator=g)
    scales = torch.exp(torch.randn(size, generator=g))
    outliers = normal.clone()
    outliers[..., :2] = 20 + 5 * outliers[..., :2]  # the few large dimensions of a residual stream
    near = torch.nn.functional.avg_pool1d(normal.transpose(1, 2), 5, 1, 2).transpose(1, 2)
    return {
        "even": normal,
        "dimensions of many scales": normal * scales,
        "two large dimensions": outliers,
        "after GELU": torch.nn.functional.gelu(normal * scales),
        "neighbours alike": near * scales,
    }


def _both_ways(codec: fc.Codec, x: Tensor) -> dict[str, Callable[[], Any]]:
    return {"encode": partial(codec.encode, x), "decode": partial(codec.decode, codec.encode(x))}


def _medians(job: Timed) -> dict[str, float]:
    return {f"{call}_us": job.median_us(call) for call in job.calls}
