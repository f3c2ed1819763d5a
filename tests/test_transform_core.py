"""The core's transform coder against docs/transform.md in NumPy: the same bytes and floats on every level, and refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import featcodec as fc
from featcodec import _core
from tests.kernels import KERNELS, choose
from tests.prior_reference import RangeEncoder
from tests.transform_reference import Reference, Scale, fresh

State = dict[str, NDArray[Any]]

# maps, block_height, block_width, group, shared, joint, height, width
SHAPES = [
    (1, 1, 1, 1, 1, 0, 1, 1),
    (3, 2, 1, 3, None, 2, 5, 3),
    (6, 1, 3, 2, None, 5, 2, 10),
    (8, 7, 5, 8, None, 40, 7, 5),
    (17, 4, 4, 17, 5, 0, 6, 9),
    (32, 8, 8, 32, None, 70, 8, 8),
    (20, 3, 2, 5, 1, 33, 7, 5),
    (40, 1, 1, 20, None, 9, 11, 1),
    (2, 32, 16, 1, 37, 3, 33, 20),
    (33, 1, 7, 11, None, 1, 3, 14),
    (70, 2, 2, 70, None, 0, 34, 2),
]


def matrices(rng: np.random.Generator, count: int, rows: int, columns: int) -> NDArray[np.int16]:
    """Nearly orthonormal rows, times 2^12."""
    made = (
        np.linalg.qr(rng.normal(size=(count, rows // columns, columns, columns)))[0] if columns else np.zeros((count, 0, 0, 0))
    )
    return np.rint(made * 4096 / max(1, columns / 256) ** 0.5).astype(np.int16).reshape(count, rows, columns)


def random_state(seed: int, maps: int, block_height: int, block_width: int, group: int, zones: int | None, joint: int) -> State:
    """A state such as calibration makes."""
    rng = np.random.default_rng(seed)
    state = fresh(maps, block_height, block_width, group, zones=zones, joint=joint)
    count, places = len(state["analysis"]), maps * block_height * block_width
    state["scale"][:] = rng.integers(5, 10)
    state["mean"][:] = rng.integers(-2000, 2000, state["mean"].shape)
    state["zone"][:] = rng.permuted(state["zone"])
    state["analysis"] = matrices(rng, count, maps, group)
    state["analysis_shift"][:] = rng.integers(5, 9, state["analysis_shift"].shape)
    state["synthesis"] = np.ascontiguousarray(
        state["analysis"].reshape(count, -1, group, group).swapaxes(2, 3).reshape(state["analysis"].shape)
    )
    state["synthesis_shift"][:] = rng.integers(10, 13, state["synthesis_shift"].shape)
    state["chosen"] = np.sort(rng.choice(places, joint, replace=False)).astype(np.int32)
    if joint:
        state["joint_analysis"] = matrices(rng, 1, joint, joint)[0]
        state["joint_synthesis"] = np.ascontiguousarray(state["joint_analysis"].T)
        state["joint_analysis_shift"][:] = rng.integers(5, 7, joint)
        state["joint_synthesis_shift"][:] = 12
    state["offset"][:] = rng.integers(0, 97, places) * (rng.random(places) < 0.2)
    state["scale_class"][:] = np.clip(rng.normal(100, 30, places), 0, 255)
    state["tables"][:] = tables(rng)
    state["drift"][:] = rng.integers(-(2 ** rng.integers(1, 16)), 2 ** rng.integers(1, 16), (33, 16))
    return state


def tables(rng: np.random.Generator) -> NDArray[np.int32]:
    """From peaked to flat, and some entries of 1."""
    weights = np.exp(-np.arange(16) / np.geomspace(0.05, 20, 33)[:, None]) * rng.random((33, 16)) ** 3
    made = 1 + np.floor(weights / weights.sum(1, keepdims=True) * (65536 - 16)).astype(np.int32)
    made[:, 0] += 65536 - made.sum(1)
    return made


def features(seed: int, state: State, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Around the means, some escapes among them, of every kind."""
    rng = np.random.default_rng(seed)
    x = (rng.laplace(0, 700, shape) * 2.0 ** -float(state["scale"][0])).astype(np.float32)
    x[rng.random(shape) < 0.01] *= 1000
    flat = x.reshape(-1)
    flat[: min(3, flat.size)] = [3e38, -1e-40, 0.0][: min(3, flat.size)]
    return x


