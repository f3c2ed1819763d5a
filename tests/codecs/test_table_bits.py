"""What of a payload is a table: read by the core, and bit by bit from the documents; the rest is symbols."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import featcodec as fc
from featcodec import _core
from featcodec.accounting import ledger
from featcodec.payloads.layout import num_maps
from tests import format_readers, reference, table_reference
from tests.features import smooth, taken

IDS = ("auto", "context", "huffman", "rans")
EXAMPLES = [(codec_id, example) for codec_id in IDS for example in fc.codec_class(codec_id).examples]
CASES = [(codec_id, example) for codec_id, example in EXAMPLES if "maps" not in example]
SHAPES = [(1, 300), (3, 1, 70), (8, 7, 5), (40, 13, 11), (64, 16, 16), (777,)]


def stream_of(codec: fc.Codec, packet: fc.Packet) -> tuple[bytes, int]:
    """The symbol stream of a payload, and the bits of its symbols."""
    payload = packet.payload.tobytes()
    if codec.step is not None:
        return payload[format_readers.escapes(payload)[1] :], payload[0] & 63
    groups = num_maps(packet.shape) if codec.axis == "map" else 1
    return payload[8 * groups :], codec.bits


@pytest.mark.parametrize(("codec_id", "example"), CASES, ids=str)
def test_the_core_counts_the_tables_that_the_documents_describe(codec_id, example):
    codec = fc.get_codec(codec_id, **example)
    if "tables" in example:
        codec.calibrate(smooth((40, 13, 11), 1))
    some = False
    inputs = [*taken(codec).values(), *(smooth(shape, seed) for shape in SHAPES for seed in (1, 2))]
    inputs += [torch.randn(1, *shape, generator=torch.Generator().manual_seed(3)) for shape in SHAPES]
    for x in inputs:
        packet = codec.encode(x)[0]
        book = ledger(packet, codec)
        stream, bits = stream_of(codec, packet)
        assert book.table_bits == (table_reference.table_bits(stream, bits) if stream else 0)
        assert 0 <= book.table_bits < packet.payload_bits
        assert book.side_bits + book.table_bits + book.payload_bits == packet.payload_bits
        some = some or book.table_bits > 0
    assert some == ("tables" not in example)


@pytest.mark.parametrize("codec_id", IDS)
@pytest.mark.parametrize("params", [{"bits": 12}, {"bits": 9, "axis": "map"}, {"step": 0.002}], ids=str)
def test_tables_of_wide_symbols_are_counted(codec_id, params):
    codec = fc.get_codec(codec_id, **params)
    packet = codec.encode((smooth((24, 24, 24), 1) * 4).round() / 4)[0]
    stream, bits = stream_of(codec, packet)
    assert bits > 8
    assert ledger(packet, codec).table_bits == table_reference.table_bits(stream, bits) > 0


@pytest.mark.parametrize("bits", range(1, 17))
def test_table_and_codes_of_huffman_make_up_the_payload(bits):
    """Of the code lengths read by the document and the symbols by the equation: nothing of the core but the payload."""
    x = torch.relu(torch.randn(1, 3, 15, 9, generator=torch.Generator().manual_seed(bits)) - 1.3)
    codec = fc.get_codec("huffman", bits=bits)
    packet = codec.encode(x)[0]
    stream, _ = stream_of(codec, packet)
    symbols = reference.minmax_quantize(x.numpy(), bits).reshape(-1)
    if bits <= 8:
        per_byte = {1: 8, 2: 4, 3: 2, 4: 2}.get(bits, 1)
        rows = np.pad(symbols, (0, -symbols.size % per_byte)).reshape(-1, per_byte)
        symbols = (rows << bits * np.arange(per_byte)[::-1]).sum(axis=1)
        assert symbols.size < 512  # one segment
        lengths, _ = table_reference.coded_lengths(stream[1:], bits)
    else:
        lengths, _ = table_reference.huffman_lengths(stream[1:])
    codes = sum(lengths[int(symbol)] for symbol in symbols)
    book = ledger(packet, codec)
    mode_byte = 8
    assert 0 <= book.payload_bits - mode_byte - codes < 8  # what fills up the last byte
    assert book.table_bits > 0


@pytest.mark.parametrize("codec_id", IDS)
def test_streams_without_a_table_have_none(codec_id):
    constant = torch.full((1, 8, 7, 5), 2.0)
    spread = torch.rand(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    for codec, x in (
        (fc.get_codec(codec_id), constant),
        (fc.get_codec(codec_id, axis="map"), constant),
        (fc.get_codec(codec_id, step=0.5), constant),
        (fc.get_codec(codec_id), spread),  # packed
        (fc.get_codec(codec_id, tables="static").calibrate(smooth((16, 8, 8), 1)), smooth((16, 8, 8), 2)),
    ):
        assert ledger(codec.encode(x)[0], codec).table_bits == 0


def test_tables_count_through_codecs_around_these():
    x = smooth((8, 20, 20), 3)
    inner = fc.get_codec("huffman:bits=4")
    wanted = sum(ledger(inner.encode(x[:, part])[0], inner).table_bits for part in (slice(0, 4), slice(4, 8)))
    ldpc = fc.get_codec("ldpc", inner="huffman:bits=4", groups=2)
    assert ledger(ldpc.encode(x)[0], ldpc).table_bits == wanted > 0
    bottleneck = fc.get_codec("bottlenet:maps=8,reduced=3,stride=1,inner=(huffman:bits=4)").eval()
    assert ledger(bottleneck.encode(x)[0], bottleneck).table_bits > 0


@settings(deadline=None)
@given(st.binary(max_size=60), st.integers(1, 16), st.booleans(), st.sampled_from([0.0, 0.25]))
def test_any_bytes_have_a_table_or_are_refused(data, bits, per_map, step):
    coder = _core.FeatureCoder("auto", bits, per_map, step)
    good = np.array([0, 1], "<f4").tobytes() * (3 if per_map else 1) if step == 0 else b""
    for given_bytes in (data, good + data):
        payload = np.frombuffer(given_bytes, np.uint8)
        try:
            found = sum(coder.parts(payload, 3, 4, 5))
        except fc.BitstreamError:
            continue
        assert 0 <= found <= 8 * payload.size


def test_tables_that_end_too_soon_are_refused():
    x = smooth((40, 13, 11), 2)
    for codec_id in IDS:
        codec = fc.get_codec(codec_id, bits=6)
        payload = codec.encode(x)[0].payload
        size = ledger(codec.encode(x)[0], codec).table_bits // 8
        assert size > 2
        with pytest.raises(fc.BitstreamError, match=r"ends before its last symbol|code table is not one"):
            codec.payload_parts(payload[: 9 + size - 2], (40, 13, 11))
        with pytest.raises(fc.BitstreamError, match="mode byte"):
            codec.payload_parts(np.concatenate([payload[:8], np.array([33, 0], np.uint8)]), (40, 13, 11))
