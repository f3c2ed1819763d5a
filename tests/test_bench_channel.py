"""The channel benchmark: limits are right where known, curves repeat and resume, goals judge, a quick run writes its files."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import channel_goals, cliff, error_rates, finite_length, ldpc_peers, ldpc_speed, pages
from benchmarks.entropy_goals import goals_table
from benchmarks.error_rates import Code, Effort
from benchmarks.suites import channel
from featcodec.fec.ldpc import LDPC

TINY = Effort(enough=4, most_bits=60_000, stop=0.3, round_bits=60_000)
WIFI = Code.wifi(648, "1/2")


@pytest.mark.parametrize(("rate", "db"), [(1 / 2, 0.187), (2 / 3, 1.059), (3 / 4, 1.626), (5 / 6, 2.362)])
def test_shannon_limits_of_bpsk(rate, db):
    assert finite_length.shannon_db(rate) == pytest.approx(db, abs=1e-3)


def test_capacity_and_dispersion_by_integration_on_a_grid():
    sigma = 0.8
    y = np.linspace(-15, 15, 200_001)
    density = np.exp(-((y - 1) ** 2) / (2 * sigma**2)) / np.sqrt(2 * np.pi * sigma**2) * (y[1] - y[0])
    information = 1 - np.log2(1 + np.exp(-2 * y / sigma**2))
    capacity = (density * information).sum()
    wanted = (capacity, (density * (information - capacity) ** 2).sum())
    assert finite_length.biawgn(1 / sigma**2) == pytest.approx(wanted, rel=1e-6)


def test_the_normal_approximation_and_the_bound_for_erasures():
    assert finite_length.awgn_limit_db(972, 1944, 1e-3) == pytest.approx(0.885, abs=2e-3)
    assert finite_length.awgn_failures(972, 1944, finite_length.awgn_limit_db(972, 1944, 1e-2)) == pytest.approx(1e-2, rel=1e-6)
    # n = k = 1: two words, (M - 1) / 2 = 1 / 2 wrong ones on average even where nothing is erased
    assert finite_length.bec_failures(1, 1, 0.25) == pytest.approx(0.25 + 0.75 / 2)
    assert finite_length.bec_failures(972, 1944, finite_length.bec_limit(972, 1944, 1e-2)) == pytest.approx(1e-2, rel=1e-6)
    erasures = [finite_length.bec_failures(324, 648, p) for p in (0.0, 0.4, 0.45, 0.5)]
    assert erasures == sorted(erasures)


def test_codes_that_are_measured():
    assert [code.name for code in error_rates.all_codes()[:2]] == ["wifi 648 1/2", "wifi 648 2/3"]
    assert len(error_rates.all_codes()) == 20
    for code in (*error_rates.all_codes(), *error_rates.erasure_codes(), *ldpc_speed.speed_codes()):
        built = code.build()
        assert (built.k, built.n) == (code.k, code.n)


def test_curves_fall_and_repeat_and_resume(tmp_path):
    checkpoints = error_rates.Checkpoints(tmp_path, TINY, "abc")
    curve = checkpoints.curve(WIFI, "awgn", error_rates.noise_curve)
    fer = [point["decoders"]["min-sum 20"]["fer"] for point in curve["points"] if "min-sum 20" in point["decoders"]]
    assert fer[0] > 0.9
    assert fer[-1] <= TINY.stop
    assert error_rates.noise_curve(WIFI, TINY)["points"] == curve["points"]
    again = error_rates.Checkpoints(tmp_path, TINY)
    assert again.curve(WIFI, "awgn", lambda *_: pytest.fail("measured again")) == curve
    assert again.reused == ["awgn_wifi_648_1-2.json"]
    other = error_rates.Checkpoints(tmp_path, replace(TINY, enough=5))
    assert other.curve(WIFI, "awgn", lambda *_: {"points": []})["points"] == []


def test_erasures_are_lost_near_the_limit_only():
    curve = error_rates.erasure_curve(WIFI, TINY)
    assert curve["points"][0]["decoders"]["maximum likelihood"]["fer"] > 0.3
    assert all(point["bound"] > 0 for point in curve["points"])
    built = WIFI.build()
    few = error_rates.erased(built, 0.2, np.random.default_rng(0))
    tally = error_rates.count_losses(built, few, {"ml": ("erasure", 1)}, TINY)["ml"]
    assert (tally.lost, tally.bit_errors) == (0, 0)


def test_where_a_target_is_reached():
    points = [
        {"x": x, "decoders": {"a": {"frames": 1000, "lost": lost}}} for x, lost in ((0.0, 1000), (1.0, 100), (2.0, 1), (3.0, 0))
    ]
    reached = error_rates._reached(points, "x", "a")
    assert reached["0.01"] == pytest.approx(1.5)
    assert reached["0.001"] == pytest.approx(2.0)
    assert error_rates._reached(points[:2], "x", "a")["0.001"] is None


def test_checks_that_peers_get_hold_for_codewords():
    code = WIFI.build()
    sent = code.encode(np.random.default_rng(0).integers(0, 2, (3, code.k), dtype=np.uint8))
    assert not (ldpc_peers.dense_checks(code) @ sent.T % 2).any()
    with pytest.raises(ValueError, match="every bit is sent"):
        ldpc_peers.dense_checks(LDPC("nr", k=40, n=80))


def test_a_peer_that_fails_or_is_absent_says_so():
    class Blind(ldpc_peers.Peer):
        def load(self, code, iterations):
            pass

        def decode(self, llr):
            return (llr < 0).astype(np.uint8)

    class Absent(ldpc_peers.Peer):
        def load(self, code, iterations):
            raise ModuleNotFoundError("No module named 'absent'")

    code = WIFI.build()
    assert "weak bit" in Blind().reason(code)
    assert Absent().reason(code) == "ModuleNotFoundError: No module named 'absent'"
    setting = replace(ldpc_speed.settings(True), peer_frames=4)
    rows, left_out = ldpc_speed.peer_rows(WIFI, [Absent()], setting, lambda _: None)
    assert (rows, list(left_out)) == ([], [""])


def test_the_cost_of_a_feature_is_that_of_its_packet():
    cost = cliff.feature_cost("nr", 128, 0.1, 64, 2)
    assert cost["ratio"] == cost["channel_bits"] / 1024
    assert (cost["trials"], cost["whole_lost"]) == (64, 0)
    assert cost["lost"] <= 2


def test_goals_met_missed_and_not_measured():
    reached = {"min-sum 20": {"0.01": 1.6, "0.001": 1.78}, "sum-product 50": {"0.01": 1.4, "0.001": 1.57}}
    bound = {"0.01": 0.71, "0.001": 0.88}
    curve = {"code": "wifi 1944 1/2", "family": "wifi", "channel": "awgn", "bound": bound, "reached": reached}
    row = {"code": "wifi 1944 1/2", "what": "decode, 10 iterations", "quality": "2.0 dB", "blocks": 256, "us": 1.0}
    speeds = [
        {**row, "interface": "python", "isa": isa, "info_mbps": mbps} for isa, mbps in (("avx2", 150.0), ("avx512", 260.0))
    ]
    one = {**row, "what": "decode erasures", "quality": "p=0.01", "blocks": 1, "isa": "avx2"}
    speeds += [{**one, "interface": name, "us": us} for name, us in (("inside", 0.5), ("core", 0.9), ("python", 2.4))]
    empty = {"wifi 1944 1/2": 0.4}
    result = {
        "error": {"curves": [curve]},
        "speed": {"rows": speeds, "empty_us": empty, "fixed": [], "failing": [], "peers": []},
    }
    found = {goal["what"]: goal for goal in channel_goals.goals(result)}
    assert found["wifi 1944 1/2, dB over the normal approximation at FER 1e-3, min-sum 20"]["met"] is True
    oracle = found["all wifi codes, dB over float sum-product with 50 iterations at FER 1e-3, min-sum 20"]
    assert (oracle["value"], oracle["met"]) == (pytest.approx(0.21), True)
    assert found["wifi 1944 1/2, 10 fixed iterations, many frames, AVX-512, Mb/s"]["met"] is True
    assert found["wifi 1944 1/2, 10 fixed iterations, many frames, AVX2, Mb/s"]["met"] is False
    frame = found["wifi 1944 1/2, one frame of erasures, p=0.01, Mb/s in the core"]
    assert (frame["value"], frame["met"]) == (1944.0, True)
    assert "0.50 us, avx2; a call through the binding 0.90 us or 1080 Mb/s, 0.40 us of it without blocks" in frame["measured"]
    assert found["features lost with rate=auto"]["met"] is None
    assert all(goal["met"] is None for goal in channel_goals.goals({}))
    assert goals_table(list(found.values())).count("\n") == len(found) + 2


def test_a_quick_run_writes_its_files_part_by_part(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(channel, "QUICK", TINY)
    options = ["--quick", "--no-peers", "--out", str(tmp_path)]
    assert channel.main([*options, "--parts", "speed"]) == 0
    assert set(json.loads((tmp_path / "results.json").read_text())) == {"speed", "goals"}
    assert channel.main([*options, "--parts", "error,features"]) == 0
    result = json.loads((tmp_path / "results.json").read_text())
    assert set(result) == {"error", "speed", "features", "goals"}
    assert {(row["isa"], row["interface"]) for row in result["speed"]["rows"]} >= {
        ("scalar", "inside"),
        ("scalar", "core"),
        ("scalar", "python"),
    }
    assert [curve["channel"] for curve in result["error"]["curves"]] == ["awgn", "bec"]
    rows = {(row["codec"], row["channel"], row["quality"]): row for row in result["features"]["rows"]}
    good, bad = rows["nr 1/2", "bec", 0.05], rows["huffman:bits=4", "bec", 0.05]
    assert (good["lost"], good["accuracy"]) == (0, result["features"]["baseline"])
    assert bad["lost"] == 16
    assert good["payload_bits"] == bad["payload_bits"]
    assert good["channel_bits"] == pytest.approx(bad["channel_bits"] + good["fec_bits"])
    for part in ("error", "speed", "features"):
        assert result[part]["machine"]["core"]["isa"]
    text = (tmp_path / "summary.md").read_text()
    assert text.count("\n## ") == 4
    assert "| wifi 648 1/2 |" in pages.channel_page(result)
    for name in ("waterfall_awgn.png", "waterfall_bec.png", "cliff.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert "written:" in capsys.readouterr().out


def test_options_that_match_nothing_are_refused(tmp_path, capsys):
    assert channel.main(["--quick", "--parts", "error", "--codes", "turbo", "--out", str(tmp_path)]) == 2
    assert "matches none of" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        channel.main(["--parts", "everything", "--out", str(tmp_path)])