def both(seed: int, case: tuple[Any, ...]) -> tuple[_core.TransformCoder, Reference, State]:
    state = random_state(seed, *case[:6])
    return _core.TransformCoder(*case[:4], state), Reference(*case[:4], state), state


@pytest.fixture(params=KERNELS, ids=str)
def level(request):
    choose(*request.param)  # conftest.py puts it back


@pytest.mark.parametrize("quality", [0, 37, 71, 100])
@pytest.mark.parametrize("case", SHAPES)
def test_every_level_codes_as_the_page_says(level, case, quality):
    coder, reference, state = both(quality + len(SHAPES) * case[0], case)
    x = features(quality, state, (3, case[0], *case[6:]))
    payloads = coder.encode(x, quality)
    assert [bytes(p) for p in payloads] == [reference.encode(one, quality) for one in x]
    back = coder.decode(payloads, *case[6:])
    assert np.array_equal(back, np.stack([reference.decode(bytes(p), *case[6:]) for p in payloads]))


@pytest.mark.parametrize("case", SHAPES)
def test_components_and_what_integers_give_are_the_page_s(level, case):
    coder, reference, state = both(case[0], case)
    x = features(5, state, (2, case[0], *case[6:]))
    wanted = np.stack([reference.transform(reference.blocks(reference.differences(one)[0])) for one in x])
    found = coder.analyse(x)
    assert found.dtype == np.int32
    assert np.array_equal(found, wanted)
    for quality in (0, 64, 100):
        q = np.stack([reference.quantise(one, quality) for one in wanted])
        made = coder.synthesise(np.ascontiguousarray(q, np.int32), quality, *case[6:])
        assert np.array_equal(made, np.stack([reference.reconstruct(one, quality, *case[6:]) for one in q]))


