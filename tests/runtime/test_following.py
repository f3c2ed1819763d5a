"""A client that follows a Selector, over a relay whose rate changes: real halves of ResNet-20, a real server on loopback."""

from __future__ import annotations

import copy
import runpy
import threading
import time
from dataclasses import replace
from functools import partial

import pytest
import torch

import featcodec as fc
from featcodec.planning import Candidate, Link, Selector, advise, get_link
from featcodec.runtime import Client, Follower, Result, Served, Server, Timing, measure_candidates
from featcodec.runtime.measuring import _candidate
from tests.runtime.processes import ROOT

Relay = runpy.run_path(str(ROOT / "examples/relay.py"))["Relay"]

# as if the device were slow: at 100 Mbit/s layer1 answers first, at 2 layer2, at .05 the device
RAW, CODED = Candidate("layer1 raw", 65542, 5.0, 1.0), Candidate("layer2 coded", 2071, 60.0, 1.0)
LOCAL = Candidate("local", 0, 200.0, 0.0, kind="local")
FAST, SLOW, CRAWLING = 100.0, 2.0, 0.05


@pytest.fixture(scope="module")
def halves(resnet20, images):
    specs = {"layer1": "raw", "layer2": "context:bits=4"}
    return {layer: fc.export(resnet20, layer, images[0][:2], codec=fc.get_codec(s).eval()) for layer, s in specs.items()}


@pytest.fixture(scope="module")
def server(halves):
    with Server({layer: Served(parts.tail) for layer, parts in halves.items()}, max_batch=1) as running:
        yield running


@pytest.fixture(scope="module")
def pictures(images):
    return images[0].split(1)


@pytest.fixture(scope="module")
def wanted(resnet20, halves, pictures):
    """What each candidate answers, by its name."""

    def answers(parts):
        return [parts.tail.run(parts.head.encode(x)) for x in pictures]

    with torch.no_grad():
        found = {RAW.name: answers(halves["layer1"]), CODED.name: answers(halves["layer2"])}
        return found | {LOCAL.name: [resnet20(x) for x in pictures]}


@pytest.fixture
def relay(server):
    with Relay(server.address, FAST) as running:
        yield running


class Asked:
    """Pictures one after another; every answer must be the candidate's that it says."""

    def __init__(self, follower, pictures, wanted):
        self.follower, self.pictures, self.wanted, self.count = follower, pictures, wanted, 0

    def one(self, **options):
        i = self.count % len(self.pictures)
        self.count += 1
        result = self.follower.infer(self.pictures[i], **options)
        torch.testing.assert_close(result.output, self.wanted[result.candidate][i], rtol=1e-4, atol=1e-4)
        assert result.source == ("fallback" if result.candidate == LOCAL.name else "edge")
        return result

    def until(self, name, most_s=20.0, pause_s=0.01):
        """The candidates that answered before this one did."""
        end, before = time.monotonic() + most_s, []
        while (found := self.one().candidate) != name:
            before.append(found)
            assert time.monotonic() < end, f"{name} never answered: {before[-20:]}, {self.follower._client.link}"
            time.sleep(pause_s)
        return before


def local(model, x):
    with torch.no_grad():
        return model(x)


@pytest.fixture
def client(relay, halves, resnet20):
    options = {"fallback": partial(local, resnet20), "patience_s": 0.2}
    with Client(relay.address, head=halves["layer1"].head, entry="layer1", **options) as running:
        yield running


@pytest.fixture
def sessions(client, halves):
    return {RAW.name: client, CODED.name: client.session(head=halves["layer2"].head, entry="layer2")}


def test_it_goes_with_the_link_both_ways_and_answers_are_right(relay, client, sessions, pictures, wanted):
    asked = Asked(Follower(client, Selector([RAW, CODED]), sessions), pictures, wanted)
    # the link is not known: the fewest bytes first
    assert [asked.one().candidate for _ in range(2)] == [CODED.name, RAW.name]
    asked.until(RAW.name)
    assert client.link.planned().rate_bps > 8e6
    relay.mbit_s = SLOW
    assert set(asked.until(CODED.name)) == {RAW.name}
    assert [asked.one().candidate for _ in range(5)] == [CODED.name] * 5
    assert client.link.rate_mbit_s < 8
    relay.mbit_s = FAST
    asked.until(RAW.name)
    assert (client.link.strays, client.link.losses) == (0, 0)


