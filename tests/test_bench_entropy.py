"""The entropy benchmark: coders give back what they take, limits are right where known, a quick run writes its files."""

from __future__ import annotations

import json
import math
import sys

import numpy as np
import pytest

from benchmarks import coders, entropy_calls, entropy_goals, entropy_measure, feature_sets, limits, memory, ours, peers, timing
from benchmarks.suites import entropy
from featcodec import _core

PEERS = {coder.name: coder for coder in peers.all_peers()}
NEEDED = ("memcpy", "zlib 6", "png", "webp lossless", "constriction ans", "constriction range", "constriction huffman")


def zero_heavy(shape, bits, seed=0):
    rng = np.random.default_rng(seed)
    return np.minimum(rng.geometric(0.4, shape) - 1, 2**bits - 1).astype(np.uint8)


@pytest.mark.parametrize("name", NEEDED)
def test_a_peer_gives_back_what_it_takes(name):
    """Those that the tests' own packages bring; the benchmark checks every other one before it times it."""
    coder = PEERS[name]
    assert coder.reason() is None
    for bits, shape in ((1, (3, 7, 5)), (3, (1, 16, 16)), (4, (5, 8, 8)), (8, (2, 9, 4))):
        symbols = zero_heavy(shape, bits)
        assert np.array_equal(coder.decode(coder.encode(symbols, bits), shape, bits), symbols)
        batch = [symbols, zero_heavy(shape, bits, seed=1)]
        for decoded, wanted in zip(coder.decode_batch(coder.encode_batch(batch, bits), shape, bits), batch, strict=True):
            assert np.array_equal(decoded, wanted)


def test_histograms_of_few_and_of_many_symbols_agree():
    flat = zero_heavy((1 << 18,), 8)
    assert np.array_equal(peers._histogram(flat), np.bincount(flat))
    assert np.array_equal(peers._histogram(flat[:-1]), np.bincount(flat[:-1]))


def test_a_coder_that_loses_symbols_or_does_not_load_says_so():
    class Lossy(coders.Memcpy):
        def decode(self, data, shape, bits):
            return np.zeros(shape, np.uint8)

    class Absent(coders.Coder):
        def load(self):
            raise ModuleNotFoundError("No module named 'absent'")

    assert "does not come back" in Lossy().reason()
    assert Absent().reason() == "ModuleNotFoundError: No module named 'absent'"
    assert "no family nothing" in ours.CoreCoder(ours.Mode("nothing")).reason()


def test_the_instruction_set_is_pinned_inside_the_block_only():
    before = _core.isa()
    with ours.pinned("scalar"):
        assert _core.isa() == "scalar"
    assert _core.isa() == before


def test_every_mode_of_the_core_works_on_what_runs_here():
    levels = _core.isas()
    assert set(levels) <= set(ours.ISAS)
    for coder in ours.core_coders():
        if coder.mode.isa is None or coder.mode.isa in levels:
            assert coder.reason() is None, coder.name


def test_limits_of_known_distributions():
    even = np.arange(4096, dtype=np.uint8).reshape(1, 1, 64, 64) % 16
    constant = np.zeros((1, 4, 32, 32), np.uint8)
    found = limits.limits(even, even, 4)
    assert found["order-0 entropy"] == pytest.approx(4)
    assert 4 < found["adaptive order-0"] < 4.02
    assert found["adaptive left+up"] < 1  # the left neighbour foretells all
    assert limits.limits(constant, constant, 8)["adaptive left+up"] < 0.05


def test_adaptive_bits_are_those_of_coding_one_by_one():
    counts, bits = np.zeros(4), 0.0
    for symbol in (0, 2, 2, 1, 2):
        bits -= math.log2((counts[symbol] + 0.5) / (counts.sum() + 2))
        counts[symbol] += 1
    assert limits.adaptive_bits(counts.astype(np.int64)) == pytest.approx(bits)


@pytest.mark.parametrize("bits", range(1, 11))
@pytest.mark.parametrize("classes", ["octaves", "even"])
def test_at_most_sixteen_tokens_in_order(bits, classes):
    tokens = limits._tokens(bits, classes).astype(int)
    assert tokens[0] == 0
    assert set(np.diff(tokens)) <= {0, 1}
    assert tokens[-1] < limits.TOKENS
    if bits <= 4:
        assert tokens[-1] == 2**bits - 1