def extreme_state(case: tuple[Any, ...], seed: int) -> State:
    """Rows whose absolutes sum to all that is allowed, and the least shifts."""
    rng = np.random.default_rng(seed)
    state = random_state(seed, *case[:6])
    for name in ("analysis", "synthesis", "joint_analysis", "joint_synthesis"):
        matrix = state[name]
        columns = max(1, matrix.shape[-1])
        size = min(32767, 61440 // columns)
        state[name] = (rng.choice([-size, size], matrix.shape)).astype(np.int16)
        state[f"{name}_shift"][:] = rng.choice([0, 1, 16, 24], state[f"{name}_shift"].shape)
    state["offset"][:] = 96
    state["scale_class"][:] = rng.choice([0, 190, 255], state["scale_class"].shape)
    return state


@pytest.mark.parametrize("case", [SHAPES[i] for i in (0, 3, 5, 7)])
def test_sums_at_their_bounds_neither_wrap_nor_differ(level, case):
    state = extreme_state(case, 3)
    coder, reference = _core.TransformCoder(*case[:4], state), Reference(*case[:4], state)
    shape = (case[0], *case[6:])
    rng = np.random.default_rng(1)
    for values in (np.full(shape, 8191), np.full(shape, -8191), rng.choice([-8191, 8191], shape)):
        x = ((reference.means(*case[6:]) + values) * 2.0 ** -float(state["scale"][0])).astype(np.float32)
        for quality in (0, 100):
            payload = coder.encode(x[None], quality)[0]
            assert bytes(payload) == reference.encode(x, quality)
            assert np.array_equal(coder.decode([payload], *case[6:])[0], reference.decode(bytes(payload), *case[6:]))
    q = rng.integers(-(1 << 31), 1 << 31, (1, *coder.analyse(x[None]).shape[1:])).astype(np.int32)
    q[:, :, reference.classes(50) < -16] = 0
    assert np.array_equal(coder.synthesise(q, 50, *case[6:])[0], reference.reconstruct(q[0].astype(np.int64), 50, *case[6:]))


def outcome(call, *args):
    try:
        return np.asarray(call(*args)).tobytes()
    except fc.BitstreamError:
        return "refused"


HOSTILE = [both(i, SHAPES[i]) for i in (1, 3, 6)]


@settings(deadline=None)
@given(st.data())
def test_any_bytes_give_what_the_page_says_or_are_refused(data):
    i = data.draw(st.integers(0, 2))
    coder, reference, state = HOSTILE[i]
    case = SHAPES[(1, 3, 6)[i]]
    quality = data.draw(st.integers(0, 100))
    x = features(data.draw(st.integers(0, 50)), state, (1, case[0], *case[6:]))
    damaged = (
        bytearray(coder.encode(x, quality)[0]) if data.draw(st.booleans()) else bytearray(data.draw(st.binary(max_size=40)))
    )
    for _ in range(data.draw(st.integers(0, 3)) if damaged else 0):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    damaged = damaged[: data.draw(st.integers(0, len(damaged)))] + data.draw(st.binary(max_size=3))
    received = np.frombuffer(bytes(damaged), np.uint8)
    assert outcome(coder.decode, [received], *case[6:]) == outcome(reference.decode, bytes(damaged), *case[6:])


def small() -> tuple[_core.TransformCoder, State]:
    state = fresh(4, 2, 2, 2, zones=None, joint=3)
    return _core.TransformCoder(4, 2, 2, 2, state), state


def test_a_feature_that_is_its_mean_costs_two_bytes_at_most():
    state = random_state(1, 32, 8, 8, 32, None, 0)
    state["scale_class"][:] = 80
    state["tables"][:, :] = 1
    state["tables"][:, 0] = 65536 - 15
    x = (state["mean"].astype(np.float32) * 2.0 ** -float(state["scale"][0]))[None]
    coder = _core.TransformCoder(32, 8, 8, 32, state)
    for quality in (0, 60, 100):
        (payload,) = coder.encode(np.ascontiguousarray(x), quality)
        assert len(payload) <= 2
        assert np.array_equal(coder.decode([payload], 8, 8), x)


def test_escapes_come_back_bit_for_bit():
    coder, _ = small()
    x = np.zeros((1, 4, 3, 5), np.float32)
    x.reshape(-1)[[0, 7, 59]] = [1e30, -123.456, 64.1]
    (payload,) = coder.encode(x, 30)
    assert payload[0] == 30 + 128
    back = coder.decode([payload], 3, 5)
    assert np.array_equal(back.reshape(-1)[[0, 7, 59]], x.reshape(-1)[[0, 7, 59]])


def test_drift_moves_the_scale_as_the_page_says():
    state = fresh(2, 1, 1, 2, zones=1, joint=0)
    state["tables"][:] = tables(np.random.default_rng(0))
    state["drift"][:, 0], state["drift"][:, 1:] = -300, 32767
    scale = Scale(state["tables"], state["drift"])
    assert scale.at(-16) == (0, 0)
    scale.move(0, 3)  # to the limit, 64 classes
    assert (scale.s, scale.at(-16), scale.at(0)) == (16384, (32, 4), (32, 6))
    scale.move(16, 0)
    assert scale.s == 16384 - 128 - 300
    for _ in range(400):
        scale.move(16, 0)
    assert -300 * 128 < scale.s == -16384
    assert scale.at(60) == (0 + 12, 0)
    coder, q = _core.TransformCoder(2, 1, 1, 2, state), np.array([[9, 0], [-2, 1], [0, 0]])
    encoder = RangeEncoder()
    encoder.encode(Reference(2, 1, 1, 2, state)._intervals(q, 40))
    payload = np.frombuffer(bytes([40]) + encoder.finish(), np.uint8)
    wanted = coder.synthesise(q[None].astype(np.int32), 40, 3, 1)
    assert np.array_equal(coder.decode([payload], 3, 1), wanted)


def test_a_tally_counts_what_the_encoder_codes():
    state = random_state(3, 8, 4, 4, 4, None, 8)
    reference = Reference(8, 4, 4, 4, state)
    coder = _core.TransformCoder(8, 4, 4, 4, state)
    t = coder.analyse(features(3, state, (3, 8, 8, 8)))
    for quality in (0, 47, 100):
        wanted = np.zeros((33, 16), np.int64)
        for sample in t.astype(np.int64):
            scale = Scale(state["tables"], state["drift"])
            for block in reference.quantise(sample, quality):
                for m, r in zip(np.abs(block).tolist(), reference.classes(quality).tolist(), strict=True):
                    if r >= -16:
                        number, b = scale.at(r)
                        wanted[number, min(m >> b, 15)] += 1
                        scale.move(number, min(m >> b, 15))
        assert np.array_equal(coder.tally(t, quality), wanted)
        assert np.array_equal(coder.tally(t[:0], quality), 0 * wanted)
    with pytest.raises(ValueError, match=r"\(B, blocks, 128\)"):
        coder.tally(t[:, :, :100].copy(), 47)
    with pytest.raises(ValueError, match="quality"):
        coder.tally(t, 101)


def with_escapes(*parts: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join([bytes([128 + 30]), *parts]), np.uint8)


ONE = np.float32(1).tobytes()


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (np.zeros(0, np.uint8), "ends before"),
        (np.array([101], np.uint8), "names no coding mode"),
        (np.array([127], np.uint8), "names no coding mode"),
        (with_escapes(), "ends before"),
        (with_escapes(b"\x00"), "range"),  # no escape
        (with_escapes(b"\x3d"), "range"),  # 61 of 60 values
        (with_escapes(b"\x81\x00", b"\x00", ONE), "range"),  # a varint longer than it need be
        (with_escapes(b"\xff\xff\xff\xff\x01", b"\x00", ONE), "range"),
        (with_escapes(b"\x01", b"\x3c", ONE), "range"),  # position 60
        (with_escapes(b"\x02", b"\x3b", ONE, b"\x00", ONE), "range"),
        (with_escapes(b"\x01", b"\x00", ONE[:3]), "ends before"),
        (with_escapes(b"\x01", b"\x00", np.float32(np.nan).tobytes()), "range"),
        (with_escapes(b"\x01", b"\x00", np.float32(-np.inf).tobytes()), "range"),
        (np.array([30, 0], np.uint8), "left over"),
        (np.array([30] + 400 * [7], np.uint8), "left over"),
    ],
)
def test_every_damage_is_named(payload, why):
    coder, _ = small()
    with pytest.raises(fc.BitstreamError, match=why):
        coder.decode([payload], 3, 5)


