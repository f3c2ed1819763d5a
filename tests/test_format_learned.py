"""Payloads of learned and protected codecs read as docs/learned.md and docs/fec.md say, by readers that know nothing else."""

from __future__ import annotations

import math
import re
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import featcodec as fc
from featcodec.bitstream import Packet, PayloadKind
from featcodec.fec.block_codes import BlockCode
from featcodec.fec.ldpc import LDPC
from featcodec.payloads import prior_coder
from tests import format_readers
from tests.test_format_docs import state_of, table

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = {path.stem: path.read_text() for path in DOCS.glob("*.md")}


# ---- learned.md ----


@settings(deadline=None)
@given(st.data())
def test_the_range_coder_and_escapes_read_as_the_page_says(data):
    maps = data.draw(st.integers(1, 3))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    weights = rng.integers(1, 900, (maps, 65)) * (rng.random((maps, 65)) < 0.4) + 1
    frequencies = weights * (65536 - 65) // weights.sum(1, keepdims=True) + 1
    frequencies[:, rng.integers(65)] += 65536 - frequencies.sum(1)
    first = rng.integers(-40, 20, maps)
    integer = st.one_of(st.integers(-70, 90), st.integers(-32767, 32767), st.sampled_from([-32767, 32767]))
    count = data.draw(st.integers(0, 30))
    rows = np.array([[data.draw(integer) for _ in range(count)] for _ in range(maps)], np.int64).reshape(maps, count)
    payload = prior_coder.encode(rows, frequencies, first)
    assert format_readers.range_decode(payload, frequencies.tolist(), first.tolist(), count) == rows.tolist()


def learned(codec_id: str, **params) -> tuple[fc.Codec, torch.Tensor]:
    """A codec with random weights, and features for it."""
    torch.manual_seed(3)
    codec = fc.get_codec(codec_id, **{"maps": 8, **params}).eval()
    return codec, torch.randn(2, 8, 7, 5)


def test_entropic_reads_as_the_page_says():
    codec, x = learned("entropic", reduced=3, stride=2, step=0.01)
    x *= 9
    state, z = state_of(codec), codec.latents(x).numpy()
    for packet, latents in zip(codec.encode(x), z, strict=True):
        tables = state["prior.frequencies"].tolist(), state["prior.first"].tolist()
        rows = format_readers.range_decode(packet.payload.tobytes(), *tables, 4 * 3)
        assert np.array_equal(np.reshape(rows, (3, 4, 3)), np.rint(latents.astype(np.float64) / 0.01))
        assert any(q < f or q > f + 63 for row, f in zip(rows, tables[1], strict=True) for q in row)  # escapes were met


@pytest.mark.parametrize("codec_id", ["bottlenet", "dsc"])
def test_nested_payloads_are_the_inner_codec_s_of_the_latents(codec_id):
    params = {"inner": "huffman:bits=4"} if codec_id == "bottlenet" else {"coder": "context", "step": 0.05}
    codec, x = learned(codec_id, reduced=3, stride=2, **params)
    inner = fc.get_codec("huffman:bits=4" if codec_id == "bottlenet" else "context:step=0.05,tables=static")
    inner.load_state_dict({name[6:]: value for name, value in codec.state_dict().items() if name.startswith("inner.")})
    z = codec.latents(x)
    assert tuple(z.shape[1:]) == (3, 4, 3)
    for packet, wanted in zip(codec.encode(x), inner.encode(z), strict=True):
        assert np.array_equal(packet.payload, wanted.payload)


