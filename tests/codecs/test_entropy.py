"""huffman, rans, context, auto: instruction sets, static tables, the step quantiser, sizes, and streams of no encoder's."""

from __future__ import annotations

import copy
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch

import featcodec as fc
from featcodec import _core
from featcodec.bitstream import Packet
from featcodec.codec import Codec
from tests import reference
from tests.features import batch, packet_of, smooth, taken
from tests.kernels import KERNELS, choose

IDS = ("auto", "context", "huffman", "rans")
AVAILABLE = _core.isas()
EXAMPLES = [(codec_id, example) for codec_id in IDS for example in fc.codec_class(codec_id).examples]
CASES = [(codec_id, example) for codec_id, example in EXAMPLES if "maps" not in example]  # those of features of any shape
SHAPES = [
    (1, 1, 1),
    (1, 300),
    (33, 1),
    (197, 12),
    (5, 1, 1),
    (3, 1, 70),
    (70, 9, 1),
    (40, 13, 11),
    (130, 3, 3),
    (2, 2, 3, 4),
    (777,),
    (),
]


@pytest.mark.parametrize(("codec_id", "example"), CASES, ids=str)
def test_every_instruction_set_writes_the_same_bytes_and_reads_the_others(codec_id, example):
    codec = fc.get_codec(codec_id, **example)
    if "tables" in example:
        codec.calibrate(smooth((40, 13, 11), 1))
    for shape in SHAPES:
        x = torch.cat([smooth(shape, 2), torch.randn(1, *shape, generator=torch.Generator().manual_seed(3))])
        sent, values = {}, {}
        for kernels in KERNELS:
            choose(*kernels)
            sent[kernels] = [p.to_bytes() for p in codec.encode(x)]
            values[kernels] = codec.decode(sent[KERNELS[0]])
        assert all(packets == sent[KERNELS[0]] for packets in sent.values()), shape
        assert all(torch.equal(y, values[KERNELS[0]]) for y in values.values()), shape
        assert torch.equal(codec.reconstruct(x), values[KERNELS[0]]), shape


@pytest.mark.parametrize("codec_id", IDS)
@pytest.mark.parametrize("bits", range(1, 17))
def test_large_features_round_trip_on_every_instruction_set(codec_id, bits):
    x = smooth((48, 40, 40), bits)
    codec = fc.get_codec(codec_id, bits=bits)
    wanted = codec.reconstruct(x)
    streams = set()
    for kernels in KERNELS:
        choose(*kernels)
        packets = codec.encode(x)
        streams.add(packets[0].to_bytes())
        assert torch.equal(codec.decode(packets), wanted)
    assert len(streams) == 1


def test_an_unknown_instruction_set_is_refused():
    with pytest.raises(ValueError, match="known: scalar, avx2, avx512, avx512vbmi, neon"):
        _core.set_isa("mmx")
    for absent in {"avx2", "avx512", "avx512vbmi", "neon"} - set(AVAILABLE):
        with pytest.raises(ValueError, match=f"this machine cannot run {absent}; its best is {AVAILABLE[-1]}"):
            _core.set_isa(absent)
    assert AVAILABLE[0] == "scalar"
    assert fc.core_info()["isa"] in AVAILABLE
    assert fc.core_info()["best_isa"] == AVAILABLE[-1]


def entropy_bits(x: torch.Tensor, bits: int) -> float:
    q = reference.minmax_quantize(x.numpy(), bits)
    p = np.bincount(q.reshape(-1)) / q.size
    return float(-(p[p > 0] * np.log2(p[p > 0])).sum()) * q.size


def layer_features(model: torch.nn.Module, layer: str, x: torch.Tensor) -> torch.Tensor:
    seen = []
    handle = model.get_submodule(layer).register_forward_hook(lambda m, i, out: seen.append(out))
    with torch.no_grad():
        model(x)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("bits", [2, 4, 6, 8])