@pytest.mark.parametrize("size", [256, 4096, 20_000, 200_000])
def test_pieces_have_the_size_and_differ(size):
    images = np.random.default_rng(0).integers(0, 256, (2, 20, 28, 28))
    assert size <= feature_sets.most_elements(images)
    first, second = feature_sets.pieces(images, size, 2)
    assert 0.75 * size <= first.size <= size
    assert first.shape == second.shape
    assert not np.array_equal(first, second)


def test_mirrored_pieces_hold_no_map_twice():
    images = np.random.default_rng(0).integers(0, 256, (1, 4, 8, 8))
    (piece,) = feature_sets.pieces(images, feature_sets.most_elements(images))
    assert len({one.tobytes() for one in piece}) == len(piece) == 32


def test_quantised_sets_from_a_folder(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "signed.npz", feature=rng.normal(size=(4, 3, 8, 8)).astype(np.float16))
    (source,) = feature_sets.file_sets(tmp_path)
    assert (source.name, source.relu, len(source.features), len(source.calibration)) == ("signed", False, 2, 2)
    four = feature_sets.quantize(source, "n4")
    assert (four.symbols.min(), four.symbols.max(), four.zero) == (0, 15, 0)
    step = feature_sets.quantize(source, "step coarse")
    integers = np.rint(source.features / step.params["step"])
    assert np.array_equal(step.symbols.astype(int) - step.zero, integers)
    np.savez(tmp_path / "wrong.npz", other=np.zeros(3))
    with pytest.raises(ValueError, match="lacks the array feature"):
        feature_sets.file_sets(tmp_path)


@pytest.mark.parametrize("quantizer", ["n4", "n8", "step fine"])
def test_codecs_of_floats_code_the_symbols_that_coders_of_symbols_do(quantizer):
    features = np.random.default_rng(0).normal(size=(2, 4, 8, 8)).astype(np.float32)
    symbol_set = feature_sets.quantize(feature_sets.FeatureSet("a", False, features, features), quantizer)
    case = entropy_measure.Case.of(symbol_set, 256)
    values = entropy_measure.as_features(case.tensors[0], symbol_set)
    if "step" in symbol_set.params:
        again = np.rint(values / symbol_set.params["step"]) + symbol_set.zero
    else:
        again = feature_sets._minmax(values[None], symbol_set.bits)[0]
    assert np.array_equal(again, case.tensors[0])


def test_timing_takes_turns_and_gives_a_slow_job_fewer_rounds():
    order = []
    fast = timing.Timed("fast", {"encode": lambda: order.append("fast")}, lambda: ours.pinned(None))
    slow = timing.Timed("slow", {"encode": lambda: sum(range(200_000))}, lambda: ours.pinned(None))
    timing.time_in_turn([fast, slow], timing.Effort(rounds=5, patience_s=0.001, longest_s=1))
    assert len(slow.samples_ns["encode"]) == 1
    assert fast.median_us("encode") < slow.median_us("encode")


def speed(coder, mbps, **row):
    head = {"layer": "a", "relu": True, "quantizer": "n4", "size": 1 << 22, "symbols": 1 << 22, "packets": 1}
    bits = {"bits": 2.0, "limits": {"order-0 entropy": 1.995}, "encode_us": 1.0, "decode_us": 1.0}
    return {**head, **bits, "coder": coder, "encode_mbps": mbps, "decode_mbps": mbps, **row}


def test_goals_met_missed_and_not_measured():
    bits = {"layer": "a", "quantizer": "n4", "relu": True, "limits": {"order-0 entropy": 2.0}, "packets": {}}
    result = {
        "settings": {"speed_quantizers": ["n4"]},
        "bits": [{**bits, "coders": {"context": 1.4, "zstd 19": 1.7}}],
        "speed": [
            speed("huffman", 2500.0),
            speed("huffman", 9000.0, size=4096, symbols=4096),
            speed("rans", 1000.0),
            speed("context", 900.0),
            speed("zstd 1", 340.0, decode_mbps=1000.0),
            speed("zstd 1", 1.0, size=4096, symbols=4096),
            speed("constriction ans", 200.0),
            speed("compressai ans", 100.0),
        ],
        "packets": [],
    }
    found = {goal["what"]: goal for goal in entropy_goals.goals(result)}
    assert found["Huffman/auto encode, 4 MB, n4"]["met"] is True
    assert found["Huffman/auto decode, 4 MB, n4"]["met"] is False
    assert found["Huffman/auto decode, 4 MB, n4"]["value"] == pytest.approx(2.5)  # the large tensors alone
    assert found["Huffman/auto decode, 4 MB, n4"]["measured"] == "2.50 (huffman, 2.50 GB/s; tensors of 4,194,304)"
    assert found["Huffman/auto encode, 4 MB, n2"]["met"] is None
    assert found["rans decode, 4 MB, n <= 4"]["met"] is False
    assert [found[f"context {call}, 4 MB, n <= 4"]["met"] for call in ("encode", "decode")] == [True, False]
    assert found["rans, bits over order-0 entropy, 64 KB and more"]["met"] is True
    assert found["context, bits over all sets"]["value"] == pytest.approx(0.7)
    assert found["encode against constriction"]["value"] == pytest.approx(12.5)
    assert found["encode against CompressAI"]["met"] is False
    assert [goal["measured"] for what, goal in found.items() if what.startswith("context, fewer bits")] == ["1 of 1"]
    lines = entropy_goals.goals_table(list(found.values())).splitlines()
    assert len(lines) == len(found) + 2
    assert {line.count("|") for line in lines} == {5}
    assert sum(line.endswith("| not measured |") for line in lines) == sum(goal["met"] is None for goal in found.values())


