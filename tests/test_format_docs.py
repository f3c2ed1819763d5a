"""What the pages of the format say, held by readers that know nothing else (tests/format_readers.py), on fresh packets."""

from __future__ import annotations

import inspect
import io
import json
import math
import re
import struct
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

import featcodec as fc
from featcodec.bitstream import Packet, PayloadKind
from featcodec.fec.block_codes import BlockCode
from featcodec.fec.ldpc import LDPC
from featcodec.payloads import prior_coder
from featcodec.payloads.tiling import tile
from featcodec.registry import builtin_codecs
from featcodec.spec import format_spec
from tests import format_readers, reference
from tests.features import taken
from tests.goldens import configs, prepared
from tests.table_reference import coded_lengths

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = {path.stem: path.read_text() for path in DOCS.glob("*.md")}


def table(page: str, heading: str) -> list[list[str]]:
    """The rows of the first table whose header line begins with `heading`, as cells."""
    lines = PAGES[page].split(heading, 1)[1].splitlines()[2:]
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def state_of(codec: fc.Codec) -> dict[str, np.ndarray]:
    return {name: value.detach().numpy() for name, value in codec.state_dict().items()}


# ---- configs.md ----


@given(st.floats(allow_nan=False, allow_infinity=False))
@example(1e-06)
@example(2.5e-07)
@example(1e16)
@example(123456789012345680.0)
@example(0.0001)
@example(5e-324)
@example(-0.0)
@example(1e6)
def test_floats_are_written_as_the_page_says(value):
    assert format_readers.float_text(value) == json.dumps(value)


def test_the_examples_of_the_page_are_what_codecs_have():
    first, second = re.findall(r"^    (\{.*\})$", PAGES["configs"], re.MULTILINE)
    for text, codec in ((first, "huffman:bits=4"), (second, "ldpc:inner=(rans:step=1e-6)")):
        assert text == format_readers.canonical(fc.get_codec(codec).config())
    (spec,) = re.findall(r"^    (bottlenet:.*)$", PAGES["configs"], re.MULTILINE)
    codec = fc.get_codec(spec)
    assert format_spec(codec.config()) == format_readers.spec_text(codec.config()) == spec


BUFFERS = [
    (set(re.findall(r"`([^`]+)`", ids)), re.findall(r"`([\w.]+)`", names))
    for ids, names in table("configs", "| codec | buffers |")
]


def counted(codec: fc.Codec) -> list[str]:
    """The names of the buffers that count, as the page lists them."""
    if codec.codec_id == "variable-rate":
        levels = enumerate(codec.bottlenecks)
        return [f"bottlenecks.{i}.{name}" for i, level in levels for name in counted(level)]
    if codec.codec_id in ("bottlenet", "ldpc", "dsc"):
        return ["inner." + name for name in counted(codec.inner)]
    names = next((names for ids, names in BUFFERS if codec.codec_id in ids), [])
    return names if getattr(codec, "tables", "static") == "static" else []


@pytest.mark.parametrize("config", configs(), ids=lambda c: "-".join(str(v) for v in c.values()))
def test_a_packet_is_named_by_config_and_counted_buffers(config):
    codec = prepared(config)
    state = state_of(codec)
    if codec.learned:  # the counters of batch normalisation do not count
        for name, value in codec.state_dict().items():
            if name.endswith("num_batches_tracked"):
                value.fill_(7)
    fields, _ = format_readers.header(codec.encode(next(iter(taken(codec).values())))[0].to_bytes())
    assert fields["config"] == codec.config_crc() == format_readers.config_crc(codec.config(), state, counted(codec))