def test_sizes_on_real_features(bits, resnet20, images):
    """rans is near the order-0 entropy; context is below it, and with static tables further below; auto is the least of all."""
    x = layer_features(resnet20, "layer1", images[0][:24])
    trained, held_out = x[:16], x[16:]
    entropy = sum(entropy_bits(sample, bits) for sample in held_out)

    def spent(codec: fc.Codec) -> int:
        return sum(p.payload_bits for p in codec.encode(held_out))

    rans, context, auto = (spent(fc.get_codec(c, bits=bits)) for c in ("rans", "context", "auto"))
    static = spent(fc.get_codec("context", bits=bits, tables="static").calibrate(trained))
    assert entropy < rans < 1.06 * entropy + 8 * 100 * len(held_out)
    assert context < rans
    # a static codec has one neighbourhood for all samples, an adaptive one chooses for each
    assert static < 1.02 * context
    assert auto <= 1.01 * min(rans, context)


@pytest.mark.parametrize("codec_id", IDS)
@pytest.mark.parametrize("params", [{"bits": 2}, {"bits": 4}, {"bits": 8}, {"step": 0.3}], ids=str)
def test_static_tables_make_small_features_cheap_and_never_fail(codec_id, params):
    codec = fc.get_codec(codec_id, **params, tables="static")
    codec.calibrate(smooth((16, 8, 8), seed) for seed in range(8))
    small = smooth((4, 5, 5), 99)
    adaptive = fc.get_codec(codec_id, **params)
    assert codec.encode(small)[0].payload_bits <= adaptive.encode(small)[0].payload_bits
    for x in taken(codec).values():
        assert torch.equal(codec(x), codec.reconstruct(x))


@pytest.mark.parametrize("codec_id", IDS)
def test_static_tables_are_state_and_part_of_the_packet_s_name(codec_id):
    a = fc.get_codec(codec_id, bits=4, tables="static").calibrate(smooth((16, 8, 8), 1))
    b = fc.get_codec(a.config())
    packets = a.encode(smooth((16, 8, 8), 2))
    with pytest.raises(fc.BitstreamError, match="config"):
        b.decode(packets)
    b.load_state_dict(a.state_dict())
    assert torch.equal(b.decode(packets), a.decode(packets))
    twin = copy.deepcopy(a)
    assert twin.encode(smooth((16, 8, 8), 2))[0].to_bytes() == packets[0].to_bytes()
    before = a.config_crc()
    a.calibrate(smooth((16, 8, 8), 3))
    assert a.config_crc() != before
    assert all(not buffer.is_floating_point() for buffer in a.buffers())
    shapes = {name: tuple(buffer.shape) for name, buffer in a.named_buffers()}
    assert shapes == {
        name: tuple(buffer.shape) for name, buffer in fc.get_codec(codec_id, bits=2, tables="static").named_buffers()
    }


def test_what_calibrate_and_static_tables_refuse():
    adaptive = fc.get_codec("rans")
    assert not adaptive.needs_calibration
    assert adaptive.calibrate(torch.rand(1, 3, 4, 4)) is adaptive
    codec = fc.get_codec("context", tables="static")
    assert codec.needs_calibration
    before = {k: v.clone() for k, v in codec.state_dict().items()}
    for bad in (torch.full((1, 3), float("nan")), torch.ones(1, 2, 3, 3)):
        with pytest.raises(fc.FeatureError):
            codec.calibrate([torch.rand(1, 3, 4, 4), bad] if not torch.isfinite(bad).all() else bad)
    assert all(torch.equal(before[k], v) for k, v in codec.state_dict().items())
    with pytest.raises(fc.FeatureError):
        codec.calibrate([])
    for codec_id in ("huffman", "rans"):
        with pytest.raises(fc.ConfigError, match=r"static tables of .* take bits 1\.\.8, got 12"):
            fc.get_codec(codec_id, bits=12, tables="static")
    with pytest.raises(fc.ConfigError, match="tables must be one of"):
        fc.get_codec("rans:tables=fixed")
    codec.load_state_dict({**before, "frequencies": torch.full((512,), 5, dtype=torch.int32)})
    with pytest.raises(ValueError, match="not ones that training makes"):
        codec.encode(torch.rand(1, 3, 4, 4))