def test_words_read_as_the_page_says():
    codec, x = learned("bottlenet++", reduced=3, stride=2, bits=5)
    for packet, z in zip(codec.encode(x), codec.latents(x).double(), strict=True):
        found = format_readers.words(packet.payload.tobytes(), z.numel(), 5)
        assert found == torch.round(z * 31).long().flatten().tolist()
        assert codec.decode_latents([packet.payload], z.shape)[0].ravel().tolist() == [np.float32(w / 31) for w in found]
    for codec_id, params, books in (("learned_scalar", {"hidden": 9, "bits": 3}, 1), ("vq", {"hidden": 12, "groups": 4}, 4)):
        codec, x = learned(codec_id, height=7, width=5, **params)
        codebook = state_of(codec)["codebook"]
        count, length = (9, 1) if books == 1 else (4, 3)
        assert codebook.shape == (books, 1 << codec.bits, length)
        for packet in codec.encode(x):
            found = format_readers.words(packet.payload.tobytes(), count, codec.bits)
            latents = [value for g, word in enumerate(found) for value in codebook[g % books][word]]
            assert codec.decode_latents([packet.payload], (count * length,))[0].tolist() == pytest.approx(latents)


def test_channel_symbols_read_as_the_page_says():
    codec, x = learned("bottlenet++", reduced=3, mode="analog")
    for packet, z in zip(codec.encode(x), codec.latents(x), strict=True):
        assert packet.kind is PayloadKind.SYMBOLS
        assert np.array_equal(packet.payload, z.numpy().ravel())
    for power in ("peak", "packet"):
        for symbols in (6, None):
            sizes = {"height": 7, "width": 5} if symbols else {}
            codec, x = learned(
                "jscc", reduced=2, stride=3, symbols=symbols, power=power, remove_mean=True, output="sigmoid", **sizes
            )
            codec.mean.copy_(torch.rand(codec.mean.shape))
            for packet, z in zip(codec.encode(x), codec.latents(x), strict=True):
                left = (z - codec.mean).numpy().ravel().astype(np.float64)
                assert packet.payload.size == (symbols or 2 * 3 * 2)
                scale = np.sqrt(np.mean(left**2)) if power == "packet" else 1
                assert packet.payload == pytest.approx(left / scale, rel=1e-5)
                back = codec.decode_latents([packet.payload], tuple(z.shape))[0]
                assert back == pytest.approx(packet.payload.reshape(z.shape) + codec.mean.numpy(), rel=1e-5)


@pytest.mark.parametrize("adaptive", [False, True])
def test_the_symbols_of_vfe_read_as_the_page_says(adaptive):
    codec, x = learned("vfe", height=7, width=5, symbols=9, adaptive=adaptive)
    codec.gains.order.copy_(torch.tensor([4, 0, 7, 2, -1, -1, -1, -1, -1]))
    (packet, *_) = codec.encode(x)
    assert np.array_equal(packet.payload, codec.latents(x)[0].numpy()[[4, 0, 7, 2]])
    wanted = np.zeros(9, np.float32)
    for count in range(6):
        sent = np.arange(1, count + 1, dtype=np.float32)
        if count != 4 and not (adaptive and 1 <= count <= 4):
            with pytest.raises(fc.BitstreamError, match="symbols was expected"):
                codec.decode_latents([sent], (9,))
            continue
        wanted[[4, 0, 7, 2][:count]] = sent
        assert np.array_equal(codec.decode_latents([sent], (9,))[0], wanted)
    for bad in (np.nan, np.inf):
        with pytest.raises(fc.BitstreamError, match="not finite"):
            codec.decode_latents([np.full(4, bad, np.float32)], (9,))
    assert codec.decode_latents([np.full(4, 3e38, np.float32)], (9,)).max() == np.float32(1e30)


@pytest.mark.parametrize("levels", [1, 2, 3, 5])
def test_the_byte_of_a_level_reads_as_the_page_says(levels):
    torch.manual_seed(3)
    specs = [f"bottlenet++:maps=8,reduced=2,bits={n + 1}" for n in range(levels)]
    codec, x = fc.get_codec("variable-rate", levels=specs).eval(), torch.randn(1, 8, 4, 4)
    for level in range(levels):
        codec.level = level
        payload = codec.encode(x)[0].payload.tobytes()
        wanted = codec.bottlenecks[level].encode(x)[0].payload.tobytes()
        first = bytes([level << 8 - math.ceil(math.log2(levels))]) if levels > 1 else b""
        assert payload == first + wanted