def called(**kinds):
    nothing = {"settings": {"speed_quantizers": []}, "bits": [], "speed": [], "packets": []}
    return {goal["what"]: goal for goal in entropy_goals.goals({**nothing, **kinds}) if goal["met"] is not None}


def test_a_crossing_is_judged_by_the_codec_s_own_time():
    row = {"coder": "a", "encode_us": 6.0, "decode_us": 4.0, "extra_us": 31.0, "ratio": 3.1}
    found = called(crossings=[row, {**row, "coder": "b", "extra_us": 30.0, "ratio": 3.0}])
    assert [goal["met"] for goal in found.values()] == [False, True]
    assert "31 us to 10.0 of the codec alone" in next(iter(found.values()))["measured"]


def test_the_range_coder_is_judged_by_its_share_and_by_python():
    found = called(range_coder=[{"call": "encode", "latents": 6272, "codec_us": 400.0, "coder_us": 41.0, "python_us": 2050.0}])
    share, ratio = found.values()
    assert (share["met"], share["value"]) == (False, pytest.approx(0.1025))
    assert (ratio["met"], ratio["value"]) == (True, pytest.approx(50.0))


def test_bitpack_is_judged_by_huffman_on_the_same_sample_and_one_thread():
    def row(coder, us, elements=100, threads=1):
        return {"coder": coder, "bits": 8, "elements": elements, "threads": threads, "encode_us": us, "decode_us": us / 2}

    rows = [row("bitpack", 9.0), row("huffman", 10.0), row("huffman", 1.0, threads=2), row("rans", 1.0), row("bitpack", 5.0, 9)]
    assert [goal["value"] for goal in called(large=rows).values()] == [pytest.approx(0.9)] * 2
    slow = called(large=[*rows, row("bitpack", 30.0, 200), row("huffman", 20.0, 200)])
    assert [(goal["value"], goal["met"]) for goal in slow.values()] == [(pytest.approx(1.5), False)] * 2


def test_tokens_are_judged_by_the_worst_of_them():
    row = {"feature": "a", "axis": "token", "context": 3.0, "rans": 4.0, "auto": 3.0}
    rows = [row, {**row, "feature": "b", "context": 4.0}]
    (goal,) = called(tokens=rows).values()
    assert (goal["value"], goal["met"]) == (1.0, True)
    (goal,) = called(tokens=[*rows, {**row, "feature": "c", "context": 4.1}]).values()
    assert (goal["value"], goal["met"]) == (pytest.approx(1.025), False)
    assert "c, axis=token, the worst of 3" in goal["measured"]


def test_memory_is_judged_by_the_output_and_without_third_parties():
    mb = memory.MB
    row = {"codec": "a", "feature": "zero", "learned": False, "exempt": False, "output": 64 * mb, "kept": 8 * mb}
    rows = [{**row, "peak": 160 * mb}, {**row, "exempt": True, "peak": 999 * mb, "kept": 99 * mb}]
    assert [goal["met"] for goal in called(decoding=rows).values()] == [True, True]
    more = called(decoding=[*rows, {**row, "peak": 161 * mb, "kept": 9 * mb}, {**row, "learned": True, "peak": 0}])
    assert [(goal["value"], goal["met"]) for goal in more.values()] == [
        (pytest.approx(129 / 64), False),
        (9.0, False),
        (-0.5, True),
        (8.0, True),
    ]