@pytest.mark.parametrize("codec_id", IDS)
def test_the_step_quantiser(codec_id):
    codec = fc.get_codec(codec_id, step=0.5)
    x = torch.tensor([[0.0, 0.25, 0.75, 0.74, -0.25, -0.76, 100.0]])
    assert codec(x).tolist() == [[0.0, 0.0, 1.0, 0.5, 0.0, -1.0, 100.0]]
    zeros = torch.zeros(1, 64, 14, 14)
    assert codec.encode(zeros)[0].payload_bits <= 8 * 8
    assert fc.get_codec(codec.config()).config() == {"id": codec_id, "step": 0.5}


def test_step_is_refused_beside_bits_and_out_of_range():
    with pytest.raises(fc.ConfigError, match="takes no bits and no axis"):
        fc.get_codec("rans:step=0.5,bits=4")
    for bad in (0, -1.0, 1e31, "a", True):
        with pytest.raises(fc.ConfigError, match="step must be a number"):
            fc.get_codec("rans", step=bad)


@pytest.mark.parametrize("codec_id", IDS)
def test_bad_values_are_named_by_their_index(codec_id):
    x = torch.rand(3, 4, 5, 5)
    x[2, 3, 1, 4] = float("inf")
    for params in ({}, {"step": 0.1}):
        with pytest.raises(fc.FeatureError, match=r"got inf at index \(2, 3, 1, 4\)"):
            fc.get_codec(codec_id, **params).encode(x)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_change_no_byte(threads):
    x = torch.cat([smooth((32, 28, 28), seed) for seed in range(12)])
    codec = fc.get_codec("auto:bits=4")
    before = fc.core_info()["threads"]
    try:
        fc.set_num_threads(1)
        wanted = [p.to_bytes() for p in codec.encode(x)]
        fc.set_num_threads(threads)
        assert fc.core_info()["threads"] == threads
        assert [p.to_bytes() for p in codec.encode(x)] == wanted
        assert torch.equal(codec.decode(wanted), codec.reconstruct(x))
    finally:
        fc.set_num_threads(before)
    with pytest.raises(ValueError, match="at least 1"):
        fc.set_num_threads(0)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("tables", ["adaptive", "static"])
def test_hostile_streams_decode_or_raise_on_every_instruction_set(kernels, tables):
    choose(*kernels)
    rng = np.random.default_rng(5)
    for codec_id in IDS:
        for params in ({"bits": 2}, {"bits": 4}, {"bits": 8}, {"step": 0.1}):
            codec = fc.get_codec(codec_id, **params, tables=tables)
            if tables == "static":
                codec.calibrate(smooth((24, 12, 12), 1))
            good = codec.encode(smooth((24, 12, 12), 2))[0]
            for _ in range(40):
                data = good.payload.copy()
                data[rng.integers(0, data.size, 3)] = rng.integers(0, 256, 3)
                for damaged in (data, data[: rng.integers(0, data.size)], np.append(data, 0).astype(np.uint8)):
                    try:
                        y = codec.decode([packet_of(codec, good.shape, damaged.tobytes())])
                    except fc.BitstreamError:
                        continue
                    assert torch.isfinite(y).all()
                # every mode byte before rubbish
                prefix = good.payload[: 8 if "bits" in params else 1].tobytes()
                rubbish = bytes([rng.integers(0, 100)]) + rng.bytes(int(rng.integers(0, 300)))
                try:
                    y = codec.decode([packet_of(codec, good.shape, prefix + rubbish)])
                except fc.BitstreamError:
                    continue
                assert torch.isfinite(y).all()