def one_place(quality: int, scale_class: int) -> tuple[_core.TransformCoder, Reference]:
    """Of grids of one value, whose table makes escapes likely."""
    state = fresh(1, 1, 1, 1, zones=1, joint=0)
    state["scale_class"][:] = scale_class
    state["tables"][:] = [1] * 15 + [65536 - 15]
    return _core.TransformCoder(1, 1, 1, 1, state), Reference(1, 1, 1, 1, state)


@pytest.mark.parametrize(("quality", "scale_class"), [(0, 140), (100, 56), (100, 255), (63, 101)])
def test_an_integer_has_a_limit(quality, scale_class):
    coder, reference = one_place(quality, scale_class)
    most = (2**31 - 1) // int(reference.steps(quality)[0])
    for q, ends_well in ((most, True), (-most, True), (most + 1, False), (-most - 1, False)):
        encoder = RangeEncoder()
        encoder.encode(reference._intervals(np.array([[q]]), quality))
        payload = np.frombuffer(bytes([quality]) + encoder.finish(), np.uint8)
        assert outcome(coder.decode, [payload], 1, 1) == outcome(reference.decode, bytes(payload), 1, 1)
        assert (outcome(coder.decode, [payload], 1, 1) != "refused") is ends_well


def test_an_escape_s_length_ends():
    coder, _ = one_place(50, 100)
    with pytest.raises(fc.BitstreamError, match="not ones that an encoder writes"):
        coder.decode([np.array([50, 0, 15], np.uint8)], 1, 1)


@pytest.mark.parametrize(
    ("name", "change", "why"),
    [
        ("scale", lambda a: a + 92, "scale must be"),
        ("mean", lambda a: a + np.int16(24577), "mean must be"),
        ("zone", lambda a: a - np.int16(1), "zone must be"),
        ("zone", lambda a: a + np.int16(1), "zone must be"),
        ("analysis", lambda a: a * 0 + np.int16(30721), "analysis must have"),
        ("analysis_shift", lambda a: a * 0 + np.uint8(25), "analysis must have"),
        ("synthesis", lambda a: a * 0 - np.int16(30721), "synthesis must have"),
        ("synthesis_shift", lambda a: a * 0 + np.uint8(25), "synthesis must have"),
        ("chosen", lambda a: a[::-1].copy(), "chosen must be"),
        ("chosen", lambda a: a + 14, "chosen must be"),
        ("chosen", lambda a: a - 1, "chosen must be"),
        ("joint_analysis", lambda a: a * 0 + np.int16(20481), "joint matrices"),
        ("joint_synthesis_shift", lambda a: a * 0 + np.uint8(25), "joint matrices"),
        ("offset", lambda a: a + np.uint8(97), "offset must be"),
        ("tables", lambda a: a + 1, "tables must"),
        ("tables", lambda a: a + np.array([4096, -4096] * 8, np.int32), "tables must"),
    ],
)
def test_a_state_out_of_range_is_refused(name, change, why):
    _, state = small()
    with pytest.raises(fc.ConfigError, match=why):
        _core.TransformCoder(4, 2, 2, 2, state | {name: change(state[name])})