# ---- fec.md ----

RATES = [("nr", r) for r in ("1/2", "1/20", "3/10", "8/9", "99/100")] + [
    ("wifi", r) for r in ("1/2", "3/5", "3/4", "4/5", "9/10")
]


@pytest.mark.parametrize(("family", "rate"), RATES)
def test_a_message_is_sent_as_the_page_says(family, rate):
    code, policy = BlockCode(family, Fraction(rate)), format_readers.rate_policy(family, Fraction(rate))
    most = format_readers.most_bytes(family, policy)
    rng = np.random.default_rng(5)
    for size in (1, 2, 20, 77, most - 1, most, most + 1, 2 * most, 3 * most + 5):
        message = rng.integers(0, 256, size).astype(np.uint8)
        assert code.protect(message).tobytes() == format_readers.protect(message.tobytes(), family, policy)


@pytest.mark.parametrize("channel", ["bec:p=0.02", "awgn:snr_db=5", "bsc:p=0.001"])
@pytest.mark.parametrize("family", ["nr", "wifi"])
def test_points_are_read_as_the_page_says(family, channel):
    codec = fc.get_codec("ldpc", inner="raw", code=family, rate="auto", channel=channel)
    policy = format_readers.points_policy(codec.config()["rate"])
    for shape in ((1,), (30,), (50,), (29,), (700,)):
        x = torch.randn(1, *shape, generator=torch.Generator().manual_seed(1))
        assert codec.encode(x)[0].payload.tobytes() == format_readers.protect(x.numpy().tobytes(), family, policy)
    for k in range(40, 8449, 8):
        for blocks in (1, 2):
            assert codec._blocks._policy(k, blocks) == policy(k, blocks)


def test_m_of_wifi_is_the_page_s():
    rates = re.search(r"^\| R \| (.*) \|$", PAGES["fec"], re.MULTILINE).group(1).split(" | ")
    told = {Fraction(rate): int(m) for rate, m in zip(rates, table("fec", "| R |")[0][1:], strict=True)}
    for rate in {*told, *(Fraction(hundredths, 100) for hundredths in range(50, 100, 7))}:
        found = format_readers.most_bytes("wifi", format_readers.rate_policy("wifi", rate))
        assert found == BlockCode("wifi", rate).most_bytes == told.get(rate, found)
    assert BlockCode("nr", Fraction(1, 2)).most_bytes == 1052


def test_the_scrambler_begins_as_the_page_says():
    (begins,) = re.findall(r"It begins\s+([01 ]+)\.", PAGES["fec"])
    assert "".join(map(str, format_readers.scrambling(16))) == begins.replace(" ", "")


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 1052), st.integers(1, 400))
@example(68, 25)
@example(474, 149)  # k = 3824 at 67/100
@example(475, 400)
@example(476, 400)
def test_the_base_graph_the_lifting_and_what_is_sent_of_nr(size, hundredths):
    k = 8 * (size + 4) if size <= 1052 else 8448
    n = min(1 << 20, max(k, 8 * math.ceil(k * hundredths / 800)))
    code, z = LDPC("nr", k=k, n=n), format_readers.lifting(k, n)
    assert code.z == z
    info = np.random.default_rng(size).integers(0, 2, (1, k)).astype(np.uint8)
    sent, mother = code.encode(info)[0], code.mother_codeword(info)[0]
    parity = mother[math.ceil(k / z) * z :]  # fillers that fill whole columns are not held
    whole = LDPC("nr", k=k, n=min(1 << 20, 8 * n))
    if whole.z == z:  # the same base graph: all of the parity, for what is sent again
        parity = whole.mother_codeword(info)[0][math.ceil(k / z) * z :]
    buffer = np.concatenate([info[0, 2 * z :], parity])
    assert np.array_equal(sent, np.resize(buffer, n)) or (n > buffer.size and whole.z != z)