def test_a_stream_of_static_tables_is_refused_by_an_adaptive_codec():
    static = fc.get_codec("context:bits=4,tables=static").calibrate(smooth((24, 12, 12), 1))
    adaptive = fc.get_codec("context:bits=4")
    packet = static.encode(smooth((24, 12, 12), 2))[0]
    with pytest.raises(fc.BitstreamError, match="mode byte"):
        adaptive.decode([packet_of(adaptive, packet.shape, packet.payload.tobytes())])


def test_the_symbol_width_of_a_step_payload_is_checked():
    codec = fc.get_codec("rans:step=0.5")
    for width in (0, 17, 127, 128, 145, 255):
        with pytest.raises(fc.BitstreamError, match="range"):
            codec.decode([packet_of(codec, (4,), bytes([width, 0, 0, 0]))])


def test_old_single_stream_huffman_still_decodes():
    """What `huffman` wrote for 8-bit symbols before it had the multi-stream mode."""
    codec = fc.get_codec("huffman:bits=2")
    x = torch.tensor([[0.0, 1.0, 3.0, 0.0, 0.0]])
    stream = reference.huffman_stream([0, 1, 3, 0, 0], {0: 1, 1: 2, 3: 2})
    assert torch.equal(codec.decode([packet_of(codec, (5,), struct.pack("<ff", 0, 3) + stream)]), x)


def test_the_whole_conformance_batch_survives_every_instruction_set():
    x = batch((8, 7, 5))
    for kernels in KERNELS:
        choose(*kernels)
        for codec_id in IDS:
            codec = fc.get_codec(codec_id, bits=5)
            assert torch.equal(codec.decode(codec.encode(x)), codec.reconstruct(x))


def test_a_wish_for_an_instruction_set_is_followed_or_warned_of():
    def level(wish: str) -> subprocess.CompletedProcess[str]:
        code = "import featcodec as fc; print(fc.core_info()['isa'])"
        environment = {**os.environ, "FEATCODEC_ISA": wish}
        return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)

    assert level("scalar").stdout.strip() == "scalar"
    wrong = level("mmx")
    assert wrong.stdout.strip() == AVAILABLE[-1]
    assert 'must be scalar, avx2, avx512, avx512vbmi or neon, got "mmx"' in wrong.stderr