def test_a_failing_coder_leaves_the_others_their_rows():
    class Broken(coders.Memcpy):
        name = "broken"

        def encode(self, symbols, bits):
            raise RuntimeError("out of order")

    features = np.abs(np.random.default_rng(0).normal(size=(2, 4, 8, 8))).astype(np.float32)
    symbol_set = feature_sets.quantize(feature_sets.FeatureSet("a", True, features, features), "n4")
    row = entropy_measure.measure_bits(symbol_set, [coders.Memcpy(), Broken()], 2)
    assert row["coders"] == {"memcpy": 8.0}
    assert row["failed"] == {"broken": "RuntimeError: out of order"}
    case = entropy_measure.Case.of(symbol_set, 256)
    rows = entropy_measure.measure_size(case, [coders.Memcpy(), Broken()], timing.Effort(1, 0.01, 1.0), {})
    assert rows[0]["encode_to"] == {"memcpy": 1.0}
    assert rows[1]["skipped"] == "RuntimeError: out of order"


def test_a_quick_run_writes_its_files(tmp_path, capsys):
    options = [
        "--quick",
        "--parts",
        "coders",
        "--sets",
        "resnet20 layer3",
        "--quantizers",
        "n4",
        "--coders",
        "zlib",
        "huffman",
        "--sizes",
        "256",
    ]
    assert entropy.main([*options, "--rounds", "1", "--out", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "results.json").read_text())
    (row,) = result["bits"]
    assert row["coders"]["zlib 6"] > row["limits"]["adaptive left+up"]
    assert {"memcpy", "zlib 6", "huffman"} <= {row["coder"] for row in result["speed"]}
    assert all(goal["met"] in (True, False, None) for goal in result["goals"])
    assert result["machine"]["cpu"]
    assert "## Goals" in (tmp_path / "summary.md").read_text()
    assert (tmp_path / "bits_speed.png").read_bytes().startswith(b"\x89PNG")
    assert "| zlib 6 |" in capsys.readouterr().out


def test_calls_and_memory_are_measured_and_shown(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(entropy_calls, "LARGE_SHAPE", (4, 32, 32))
    monkeypatch.setattr(entropy_calls, "PACKED_SHAPE", (3, 16, 16))
    few = [("huffman", "spike", (8, 64, 64)), ("webp", "lines", (8, 64, 64)), ("dsc:maps=8,reduced=4", "zero", (8, 64, 64))]
    monkeypatch.setattr(entropy, "cases", lambda: few if sys.platform == "linux" else [])
    assert entropy.main(["--quick", "--parts", "calls,memory", "--rounds", "1", "--out", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "results.json").read_text())
    assert [row["coder"] for row in result["crossings"]] == list(entropy_calls.CROSSINGS)
    for row in result["crossings"]:
        assert row["extra_us"] == pytest.approx(row["inserted_us"] - row["bare_us"], rel=1e-3)
        assert row["ratio"] == pytest.approx(row["extra_us"] / (row["encode_us"] + row["decode_us"]), rel=1e-3)
    assert [(row["call"], row["latents"]) for row in result["range_coder"]] == [("encode", 6272), ("decode", 6272)]
    samples = {(row["coder"], row["bits"], row["elements"]) for row in result["large"]}
    assert samples == {(coder, bits, 4096) for coder in entropy_calls.LARGE_CODERS for bits in (4, 8)} | {
        ("bitpack", 8, 768),
        ("huffman", 8, 768),
    }
    assert all(row["auto"] <= min(row["context"], row["rans"]) for row in result["tokens"])
    if sys.platform == "linux":
        flags = [(row["codec"], row["learned"], row["exempt"]) for row in result["decoding"]]
        assert flags == [("huffman", False, False), ("webp", False, True), ("dsc:maps=8,reduced=4", True, False)]
        assert all(row["output"] == 4 * 8 * 64 * 64 for row in result["decoding"])
    text = capsys.readouterr().out
    for line in ("| huffman static |", "| decode | 6,272 |", "| bitpack | 8 | 768 | 1 |", "| after GELU | token |"):
        assert line in text
    assert "## Bits" not in text
    assert not (tmp_path / "bits_speed.png").exists()


def test_a_case_of_memory_that_fails_says_why():
    with pytest.raises(RuntimeError, match="FeatureError"):
        memory.measured([("dsc:maps=8,reduced=4", "zero", (3, 8, 8))])


def test_options_that_match_nothing_are_refused(tmp_path, capsys):
    assert entropy.main(["--quick", "--sets", "nowhere", "--out", str(tmp_path)]) == 2
    assert entropy.main(["--features", str(tmp_path)]) == 2
    with pytest.raises(SystemExit):
        entropy.main(["--parts", "coders,nothing"])
    assert "holds no .npz files" in capsys.readouterr().err