def test_a_link_that_is_too_slow_is_left_alone_but_for_probes_and_taken_again(relay, client, sessions, pictures, wanted):
    asked = Asked(Follower(client, Selector([CODED, LOCAL]), sessions, probe_s=0.3), pictures, wanted)
    asked.until(CODED.name)
    relay.mbit_s = CRAWLING
    asked.until(LOCAL.name)
    sent = client.link.bytes_sent
    begun = time.monotonic()
    # no request is a probe, of which there is one at the most in this time
    assert [asked.one().id for _ in range(30)] == [0] * 30
    assert client.link.bytes_sent - sent <= 2100 * (1 + (time.monotonic() - begun) / 0.3)
    relay.mbit_s = FAST
    asked.until(CODED.name)


def test_a_lost_link_is_the_device_s_until_it_is_back(relay, client, sessions, pictures, wanted):
    asked = Asked(Follower(client, Selector([RAW, CODED, LOCAL]), sessions, probe_s=0.1), pictures, wanted)
    asked.until(RAW.name)
    relay.mbit_s = 0
    first = asked.one()
    assert (first.candidate, first.error.cause) == (LOCAL.name, "lost")
    # nothing is sent any more, and nobody waits
    assert [asked.one().error for _ in range(10)] == [None] * 10
    relay.mbit_s = FAST
    assert set(asked.until(RAW.name)) <= {LOCAL.name, CODED.name}
    assert client.link.strays == 0


def test_it_begins_without_a_server_and_finds_it(relay, halves, resnet20, pictures, wanted):
    relay.mbit_s = 0
    options = {"fallback": partial(local, resnet20), "patience_s": 0}
    with Client(relay.address, head=halves["layer2"].head, entry="layer2", **options) as client:
        asked = Asked(Follower(client, Selector([CODED, LOCAL]), {CODED.name: client}, probe_s=0.1), pictures, wanted)
        assert asked.one().error.cause == "lost"
        assert asked.one().error is None
        relay.mbit_s = FAST
        assert set(asked.until(CODED.name)) == {LOCAL.name}


def test_without_the_model_here_a_late_answer_is_an_error_and_the_next_request_takes_the_fewest_bytes(
    relay, halves, pictures, wanted
):
    with Client(relay.address, head=halves["layer1"].head, entry="layer1") as client:
        sessions = {RAW.name: client, CODED.name: client.session(head=halves["layer2"].head, entry="layer2")}
        asked = Asked(Follower(client, Selector([RAW, CODED], patience=5), sessions), pictures, wanted)
        asked.until(RAW.name)
        asked.until(RAW.name)
        relay.mbit_s = 0.5
        with pytest.raises(fc.EdgeDeadlineError):
            asked.one(deadline_s=0.3)
        # no patience with one that nothing came of
        assert [asked.one().candidate for _ in range(3)] == [CODED.name] * 3


def test_inputs_that_are_none_do_not_keep_it_from_finding_the_link(relay, halves, pictures, wanted):
    with Client(relay.address, head=halves["layer1"].head, entry="layer1") as client:
        sessions = {RAW.name: client, CODED.name: client.session(head=halves["layer2"].head, entry="layer2")}
        asked = Asked(Follower(client, Selector([RAW, CODED]), sessions), pictures, wanted)
        for _ in range(3):
            with pytest.raises(fc.FeatcodecError):
                asked.follower.infer("no picture")
        assert asked.one().candidate == CODED.name


def test_qualities_of_one_codec_share_a_session_and_the_decoder_does_not_notice(resnet20, images):
    head, tail = fc.split(resnet20, "layer2", images[0][:1])
    with torch.no_grad():
        codec = fc.get_codec("transform:maps=32").calibrate(head(images[0])).eval()
    qualities = {"fine": 80, "coarse": 30}
    settings = {name: partial(codec.set_quality, quality) for name, quality in qualities.items()}
    _follow_one_session(codec, head, tail, settings, images[0].split(1))


def test_levels_of_variable_rate_share_a_session(resnet20, images):
    head, tail = fc.split(resnet20, "layer2", images[0][:1])
    levels = "dsc:maps=32,reduced=4,stride=1,step=0.02;dsc:maps=32,reduced=32,stride=1,step=0.01"
    codec = fc.get_codec({"id": "variable-rate", "levels": levels}).eval()
    settings = {"coarse": partial(setattr, codec, "level", 0), "fine": partial(setattr, codec, "level", 1)}
    _follow_one_session(codec, head, tail, settings, images[0].split(1))