def test_the_shapes_and_types_of_the_buffers_that_count():
    found = {}
    for config in configs():
        codec = prepared(config)
        found |= {name: codec.state_dict()[name] for name in counted(codec)}
    shapes = {"order0_table": (torch.uint8, 640), "table_of": (torch.uint8, 64), "frequencies": (torch.int32, 512)}
    shapes["table_sizes"] = (torch.int32, 4)
    for name, (dtype, size) in shapes.items():
        assert (found[name].dtype, found[name].shape) == (dtype, (size,))
        assert f"`{name}` ({size} {str(dtype)[6:]})" in PAGES["configs"]
    assert (found["prior.frequencies"].dtype, found["prior.frequencies"].shape[1]) == (torch.int32, 65)
    assert (found["prior.first"].dtype, found["gains.order"].dtype) == (torch.int32, torch.int64)


def parameters() -> dict[str, list[list[str]]]:
    """Of each codec the page's rows, without its name: key, value, default, left out."""
    found: dict[str, list[list[str]]] = {}
    ids: list[str] = []
    for cells in table("configs", "| codec | key | value"):
        ids = re.findall(r"`([^`]+)`", cells[0]) or ids
        for codec_id in ids:
            found.setdefault(codec_id, []).extend([cells[1:]] if cells[1] else [])
    return found


PARAMETERS = parameters()
REQUIRED = {"maps": 40, "height": 7, "width": 5, "levels": "bottlenet++:maps=40;dsc:maps=40"}


def test_the_table_of_parameters_has_every_codec():
    assert set(PARAMETERS) == set(builtin_codecs())