@pytest.mark.parametrize("name", list(fresh(1, 1, 1, 1, zones=1, joint=1)))
def test_an_array_of_another_shape_or_type_is_refused(name):
    _, state = small()
    with pytest.raises(ValueError, match=f"{name} has another shape"):
        _core.TransformCoder(4, 2, 2, 2, state | {name: state[name][None]})
    with pytest.raises(TypeError, match=name):
        _core.TransformCoder(4, 2, 2, 2, state | {name: state[name].astype(np.int64)})
    with pytest.raises(ValueError, match=f"no {name}"):
        _core.TransformCoder(4, 2, 2, 2, {key: value for key, value in state.items() if key != name})


@pytest.mark.parametrize(
    ("maps", "height", "width", "group"), [(4, 0, 1, 2), (4, 33, 1, 2), (4, 1, 33, 2), (4, 2, 2, 3), (4, 2, 2, 0), (0, 1, 1, 1)]
)
def test_a_shape_that_is_none_is_refused(maps, height, width, group):
    state = fresh(maps, height, width, max(1, group), zones=1, joint=0)
    if group == 0:
        state["analysis"] = state["synthesis"] = np.zeros((1, maps, 0), np.int16)
    with pytest.raises(ValueError, match=r"sides of 1 to 32|multiple of group|1 to 2\^26"):
        _core.TransformCoder(maps, height, width, group, state)


def test_what_no_call_takes():
    coder, _ = small()
    x = np.zeros((2, 4, 3, 5), np.float32)
    for quality in (101, 1000):
        with pytest.raises(ValueError, match=r"0\.\.100"):
            coder.encode(x, quality)
    for bad in (np.nan, np.inf, -np.inf):
        broken = x.copy()
        broken[1, 2, 1, 3] = bad
        with pytest.raises(ValueError, match="not finite"):
            coder.encode(broken, 50)
        with pytest.raises(ValueError, match="not finite"):
            coder.analyse(broken)
    for shape in ((4, 3, 5), (1, 3, 3, 5)):
        with pytest.raises(ValueError, match=r"\(B, 4, h, w\)"):
            coder.encode(np.zeros(shape, np.float32), 50)
    with pytest.raises(TypeError):
        coder.encode(x.astype(np.float64), 50)
    for height, width in ((0, 5), (3, 0), (1 << 13, 1 << 12), ((1 << 62), 4)):
        with pytest.raises(ValueError, match="a grid has"):
            coder.decode([], height, width)
    with pytest.raises(TypeError, match="uint8"):
        coder.decode([b"\x00"], 3, 5)
    with pytest.raises(ValueError, match="1-D"):
        coder.decode([np.zeros((1, 1), np.uint8)], 3, 5)
    with pytest.raises(ValueError, match=r"\(B, 6, 16\)"):
        coder.synthesise(np.zeros((1, 6, 15), np.int32), 50, 3, 5)
    assert coder.encode(x[:0], 50) == []
    assert coder.decode([], 3, 5).shape == (0, 4, 3, 5)


def test_threads_and_batches_change_no_byte():
    case = SHAPES[5]
    coder, _, state = both(9, case)
    x = features(2, state, (40, case[0], *case[6:]))
    alone = [bytes(coder.encode(one[None], 70)[0]) for one in x]
    for threads in (1, 3):
        _core.set_num_threads(threads)
        payloads = coder.encode(x, 70)
        assert [bytes(p) for p in payloads] == alone
        together = coder.decode(payloads, *case[6:])
        assert all(np.array_equal(coder.decode([p], *case[6:])[0], y) for p, y in zip(payloads, together, strict=True))
    _core.set_num_threads(1)
