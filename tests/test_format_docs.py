"""What the pages of the format say, held by readers that know nothing else (tests/format_readers.py), on fresh packets."""

from __future__ import annotations

import inspect
import io
import json
import math
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

import featcodec as fc
from featcodec.bitstream import Packet
from featcodec.payloads.tiling import tile
from featcodec.registry import builtin_codecs
from featcodec.spec import format_spec
from tests import curve_reference, format_readers, reference
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
    names = [name for ids, names in BUFFERS if codec.codec_id in ids for name in names]
    if codec.codec_id not in ("huffman", "rans", "context", "auto"):
        return names
    tables = [name for name in names if name != "map_exponents"] if codec.tables == "static" else []
    return tables + (names[len(names) - 1 :] if codec.maps is not None else [])


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
    shapes = {"order0_table": (torch.uint8, 640), "frequencies": (torch.int32, 512)}
    shapes["table_sizes"] = (torch.int32, 4)
    assert (found["map_exponents"].dtype, found["map_exponents"].shape) == (torch.uint8, (8,))
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
STEPS = ("where there is a step", "where there is a step without maps")
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
    assert list(params) == [name for name, (_, _, left_out) in rows.items() if left_out in ("", *STEPS)]
    for name, (value, default, _) in rows.items():
        if default == "required":
            assert signature[name].default is inspect.Parameter.empty or codec_id == "jscc"
            wanted = needed[name]
        elif default.startswith("maps div "):
            wanted = max(1, 40 // int(default.split()[2].strip(",")))
        elif default == "`maps`":
            wanted = needed["maps"]
        elif default == "block_height * block_width":
            wanted = params["block_height"] * params["block_width"]
        elif default == "that of `huffman`":
            wanted = fc.get_codec("huffman").config()
        else:
            wanted = None if default == "none" else json.loads(default)
            assert signature[name].default == wanted
        if name in params:
            assert (params[name], type(params[name])) == (wanted, type(wanted)) or name == "levels", name
        beside = {"axis": "map", "step": 1.0} if (name, default) == ("maps", "none") else {}
        _check_values(codec_id, {**needed, **beside}, name, value)


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
    assert list(params) == [key for key, left_out in rows if left_out not in STEPS and key != "maps"]
    if codec_id != "ldpc":
        params = fc.get_codec(codec_id, axis="map", maps=3, **given_params).params()
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
    from featcodec.payloads.jpeg import _LUMINANCE, quantization_table

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
                curve = curve_reference.read_table(body, bits)
                symbols, used = curve_reference.decode_by(curve, data[9:], 70), curve.size
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
def test_steps_are_zigzags_or_as_they_are(codec_id):
    codec = fc.get_codec(codec_id, step=0.5)
    for x, flag in ((torch.tensor([[0.0, -0.5, 0.5, -1.0, 1.0]]), 0x80), (torch.tensor([[0.0, 0.5, 1.0, 1.5, 2.0]]), 0)):
        (packet,) = codec.encode(x)
        b = packet.payload[0] & 0x7F
        assert (packet.payload[0] & 0x80, packet.payload[1]) == (flag, 0)  # mode 0: bits as they are
        assert format_readers.words(packet.payload[2:].tobytes(), 5, b) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("shape", [(3, 1, 2), (2, 3)])
def test_steps_by_maps_are_read_as_the_page_says(shape):
    (line,) = re.findall(r"^    T = (.*)$", PAGES["bitstream"], re.MULTILINE)
    eighths = [int(number) for number in line.split(", ")]
    codec = fc.get_codec("rans", step=0.3, axis="map", maps=3)
    codec.map_exponents.copy_(torch.tensor([0, 13, 64]))
    x = torch.tensor([2.5, -0.6, 7.0, -3.0, 1e7, 90.0]).reshape(1, *shape)
    packet = codec.encode(x)[0]
    escaped, start = format_readers.escapes(packet.payload.tobytes())
    b = packet.payload[0] & 63
    assert packet.payload[start] == 0  # mode 0: bits as they are
    symbols = format_readers.words(packet.payload[start + 1 :].tobytes(), 6, b)
    assert packet.payload[0] & 0x80
    y = codec.decode([packet])[0]
    found = (y.T if len(shape) == 2 else y).reshape(-1).tolist()  # the maps of tokens come first
    for i, u in enumerate(symbols):
        e = int(codec.map_exponents[i // 2])
        step = float(np.float32(0.3)) * (eighths[e % 8] / 65536 * 2 ** (e // 8))
        q = -(u + 1) // 2 if u % 2 else u // 2
        assert found[i] == escaped.get(i, float(np.float32(q * step)))
    assert list(escaped.values()) == [1e7]


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
        (packet,) = codec.encode(torch.full((1, 2), value))
        # an EG list of 2 - 1 with k = 1, one of two zeros; the floats; mode 6 and the symbol 0
        wanted = bytes([0xC1 if value < 0 else 0x41, 1, 0xC0, 0, 0xC0]) + struct.pack("<2f", value, value) + b"\6\0"
        assert packet.payload.tobytes() == wanted


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