@pytest.mark.parametrize("codec_id", sorted(PARAMETERS))
def test_the_table_of_parameters_is_what_codecs_have(codec_id):
    rows = {key.strip("`"): (value, default, left_out) for key, value, default, left_out in PARAMETERS[codec_id]}
    signature = inspect.signature(fc.codec_class(codec_id)).parameters
    needed = {name: REQUIRED[name] for name, (_, default, _) in rows.items() if default == "required"}
    codec = fc.get_codec(codec_id, **needed)
    params = codec.params()
    assert list(params) == [name for name, (_, _, left_out) in rows.items() if left_out in ("", "where there is a step")]
    for name, (value, default, _) in rows.items():
        if default == "required":
            assert signature[name].default is inspect.Parameter.empty or codec_id == "jscc"
            wanted = needed[name]
        elif default.startswith("maps div "):
            wanted = max(1, 40 // int(default.split()[2].strip(",")))
        elif default == "that of `huffman`":
            wanted = fc.get_codec("huffman").config()
        else:
            wanted = None if default == "none" else json.loads(default)
            assert signature[name].default == wanted
        if name in params:
            assert (params[name], type(params[name])) == (wanted, type(wanted)) or name == "levels", name
        _check_values(codec_id, needed, name, value)


def _check_values(codec_id: str, needed: dict, name: str, value: str) -> None:
    """What the page allows is taken and kept with its type; what lies beyond is refused."""
    if low_high := re.match(r"integer (\d+)\.\.(\d+)", value):
        low, high = map(int, low_high.groups())
        for beyond in (low - 1, high + 1):
            with pytest.raises(fc.ConfigError):
                fc.get_codec(codec_id, **{**needed, name: beyond})
        small = {**needed, name: low}
        assert type(fc.get_codec(codec_id, **small).params().get(name, 1)) is int
    elif value == "boolean":
        assert fc.get_codec(codec_id, **{**needed, name: True}).params()[name] is True
    elif value == "float":
        kept = fc.get_codec(codec_id, **{**needed, name: 1}).params()[name]
        assert (kept, type(kept)) == (1.0, float)
    elif value.startswith('"'):
        for choice in re.findall(r'"([^"]+)"', value):
            assert fc.get_codec(codec_id, **{**needed, name: choice}).params().get(name, choice) == choice
        with pytest.raises(fc.ConfigError):
            fc.get_codec(codec_id, **{**needed, name: "another"})


@pytest.mark.parametrize("codec_id", ["huffman", "context", "ldpc"])
def test_what_the_table_says_is_left_out_is(codec_id):
    given_params = {"step": 1.0, "tables": "static"} if codec_id != "ldpc" else {}
    defaults = {"groups": 2, "head_bytes": 1, "head_rate": "1/4", "on_loss": "conceal", "retransmit": 1, "max_iterations": 5}
    given_params |= defaults if codec_id == "ldpc" else {}
    params = fc.get_codec(codec_id, **given_params).params()
    rows = [(key.strip("`"), left_out) for key, _, _, left_out in PARAMETERS[codec_id]]
    assert list(params) == [key for key, left_out in rows if left_out != "where there is a step"]


# ---- bitstream.md: one packet in hex ----


def test_the_packet_in_hex_is_what_is_sent_and_reads_as_the_page_says():
    part = PAGES["bitstream"].split("## One packet, byte by byte")[1]
    sample = np.array([line.split() for line in re.findall(r"^    ((?:\d ?)+)$", part, re.MULTILINE)], np.float32)[None]
    (sent,) = fc.get_codec("huffman", bits=6).encode(torch.from_numpy(sample)[None])
    data = sent.to_bytes()
    tables = "".join(found.split("\n\n")[0] for found in part.split("| bytes | field | |\n")[1:])
    spans = re.findall(r"^\| `([0-9a-f ]+)` \|", tables, re.MULTILINE) + re.findall(r"\d bytes `([0-9a-f ]+)`", part)
    assert bytes.fromhex("".join(spans)) == data
    assert f"{len(data)} bytes" in part
    bits = "".join(
        cell.replace(" ", "") for cell in re.findall(r"^\| `([01 ]+)` \|", part.split("| bits |", 1)[1], re.MULTILINE)
    )
    table_and_segment = data[-13:]
    assert bits.endswith("".join(format(byte, "08b") for byte in table_and_segment))
    levels = re.findall(r"L\[(\d+)\] =(?: 6 - 5 =)? (\d+) \|", part)
    lengths = {int(symbol): int(level) for symbol, level in levels if level != "12"}
    assert lengths == coded_lengths(table_and_segment, 6)[0]
    codes = {code: int(symbol) for symbol, code in re.findall(r"(\d+) is `([01]+)`", part)}
    assert codes == format_readers.canonical_codes(lengths)
    wanted = np.round(sample * 9) * np.float32(7 / 63)
    assert np.allclose(format_readers.read_packet(data, 6), wanted)
    assert np.array_equal(format_readers.read_packet(data, 6), fc.get_codec("huffman", bits=6).decode([data])[0].numpy())


# ---- bitstream.md: mosaics ----

shapes = st.one_of(
    st.just(()),
    st.tuples(st.integers(1, 60)),
    st.tuples(st.integers(1, 40), st.integers(1, 12)),
    st.lists(st.integers(1, 6), min_size=3, max_size=5).map(tuple),
)


@given(shapes)
@example((17,))  # one more than a square: a vector's first element stays where it is
@example((17, 3))
@example((2, 3))
@example((10, 4, 3))
def test_a_mosaic_reads_as_the_page_says(shape):
    symbols = np.arange(math.prod(shape), dtype=np.int64).reshape(shape) + 1
    picture = tile(symbols)
    assert np.array_equal(format_readers.from_mosaic(picture, shape), symbols)
    assert np.count_nonzero(picture) == symbols.size  # all else is zero


@pytest.mark.parametrize("shape", [(17,), (10, 5), (17, 6), (7, 4, 3), (3, 2, 4, 5)])
def test_png_reads_as_the_page_says(shape):
    x = torch.randn(1, *shape, generator=torch.Generator().manual_seed(1))
    payload = format_readers.header(fc.get_codec("png").encode(x)[0].to_bytes())[1]
    low, high = struct.unpack_from("<2f", payload)
    maps, width, height, columns = format_readers.mosaic_size(shape)
    size = columns * width, math.ceil(maps / columns) * height

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    ends = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 0, 0, 0, 0)), chunk(b"IEND", b"")
    file = b"\x89PNG\r\n\x1a\n" + ends[0] + chunk(b"IDAT", payload[8:]) + ends[1]
    symbols = format_readers.from_mosaic(np.asarray(Image.open(io.BytesIO(file))), shape)
    assert np.array_equal(symbols, reference.minmax_quantize(x[0].numpy(), 8))
    assert (low, high) == (float(x.min()), float(x.max()))


