"""The seven laws of design, swept over every registered codec and each of its examples. Nobody edits this to add a codec."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import featcodec as fc
from featcodec.bitstream import Packet
from tests.features import features, taken, taken_batch
from tests.test_threads import in_threads

CASES = [(codec_id, example) for codec_id in fc.list_codecs() for example in fc.codec_class(codec_id).examples]
IDS = [f"{codec_id}-{'-'.join(map(str, example.values()))}".rstrip("-") for codec_id, example in CASES]
swept = pytest.mark.parametrize(("codec_id", "example"), CASES, ids=IDS)
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


# the law about threads sets its own number
pytestmark = pytest.mark.usefixtures("one_thread")


def build(codec_id: str, example: dict[str, Any]) -> fc.Codec:
    torch.manual_seed(0)  # learned codecs begin with random weights
    return fc.get_codec(codec_id, **example).eval()


def finite_in(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    largest = torch.finfo(dtype).max
    return x.clamp(-largest, largest).to(dtype)


@swept
def test_decodes_to_shape_dtype_and_finite_values(codec_id, example):
    codec = build(codec_id, example)
    for dtype in DTYPES:
        x = finite_in(taken_batch(codec), dtype)
        y = codec.decode([p.to_bytes() for p in codec.encode(x)])
        assert (y.shape, y.dtype) == (x.shape, dtype)
        assert torch.isfinite(y).all()


@swept
def test_law_1_batch_invariance(codec_id, example):
    codec = build(codec_id, example)
    x = taken_batch(codec)
    together = codec.encode(x)
    values = codec(x)
    for i in range(len(x)):
        alone = x[i : i + 1]
        assert codec.encode(alone)[0].to_bytes() == together[i].to_bytes()
        assert torch.equal(codec(alone)[0], values[i])


@swept
def test_law_1_channel_noise_does_not_depend_on_the_batch(codec_id, example):
    codec = build(codec_id, example)
    packets = codec.encode(taken_batch(codec))
    specs = ["awgn:snr_db=3", "rayleigh:snr_db=3", "packet_erasure:p=0.5,unit_bytes=8"]
    if packets[0].kind is fc.PayloadKind.BYTES:
        specs += ["bsc:p=0.3", "bec:p=0.3", "bsc:p=0.1+bec:p=0.1"]
    for channel in map(fc.get_channel, specs):
        for packet, again in zip(packets, reversed([channel(p) for p in reversed(packets)]), strict=True):
            assert np.array_equal(channel(packet).payload, again.payload)


@swept
def test_law_2_one_value_with_and_without_gradient(codec_id, example):
    codec = build(codec_id, example)
    for dtype in DTYPES:
        x = finite_in(taken_batch(codec), dtype)
        real = codec.decode(codec.encode(x))
        assert torch.equal(codec(x), real)
        if codec.learned:
            _check_learned_gradient(codec, x, real)
            continue
        for training in (False, True):
            leaf = x.clone().requires_grad_(True)
            y = codec.train(training)(leaf)
            assert torch.equal(y.detach(), real)
            weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
            y.backward(weight)
            assert torch.equal(leaf.grad, weight)
        codec.eval()


def _check_learned_gradient(codec: fc.Codec, x: torch.Tensor, real: torch.Tensor) -> None:
    """The value is the real one in eval mode; in both modes gradients reach the feature and every weight that shapes it."""
    leaf = x.clone().requires_grad_(True)
    assert torch.equal(codec(leaf).detach(), real)
    good = torch.cat([features(codec.example_shape)[name] for name in ("relu", "signed", "integers")]).to(x.dtype)
    for training in (False, True):
        leaf = good.clone().requires_grad_(True)
        trained = copy.deepcopy(codec).train(training)
        y = trained(leaf)
        assert (y.shape, y.dtype) == (good.shape, good.dtype)
        losses = trained.losses()
        assert bool(losses) <= training
        assert trained.losses() == {}
        total = (y.float() * torch.randn(y.shape, generator=torch.Generator().manual_seed(1))).sum()
        (total + sum(losses.values())).backward()
        for name, parameter in trained.named_parameters():
            assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name
            # of several bottlenecks behind one codec only that of the level trains
            assert parameter.grad is not None or not training or hasattr(codec, "level"), name
        assert not training or any(p.grad is not None and p.grad.any() for p in trained.parameters())
        assert torch.isfinite(leaf.grad).all()
        assert leaf.grad.any()


def _decode_or_refuse(codec: fc.Codec, data: bytes, shape: tuple[int, ...]) -> bool:
    """True where the bytes decode; then to a finite tensor of the header's shape."""
    try:
        y = codec.decode([data])
    except fc.BitstreamError:
        return False
    assert torch.isfinite(y).all()
    assert tuple(y.shape[1:]) == shape
    return True