def test_flushing_denormals_changes_no_byte():
    x = torch.randn(1, 4, 6, 6, generator=torch.Generator().manual_seed(0)) * 1e-41
    wanted = {c: fc.get_codec(c, bits=6).encode(x)[0].to_bytes() for c in IDS}
    if not torch.set_flush_denormal(True):
        return  # this machine cannot flush: nothing could differ
    try:
        found = {c: fc.get_codec(c, bits=6).encode(x)[0].to_bytes() for c in IDS}
    finally:
        torch.set_flush_denormal(False)
    assert found == wanted


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("codec_id", IDS)
def test_half_features_give_the_bytes_of_the_same_values_in_float32(codec_id, dtype):
    for shape in ((16, 9, 7), (20, 6), (31,)):
        x = smooth(shape, 4).to(dtype)
        for params in ({"bits": 4}, {"bits": 11, "axis": "map"}, {"step": 0.1}):
            codec = fc.get_codec(codec_id, **params)
            half, full = codec.encode(x)[0], codec.encode(x.float())[0]
            assert np.array_equal(half.payload, full.payload)
            assert torch.equal(codec.decode([half]), codec.reconstruct(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_what_lies_otherwise_in_memory_gives_the_same_packets_once_a_shape_is_known(dtype):
    x = smooth((6, 5, 8), 1).repeat(2, 1, 1, 1).to(dtype)
    codec = fc.get_codec("huffman", bits=4)
    known = [packet.to_bytes() for packet in codec.encode(x)]
    turned = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    negative = torch._neg_view(-x)
    assert not turned.is_contiguous()
    assert negative.is_neg()
    for other in (x, turned, negative, x.clone().requires_grad_(), torch.nn.Parameter(x)):
        assert [packet.to_bytes() for packet in codec.encode(other)] == known


def test_encoded_packets_are_what_a_checked_packet_is():
    codec = fc.get_codec("huffman", bits=4)
    for _ in range(2):  # a shape seen for the first time, and one that is known
        packet = codec.encode(smooth((3, 5, 7), 2))[0]
        checked = Packet(packet.shape, packet.dtype, packet.kind, packet.config_crc, packet.payload)
        assert vars(packet) == vars(checked)
        assert copy.deepcopy(packet).to_bytes() == checked.to_bytes() == Packet.from_bytes(packet.to_bytes()).to_bytes()
        assert codec.decode([packet.with_checksum()]).equal(codec.decode([packet]))


def test_packets_of_a_known_shape_are_looked_at_all_the_same():
    codec = fc.get_codec("huffman", bits=4)
    x = smooth((3, 5, 7), 3)
    packet, value = codec.encode(x)[0], codec.decode(codec.encode(x))
    other = fc.get_codec("huffman", bits=4).encode(x[..., :6])[0]

    def changed(**fields):
        return Packet(**{**vars(packet), **fields})

    apart = np.zeros(2 * packet.payload.size, np.uint8)[::2]
    apart[:] = packet.payload
    for good in ((packet,), [packet.to_bytes()], [changed(payload=apart)], [packet.with_checksum()]):
        assert codec.decode(good).equal(value)
    for bad, message in (
        ([packet, other], "one batch holds one shape"),
        ([packet, changed(config_crc=packet.config_crc ^ 1)], "of config"),
        ([packet, changed(dtype="float16")], "one batch holds one shape"),
        ([packet, changed(checksum=1)], "checksum"),
        ([changed(kind=fc.PayloadKind.SYMBOLS, payload=packet.payload[:8].view("<f4"))], "decodes BYTES payloads"),
        ([packet, changed(payload=packet.payload[:5])], "ends before its last symbol"),
    ):
        with pytest.raises(fc.BitstreamError, match=message):
            codec.decode(bad)
    for bad in (packet, None, [packet, None], [None], 5):
        with pytest.raises((TypeError, fc.FeatureTypeError)):
            codec.decode(bad)
    with pytest.raises(fc.FeatureError, match="at least one packet"):
        codec.decode([])
    for bad in (None, x.numpy(), x.double(), [x]):
        with pytest.raises(fc.FeatureTypeError):
            codec.encode(bad)


@pytest.mark.parametrize("codec_id", IDS)
@pytest.mark.parametrize("shape", [(3, 7, 5), (2, 9, 4, 4), (2, 6)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_way_there_and_back_in_one_call_is_the_same_way(codec_id, shape, dtype):
    for example in fc.codec_class(codec_id).examples:
        codec = fc.get_codec(fc.fit_spec({"id": codec_id, **{k: v for k, v in example.items() if k != "maps"}}, shape[1:]))
        x = torch.randn(shape, generator=torch.Generator().manual_seed(3)).to(dtype)
        x[0, 0] *= 1000
        codec.calibrate(x)
        ours, plain = [], []
        for _ in range(2):  # the first of a shape makes the coder known
            ours.append(codec.transmit(x))
            plain.append(Codec._take_real_way(codec, x, None)[0])
        for one, other in zip(ours, plain, strict=True):
            assert torch.equal(one.output, other.output)
            assert [packet.to_bytes() for packet in one.packets] == [packet.to_bytes() for packet in other.packets]
            assert (one.crushed, one.payload_bits, one.frame_bits) == (other.crushed, other.payload_bits, other.frame_bits)
            sizes = [8 * len(packet.to_bytes()) for packet in one.packets]
            assert one.payload_bits + one.frame_bits == sum(sizes)


def test_what_is_not_finite_is_named_on_the_fast_way_too():
    codec, x = fc.get_codec("huffman"), torch.randn(2, 4, 3)
    codec.transmit(x)
    x[1, 2, 0] = float("inf")
    with pytest.raises(fc.FeatureError, match=r"got inf at index \(1, 2, 0\)"):
        codec.transmit(x)