def test_jpeg_s_table_is_scaled_as_the_page_says():
    from featcodec.codecs.jpeg import _LUMINANCE, quantization_table

    for quality in range(1, 101):
        s = 5000 // quality if quality < 50 else 200 - 2 * quality
        assert quantization_table(quality) == [min(max((t * s + 50) // 100, 1), 255) for row in _LUMINANCE for t in row]


# ---- bitstream.md: static tables, steps, refusals, ans ----


@pytest.mark.parametrize("bits", range(1, 9))
def test_static_huffman_and_rans_read_by_the_tables_in_the_state(bits):
    x = torch.randn(3, 2, 5, 7, generator=torch.Generator().manual_seed(bits)).relu()
    for codec_id in ("huffman", "rans", "auto"):
        codec = fc.get_codec(codec_id, bits=bits, tables="static").calibrate(x)
        state = state_of(codec)
        size = int(state["table_sizes"][2])
        body = state["order0_table"][:size].tobytes()
        assert not state["order0_table"][size:].any()
        seen = 0
        for sample, packet in zip(x, codec.encode(x), strict=True):
            data = packet.payload.tobytes()
            if data[8] not in (4, 5):
                continue
            seen += 1
            if codec_id == "rans":
                frequencies, used = format_readers.rans_frequencies(body, bits)
                symbols = format_readers.rans_words(data[9:], frequencies, 70)
                assert data[8] == 5
            else:
                lengths, used = coded_lengths(body, bits)
                symbols = format_readers.huffman_segment(data[9:], lengths, 70, bits)
                assert data[8] == 4
            assert used == size
            assert np.array_equal(np.reshape(symbols, (2, 5, 7)), reference.minmax_quantize(sample.numpy(), bits))
        assert seen or codec_id == "auto" or bits == 1


@pytest.mark.parametrize("codec_id", ["huffman", "rans", "context", "auto"])
def test_which_static_tables_there_are_for_which_n(codec_id):
    rows = {i: row for row in table("bitstream", "| codec | n |") for i in re.findall(r"`(\w+)`", row[0])}
    _, n, order0, context = rows[codec_id]
    for bits in range(1, 17):
        if bits > int(n.split("..")[1]):
            with pytest.raises(fc.ConfigError, match="static tables"):
                fc.get_codec(codec_id, bits=bits, tables="static")
            continue
        sizes = fc.get_codec(codec_id, bits=bits, tables="static").table_sizes.tolist()
        assert (sizes[2] > 0) == (order0 == "yes" or (order0 == "n <= 8" and bits <= 8))
        assert (sizes[0] > 0) == (sizes[1] > 0) == (context == "yes")
    state = state_of(fc.get_codec(codec_id, step=0.5, tables="static"))
    assert (state["table_sizes"][2] > 0) == (order0 != "no")  # n = 8
    if context == "yes":
        tables = (state["frequencies"] & 0xFFF).reshape(32, 16)
        used, tokens = int(state["table_sizes"][0]), int(state["table_sizes"][1]) & 255
        assert (tables[:used].sum(1) == 4096).all()
        assert not tables[:used, tokens:].any()
        assert ((state["frequencies"][:256] >> 16) < used).all()


@pytest.mark.parametrize("codec_id", ["huffman", "rans", "context", "auto"])
def test_steps_are_negative_first_or_as_they_are(codec_id):
    codec = fc.get_codec(codec_id, step=0.5)
    for x, flag in ((torch.tensor([[0.0, -0.5, 0.5, -1.0, 1.0]]), 0x80), (torch.tensor([[0.0, 0.5, 1.0, 1.5, 2.0]]), 0)):
        (packet,) = codec.encode(x)
        b = packet.payload[0] & 0x7F
        assert (packet.payload[0] & 0x80, packet.payload[1]) == (flag, 0)  # mode 0: bits as they are
        assert format_readers.words(packet.payload[2:].tobytes(), 5, b) == [0, 1, 2, 3, 4]


def _with(packet: Packet, payload: bytes) -> Packet:
    return Packet(packet.shape, packet.dtype, packet.kind, packet.config_crc, np.frombuffer(payload, np.uint8))


def test_step_symbols_and_widths_beyond_16_bits_are_refused():
    codec = fc.get_codec("huffman", step=0.5)
    (packet,) = codec.encode(torch.ones(1, 2))
    words = struct.pack(">2H", 32767, 0)
    assert codec.decode([_with(packet, bytes([16, 0]) + words)])[0, 0] == 32767 * 0.5
    assert codec.decode([_with(packet, bytes([0x90, 0]) + struct.pack(">2H", 65535, 0))])[0, 0] == -32768 * 0.5
    for bad in (bytes([16, 0]) + struct.pack(">2H", 32768, 0), bytes([0, 0, 0]), bytes([17, 0]) + words, bytes([0x80, 0, 0])):
        with pytest.raises(fc.BitstreamError):
            codec.decode([_with(packet, bad)])
    for value in (32768 * 0.5, -32769 * 0.5):
        with pytest.raises(fc.FeatureError, match="step"):
            codec.encode(torch.full((1, 2), value))


@pytest.mark.parametrize("codec", ["raw", "half:format=float16", "half:format=bfloat16"])
def test_values_that_are_not_finite_are_refused(codec):
    codec = fc.get_codec(codec)
    (packet,) = codec.encode(torch.ones(1, 2))
    word = {"float16": "<e", "bfloat16": None}.get(getattr(codec, "format", ""), "<f")
    for value in (float("inf"), float("-inf"), float("nan")):
        bad = struct.pack(word, value) if word else struct.pack("<f", value)[2:]
        with pytest.raises(fc.BitstreamError, match="not finite"):
            codec.decode([_with(packet, bad + packet.payload.tobytes()[len(bad) :])])
    if codec.codec_id == "half":
        large = codec.decode(codec.encode(torch.tensor([[3.4e38, -3.4e38]])))
        assert large.tolist() == [[m := torch.finfo(getattr(torch, codec.format)).max, -m]]


def test_the_page_names_the_versions_of_constriction():
    constraints = ROOT / "constraints.txt"
    if not constraints.is_file():
        pytest.skip("not next to an installed wheel")
    pinned = re.search(r"^constriction==(\S+)$", constraints.read_text(), re.MULTILINE).group(1)
    least = re.search(r'"constriction>=([\d.]+)"', (ROOT / "pyproject.toml").read_text()).group(1)
    text = " ".join(PAGES["bitstream"].split())
    assert f"as its version {pinned} writes them, by which the goldens are made; the codec runs with {least} and above" in text


@pytest.mark.parametrize("bits", [1, 3, 8, 16])
def test_ans_reads_as_the_page_says(bits):
    generator = torch.Generator().manual_seed(bits)
    normal = torch.randn(1, 3000, generator=generator)
    for x in (normal, normal.relu(), normal[:, :2], (normal > 2.9).float(), normal[:, :40].round()):
        payload = fc.get_codec("ans", bits=bits).encode(x)[0].payload.tobytes()
        found = format_readers.ans_symbols(payload[8:], x.numel())
        assert found == reference.minmax_quantize(x[0].numpy(), bits).tolist()


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