@pytest.mark.parametrize("shape", [(5, 4, 3), (6, 8), (7,), ()])
@pytest.mark.parametrize(("groups", "head"), [(1, 0), (1, 6), (3, 0), (3, 10), (16, 200)])
def test_the_payload_of_ldpc_is_as_the_page_says(shape, groups, head):
    x = torch.randn(1, *shape, generator=torch.Generator().manual_seed(2))
    for rate, head_rate in (("3/4", None), ("1/15", None), (0.8, "1/3")):
        inner = fc.get_codec("bitpack", bits=5)
        extra = {} if head_rate is None else {"head_rate": head_rate}
        codec = fc.get_codec("ldpc", inner="bitpack:bits=5", rate=rate, groups=groups, head_bytes=head, **extra)
        entries = shape[0] if shape else 1
        count = min(groups, entries)
        parts = [x] if not shape else [x[:, entries * g // count : entries * (g + 1) // count] for g in range(count)]
        payloads = [inner.encode(part.contiguous())[0].payload.tobytes() for part in parts]
        exact = Fraction(str(rate))
        policy = format_readers.rate_policy("nr", exact)
        wanted = b""
        if count > 1 or head > 0:
            fronts = b"".join(struct.pack("<I", len(p)) + p[:head].ljust(head, b"\0") for p in payloads)
            rate_of_head = max(exact / 2, Fraction(1, 20)) if head_rate is None else Fraction(head_rate)
            wanted = format_readers.protect(fronts, "nr", format_readers.rate_policy("nr", rate_of_head))
            payloads = [p[head:] for p in payloads]
        wanted += b"".join(format_readers.protect(p, "nr", policy) for p in payloads if p)
        assert codec.encode(x)[0].payload.tobytes() == wanted


def test_the_head_rate_of_points_is_half_of_their_lowest():
    rate = [[[40, 60], [400, 560]], [[40, 90], [400, 600]]]
    given_rate = fc.get_codec("ldpc", inner="raw", rate=rate, groups=2, head_rate="2/9")
    x = torch.randn(1, 4, 3)
    assert np.array_equal(
        fc.get_codec("ldpc", inner="raw", rate=rate, groups=2).encode(x)[0].payload, given_rate.encode(x)[0].payload
    )


def test_blocks_sent_again_are_as_the_page_says():
    codec = fc.get_codec("ldpc", inner="raw", rate="3/4", groups=3, head_bytes=4, retransmit=1)
    x = torch.randn(1, 5, 40, 30, generator=torch.Generator().manual_seed(4))
    (sent,) = codec.encode(x)
    bits = np.unpackbits(sent.payload)
    blocks = [BlockCode("nr", Fraction(3, 4)).blocks(p * 1200 * 4 - 4) for p in (1, 2, 2)]
    start = 8 * BlockCode("nr", Fraction(3, 8)).coded_bytes(3 * 8)
    lost = []  # blocks 0 and 2 of group 0, block 1 of group 2
    for group, failed in enumerate(((0, 2), (), (1,))):
        count, size = blocks[group].count, blocks[group].sent_bits
        lost += [start + i * count + b for i in range(size) for b in failed]
        start += count * size
    assert start == bits.size
    came: list[Packet] = []

    class Losing:
        seed = 0

        def __call__(self, packet: Packet, seed: int | None = None) -> Packet:
            came.append(packet)
            llr = (127 - 254 * np.unpackbits(packet.payload).astype(np.int16)).astype(np.int8)
            if len(came) == 1:
                llr[lost] = 0
            return Packet(packet.shape, packet.dtype, PayloadKind.LLR, packet.config_crc, llr)

    received, resent_bits = codec.carry([sent], Losing())
    again = came[1]
    assert (again.shape, again.dtype, again.kind, again.config_crc) == (sent.shape, sent.dtype, sent.kind, sent.config_crc)
    assert np.array_equal(again.payload, np.packbits(bits[sorted(lost)]))
    assert (len(came), resent_bits) == (2, 8 * again.payload.size)
    assert torch.equal(codec.decode(received), x)