def _follow_one_session(codec, head, tail, settings, pictures):
    candidates = [Candidate("fine", 7000, 1.0, 1.0, accuracy=0.93), Candidate("coarse", 1000, 1.0, 1.0, accuracy=0.8)]
    served, known = Served(tail, copy.deepcopy(codec)), copy.deepcopy(codec)
    with (
        Server(served, max_batch=1) as server,
        Relay(server.address, FAST) as relay,
        Client(relay.address, codec, head=head) as client,
    ):
        selector = Selector(candidates, within_ms=50, patience=2)
        follower = Follower(client, selector, dict.fromkeys(settings, client), settings=settings)

        def until(name):
            results = []
            while not results or results[-1].candidate != name:
                results.append(follower.infer(pictures[len(results)]))
            for x, result in zip(pictures, results, strict=False):
                settings[result.candidate]()
                with torch.no_grad():
                    packets = codec.encode(head(x))
                    want = tail(known.decode(packets))
                torch.testing.assert_close(result.output, want, rtol=1e-4, atol=1e-4)
                assert abs(result.size_bytes - len(packets[0].to_bytes(compact=True))) < 10

        until("fine")
        relay.mbit_s = 0.1
        until("coarse")
        relay.mbit_s = FAST
        until("fine")
        assert len(client._sessions) == 1


def test_raw_or_coded_is_what_advise_says_of_what_was_measured(resnet20, images):
    head, tail = fc.split(resnet20, "layer2", images[0][:1])
    codecs = {"raw": fc.get_codec("raw").eval(), "coded": fc.get_codec("context:bits=8").eval()}
    with (
        Server({name: Served(tail, codec) for name, codec in codecs.items()}, max_batch=1) as both,
        Relay(both.address, FAST) as relay,
        Client(relay.address, codecs["raw"], head=head, entry="raw") as client,
    ):
        sessions = {"raw": client, "coded": client.session(codecs["coded"], head=head, entry="coded")}
        pictures = images[0].split(1)
        raw, coded = measure_candidates(client, sessions, pictures[:6])
        assert (raw.name, coded.name, raw.kind) == ("raw", "coded", "split")
        assert raw.size_bytes == pytest.approx(4 * 8192, rel=0.01)
        assert coded.size_bytes < raw.size_bytes / 4
        assert min(raw.head_ms, raw.tail_ms, coded.encode_ms, coded.decode_ms) > 0
        # a codec that takes its time: 100 ms, which 27 kB are worth below some 2 Mbit/s
        coded = replace(coded, encode_ms=raw.encode_ms + 100, decode_ms=raw.decode_ms, head_ms=raw.head_ms, tail_ms=raw.tail_ms)
        follower = Follower(client, Selector([raw, coded], margin=0.0, patience=1), sessions)
        for mbit_s, send in ((FAST, "raw"), (0.5, "coded"), (FAST, "raw")):
            relay.mbit_s = mbit_s
            names = [follower.infer(x).candidate for x in pictures[:12]]
            link = client.link.planned()
            said = advise(raw.size_bytes, coded.size_bytes, link.rate_bps, link.rtt_ms, coded.encode_ms - raw.encode_ms).send
            assert (names[-1], said) == (send, send), (mbit_s, names, client.link)


def sleepy(slow, x):
    """A tail whose machine has other things to do while `slow` is set."""
    time.sleep(0.4 if slow.is_set() else 0.04)
    return x.flatten(1)


def test_a_busy_server_is_left_and_found_idle_again():
    slow, codec, x = threading.Event(), fc.get_codec("huffman:bits=6").eval(), torch.randn(1, 2, 3, 3)
    candidates = [Candidate("edge", 40, 1.0, 40.0), Candidate("local", 0, 200.0, 0.0, kind="local")]
    with (
        Server(Served(partial(sleepy, slow), codec), max_batch=1) as server,
        Client(server.address, codec, shape=(2, 3, 3), fallback=torch.clone) as client,
    ):
        follower = Follower(client, Selector(candidates, patience=2), {"edge": client}, probe_s=0.1)
        assert [follower.infer(x).candidate for _ in range(4)] == ["edge"] * 4
        assert 1 <= follower.load < 3
        slow.set()
        while follower.infer(x).candidate == "edge":
            pass
        assert follower.load > 5
        trips = client.link.round_trips
        assert follower.infer(x).candidate == "local"  # which is probed beside
        _wait_for(lambda: client.link.round_trips > trips)
        assert follower.load > 5
        slow.clear()
        _wait_for(lambda: follower.infer(x).candidate == "edge")
        # it was told by the first probe that met it idle, whatever came before
        assert follower.load < 3