@swept
def test_law_3_damaged_packets_raise(codec_id, example):
    codec = build(codec_id, example)
    rng = np.random.default_rng(3)
    packet = codec.encode(features(codec.example_shape)["relu"])[0]
    data = packet.to_bytes()
    for size in {*range(0, len(data), max(1, len(data) // 60)), *range(min(40, len(data))), len(data) - 1}:
        with pytest.raises(fc.BitstreamError):
            codec.decode([data[:size]])
    with pytest.raises(fc.BitstreamError):
        codec.decode([data + b"\0"])
    header = len(data) - packet.payload.nbytes
    for bit in range(8 * header):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(fc.BitstreamError):
            codec.decode([bytes(flipped)])
    summed = packet.with_checksum().to_bytes()
    for bit in rng.integers(8 * header, 8 * len(summed), 60):
        flipped = bytearray(summed)
        flipped[bit // 8] ^= 1 << int(bit) % 8
        with pytest.raises(fc.BitstreamError):
            codec.decode([bytes(flipped)])


@swept
def test_law_3_any_payload_decodes_or_raises(codec_id, example):
    codec = build(codec_id, example)
    rng = np.random.default_rng(4)
    for name, x in taken(codec).items():
        packet = codec.encode(x)[0]
        if packet.kind is fc.PayloadKind.SYMBOLS:
            _check_hostile_symbols(codec, packet, rng)
            continue
        payload = packet.payload
        hostile = [payload[: rng.integers(0, payload.size)] for _ in range(6)]
        hostile += [np.concatenate([payload, rng.integers(0, 256, 3, np.uint8)])]
        for _ in range(30):
            flipped = payload.copy()
            flipped[rng.integers(0, payload.size, rng.integers(1, 4))] ^= np.uint8(1) << rng.integers(0, 8, dtype=np.uint8)
            hostile.append(flipped)
        hostile += [rng.integers(0, 256, rng.integers(0, 200), np.uint8) for _ in range(8)]
        # a sound range before rubbish, so that the inner decoder is reached
        hostile += [np.concatenate([payload[:8], rng.integers(0, 256, rng.integers(0, 90), np.uint8)]) for _ in range(20)]
        for damaged in hostile:
            packet = Packet(packet.shape, packet.dtype, packet.kind, packet.config_crc, np.ascontiguousarray(damaged))
            _decode_or_refuse(codec, packet.to_bytes(), packet.shape)
        assert _decode_or_refuse(codec, codec.encode(x)[0].to_bytes(), packet.shape), name


def _check_hostile_symbols(codec: fc.Codec, packet: Packet, rng: np.random.Generator) -> None:
    """Symbols of any value decode, those that are not finite are refused, and so are more than were sent."""
    symbols = packet.payload
    finite = [rng.normal(0, scale, symbols.size) for scale in (1, 1e3, 1e-40)]
    finite += [rng.choice([-3.4e38, 3.4e38], symbols.size), np.zeros(symbols.size)]
    for values in finite:
        assert _decode_or_refuse(codec, _with_payload(packet, values.astype(np.float32)), packet.shape)
    for bad in (np.nan, np.inf, -np.inf):
        damaged = symbols.copy()
        damaged[rng.integers(0, symbols.size)] = bad
        with pytest.raises(fc.BitstreamError, match="finite"):
            codec.decode([_with_payload(packet, damaged)])
    for size in (0, symbols.size + 1, 4 * symbols.size):
        with pytest.raises(fc.BitstreamError, match="channel symbols"):
            codec.decode([_with_payload(packet, np.zeros(size, np.float32))])
    for size in range(1, symbols.size):
        _decode_or_refuse(codec, _with_payload(packet, symbols[:size].copy()), packet.shape)


def _with_payload(packet: Packet, payload: np.ndarray) -> bytes:
    return Packet(packet.shape, packet.dtype, packet.kind, packet.config_crc, payload).to_bytes()


@swept
def test_law_3_a_claim_of_another_shape_is_refused_or_cheap(codec_id, example):
    codec = build(codec_id, example)
    x = features(codec.example_shape)["relu"]
    packet = codec.encode(x)[0]
    for shape in ((1024, 1024, 4), (1, 2, 1, 2, 1, 2, 1, 2), ()):
        claim = Packet(shape, packet.dtype, packet.kind, packet.config_crc, packet.payload)
        _decode_or_refuse(codec, claim.to_bytes(), claim.shape)


_OTHER_PROCESS = """
import json, sys, numpy as np, torch
import featcodec as fc
torch.set_num_threads(1)
for line in open(sys.argv[1]):
    case = json.loads(line)
    codec = fc.get_codec(case["config"]).eval()
    if case["state"]:
        codec.load_state_dict(torch.load(case["state"], weights_only=True))
    packets = [bytes.fromhex(p) for p in case["packets"]]
    y = codec.decode(packets)
    x = torch.tensor(case["x"], dtype=torch.float64).float()
    same = [p.to_bytes().hex() for p in codec.encode(x)] == case["packets"]
    print(json.dumps({"bytes": same, "values": y.double().tolist()}))
"""


def test_laws_4_and_5_config_round_trip_and_same_bytes_in_another_process(tmp_path: Path):
    """One process for all codecs: start-up would cost more than the test."""
    lines, wanted = [], []
    for i, (codec_id, example) in enumerate(CASES):
        codec = build(codec_id, example)
        x = torch.cat([features(codec.example_shape)[name] for name in ("signed", "relu", "constant")])
        packets = codec.encode(x)
        state = ""
        if codec.state_dict():
            state = str(tmp_path / f"{i}.pt")
            torch.save(codec.state_dict(), state)
        hexes = [p.to_bytes().hex() for p in packets]
        lines.append(json.dumps({"config": codec.config(), "state": state, "packets": hexes, "x": x.double().tolist()}))
        wanted.append(codec.decode(packets).double().tolist())
    cases = tmp_path / "cases.jsonl"
    cases.write_text("\n".join(lines))
    command = [sys.executable, "-c", _OTHER_PROCESS, str(cases)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(CASES)
    for (codec_id, example), answer, values in zip(CASES, answers, wanted, strict=True):
        assert answer["bytes"], (codec_id, example)
        assert answer["values"] == values, (codec_id, example)


@swept
def test_law_4_config_is_json_that_rebuilds_the_codec(codec_id, example):
    codec = build(codec_id, example)
    config = json.loads(json.dumps(codec.config(), allow_nan=False))
    again = fc.get_codec(config)
    assert again.config() == codec.config()
    assert config.items() >= {"id": codec_id, **example}.items()
    if not codec.state_dict():
        assert again.config_crc() == codec.config_crc()


@swept
def test_law_5_same_bytes_with_other_threads_and_layouts(codec_id, example):
    codec = build(codec_id, example)
    x = taken_batch(codec)
    wanted = [p.to_bytes() for p in codec.encode(x)]
    torch.set_num_threads(2)
    assert [p.to_bytes() for p in codec.encode(x)] == wanted
    torch.set_num_threads(1)
    strided = torch.stack([x, x], dim=-1)[..., 0]
    assert not strided.is_contiguous()
    assert [p.to_bytes() for p in codec.encode(strided)] == wanted
    if x.ndim == 4:
        assert [p.to_bytes() for p in codec.encode(x.to(memory_format=torch.channels_last))] == wanted
    assert [p.to_bytes() for p in copy.deepcopy(codec).encode(x)] == wanted


@swept
def test_law_6_honest_size(codec_id, example):
    codec = build(codec_id, example)
    packets = codec.encode(taken_batch(codec))
    for packet in packets:
        data = packet.to_bytes()
        assert packet.num_bits == 8 * len(data)
        assert packet.payload_bits == 8 * packet.payload.nbytes
        assert len(data) - packet.payload.nbytes <= 24
        compact = packet.to_bytes(compact=True)
        assert len(compact) - packet.payload.nbytes <= 8
        again = Packet.from_bytes(compact, like=packets[0])
        assert torch.equal(codec.decode([again]), codec.decode([packet]))


@swept
def test_law_7_clean_exit(codec_id, example):
    torch.manual_seed(0)
    maps, *size = fc.codec_class(codec_id).example_shape
    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, maps, 1), nn.ReLU()), nn.Flatten(), nn.Linear(maps * size[0] * size[1], 2)
    ).eval()
    x = torch.randn(2, 3, *size)
    before = model(x)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    modules = [name for name, _ in model.named_modules()]
    cut = fc.insert(model, "0", build(codec_id, example))
    model(x)
    assert set(state) <= set(model.state_dict())
    cut.remove()
    cut.remove()
    assert torch.equal(model(x), before)
    assert list(model.state_dict()) == list(state)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert [name for name, _ in model.named_modules()] == modules
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@swept
def test_bad_features_are_refused_with_what_came_and_what_was_wanted(codec_id, example):
    codec = build(codec_id, example)
    good = features(codec.example_shape)["relu"]
    for bad in (float("nan"), float("inf"), -float("inf")):
        x = good.clone()
        x.view(-1)[3] = bad
        with pytest.raises(fc.FeatureError, match=r"finite.*index \(0, "):
            codec.encode(x)
    assert codec.encode(good[:0]) == []
    assert codec(good[:0]).shape == good[:0].shape
    with pytest.raises(fc.FeatureError, match="empty"):
        codec.encode(good[..., :0])
    with pytest.raises(fc.FeatureError, match="dimensions"):
        codec.encode(torch.ones((1,) * 9))
    with pytest.raises(fc.FeatureError, match="dimensions"):
        codec.encode(torch.tensor(1.0))
    for dtype in (torch.int32, torch.uint8, torch.float64, torch.complex64, torch.bool):
        with pytest.raises(TypeError, match=str(dtype)):
            codec.encode(torch.ones(good.shape).to(dtype))
    with pytest.raises(TypeError, match="ndarray"):
        codec.encode(good.numpy())


@swept
def test_packets_of_another_config_and_mixed_batches_are_refused(codec_id, example):
    codec = build(codec_id, example)
    x = features(codec.example_shape)["relu"]
    packet = codec.encode(x)[0]
    other = fc.get_codec("raw" if codec_id != "raw" else "half")
    with pytest.raises(fc.BitstreamError, match="config"):
        other.decode([packet])
    half = codec.encode(x.half())[0]
    with pytest.raises(fc.BitstreamError, match=r"one batch holds one shape and dtype"):
        codec.decode([packet, half])
    with pytest.raises(fc.FeatureError, match="at least one packet"):
        codec.decode([])
    with pytest.raises(TypeError, match="list"):
        codec.decode(packet)


@swept
def test_unknown_parameters_are_refused_by_name(codec_id, example):
    with pytest.raises(fc.ConfigError, match="no parameter wrong"):
        fc.get_codec(codec_id, **example, wrong=1)


@swept
def test_copies_pickles_and_inference_mode_change_nothing(codec_id, example):
    codec = build(codec_id, example)
    x = taken_batch(codec)
    wanted = [p.to_bytes() for p in codec.encode(x)]
    values = codec.decode(wanted)
    copies = {"copy": copy.deepcopy(codec), "pickle": pickle.loads(pickle.dumps(codec))}
    with torch.inference_mode():
        copies["copy in inference mode"] = copy.deepcopy(codec)
        copies["built in inference mode"] = type(codec)(**{k: v for k, v in codec.config().items() if k != "id"}).eval()
        copies["built in inference mode"].load_state_dict(codec.state_dict())
        for name, other in (("itself", codec), *copies.items()):
            assert [p.to_bytes() for p in other.encode(x)] == wanted, name
            assert torch.equal(other.decode(wanted), values), name
            assert torch.equal(other(x), values), name
    for name, other in copies.items():
        assert other.fingerprint() == codec.fingerprint(), name
        assert [p.to_bytes() for p in other.encode(x)] == wanted, name
        assert torch.equal(other.decode(wanted), values), name


@swept
def test_law_5_three_threads_at_once(codec_id, example):
    codec = build(codec_id, example)
    x = taken_batch(codec)
    wanted = [p.to_bytes() for p in codec.encode(x)]
    values, state = codec.decode(wanted), copy.deepcopy(codec.state_dict())

    def work(i: int) -> bool:
        part = slice(i % len(x), None)
        same = [p.to_bytes() for p in codec.encode(x[part])] == wanted[part]
        return same and torch.equal(codec.decode(wanted[part]), values[part]) and torch.equal(codec(x[part]), values[part])

    assert in_threads(3, work) == [True] * 3
    assert all(torch.equal(v, state[k]) for k, v in codec.state_dict().items())
    assert torch.get_num_threads() == 1