def _wait_for(happened, most_s=20.0):
    end = time.monotonic() + most_s
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_energy_needs_the_power_of_a_link_like_this(client, sessions, pictures):
    selector = Selector([replace(RAW, device_mw=1000.0), replace(CODED, device_mw=1000.0)], objective="energy", patience=1)
    follower = Follower(client, selector, sessions)
    with pytest.raises(fc.FeatcodecError, match="energy needs the power of sending"):
        [follower.infer(x) for x in pictures[:5]]
    follower = Follower(client, selector, sessions, power=get_link("wifi"))
    # 60 mJ and 5 of sending, beside 5 and some 150 at 28 W
    assert [follower.infer(x).candidate for x in pictures[:5]][-1] == CODED.name


def test_what_cannot_be_followed_is_said_at_once(client, sessions, server, halves):
    selector = Selector([RAW, CODED, LOCAL])
    with pytest.raises(fc.ConfigError, match=r"no session for \['layer2 coded'\]: sessions are given for \['layer1 raw'\]"):
        Follower(client, selector, {RAW.name: client})
    with pytest.raises(fc.ConfigError, match=r"settings for \['layer3'\], which have no session"):
        Follower(client, selector, sessions, settings={"layer3": print})
    with pytest.raises(fc.ConfigError, match="probe_s is a number of seconds from 0, got -1"):
        Follower(client, selector, sessions, probe_s=-1)
    with Client(server.address, head=halves["layer1"].head, entry="layer1") as other:
        with pytest.raises(fc.ConfigError, match="the session is another client's"):
            Follower(client, selector, {**sessions, RAW.name: other})
        with pytest.raises(fc.ConfigError, match="'local' runs on the device: give the client the model as its fallback"):
            Follower(other, Selector([RAW, LOCAL]), {RAW.name: other})
        with pytest.raises(fc.ConfigError, match="at least two inputs are wanted"):
            measure_candidates(other, {RAW.name: other}, [torch.zeros(1, 3, 32, 32)])


def test_all_on_the_device_asks_nobody(client, pictures):
    follower = Follower(client, Selector([LOCAL]), {})
    assert [follower.infer(x).candidate for x in pictures[:3]] == [LOCAL.name] * 3
    assert client.link.round_trips == 0


def test_while_a_probe_is_under_way_the_device_answers(client, sessions, pictures):
    follower = Follower(client, Selector([RAW, LOCAL]), {RAW.name: sessions[RAW.name]}, probe_s=60)
    over = threading.Event()
    follower._probe = threading.Thread(target=over.wait, daemon=True)
    follower._probe.start()
    assert [follower.infer(x).candidate for x in pictures[:2]] == [LOCAL.name] * 2
    over.set()
    follower._probe.join()
    assert follower.infer(pictures[2]).candidate == RAW.name  # which was never tried: the link is not known


def test_a_probe_s_own_fault_is_shown(client, sessions, pictures, monkeypatch):
    shown = []
    monkeypatch.setattr(threading, "excepthook", lambda seen: shown.append(seen.exc_value))
    broken = {RAW.name: lambda: (_ for _ in ()).throw(ZeroDivisionError("a setting"))}
    follower = Follower(client, Selector([RAW, LOCAL]), {RAW.name: sessions[RAW.name]}, settings=broken, probe_s=0)
    follower._probe_when_due(pictures[0])
    follower._probe.join()
    assert [type(error) for error in shown] == [ZeroDivisionError]
    assert follower.infer(pictures[0]).candidate == LOCAL.name


def test_what_is_measured_on_the_device_is_a_candidate(client, sessions, pictures):
    *found, here = measure_candidates(client, sessions, pictures[:4])
    assert [c.name for c in found] == [RAW.name, CODED.name]
    assert (here.name, here.kind, here.size_bytes, here.server_ms) == ("all on the device", "local", 0, 0.0)
    assert here.head_ms > 0
    assert isinstance(client.link.planned(), Link)
    timing = Timing(head=1.0, encode=0.5, network=3.0, queue=0.25, decode=0.5, tail=2.0, wall=8.0)
    of_one = _candidate("one", [Result(100, "edge", timing)] * 3)
    assert (of_one.head_ms, of_one.encode_ms, of_one.decode_ms, of_one.tail_ms) == (1.0, 1.25, 0.5, 2.25)
    rests = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("featcodec.runtime.measuring.time.sleep", rests.append)
        measure_candidates(client, sessions, pictures[:2], rest_s=0.25)
    assert rests.count(0.25) == 6
