"""The runtime benchmark's pieces: the proxy loses nothing, ids are counted, requests are replayed, goals judge."""

from __future__ import annotations

import asyncio

import grpc
import pytest
import torch

from benchmarks import runtime_device, runtime_goals, runtime_links, runtime_report
from benchmarks.entropy_goals import goals_table
from benchmarks.runtime_ledger import Ledger
from benchmarks.runtime_links import BURST_BYTES, Lag, proxy, shaping
from benchmarks.runtime_load import Replayed, Stored, replay
from benchmarks.runtime_overhead import spread
from benchmarks.runtime_peers import JpegPictureCodec, OfPictures, TorchSaveCodec
from benchmarks.suites import runtime
from featcodec.bench.data import embedded
from featcodec.bench.models import resnet20
from featcodec.errors import BitstreamError
from featcodec.runtime import edge_pb2, edge_pb2_grpc
from featcodec.runtime.wire import hello_name

KNOWN = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])


# ---- the proxy -------------------------------------------------------------------------------------------------------------


def test_a_delay_is_added_and_nothing_overtakes():
    lag = Lag(delay_s=0.01)
    assert lag.due(1000, now=5.0) == pytest.approx(5.01)
    assert lag.due(1, now=5.001) == pytest.approx(5.011)
    assert lag.due(1, now=4.0) == pytest.approx(5.011)


def test_what_a_rested_bucket_passes_at_once_is_waited_for():
    byte_s = 8 / 1e6
    lag = Lag(rate_mbit=1.0)
    assert lag.due(1000, now=0.0) == pytest.approx(1000 * byte_s)
    # it was emptied by 1000 bytes, and has rested for 400 bytes' time: 1000 of 1600 are in it
    assert lag.due(1600, now=400 * byte_s) == pytest.approx((400 + 1000) * byte_s)
    # empty: tc delays it, the proxy does not
    assert lag.due(100, now=401 * byte_s) == pytest.approx(1400 * byte_s)
    rested = Lag(rate_mbit=1.0)
    assert rested.due(100 * BURST_BYTES, now=0.0) == pytest.approx(BURST_BYTES * byte_s)


def test_the_proxy_hands_on_every_byte_both_ways_and_the_end():
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data[::-1] if len(data) == 1 else data)
        writer.close()

    async def through() -> bytes:
        async with await asyncio.start_server(echo, "127.0.0.1", 0) as far:
            port = far.sockets[0].getsockname()[1]
            async with await proxy(0, "127.0.0.1", port, lambda: Lag(0.001, 100.0)) as near:
                reader, writer = await asyncio.open_connection(*near.sockets[0].getsockname()[:2])
                writer.write(bytes(range(256)) * 500)
                back = await reader.readexactly(256 * 500)
                writer.close()
                return back + await reader.read()

    assert asyncio.run(asyncio.wait_for(through(), 30)) == bytes(range(256)) * 500


def test_a_server_that_is_not_there_ends_the_connection():
    async def through() -> bytes:
        async with await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0) as gone:
            port = gone.sockets[0].getsockname()[1]
        async with await proxy(0, "127.0.0.1", port, Lag) as near:
            reader, _ = await asyncio.open_connection(*near.sockets[0].getsockname()[:2])
            return await reader.read()

    assert asyncio.run(asyncio.wait_for(through(), 30)) == b""


def test_tc_is_told_bits_a_second():
    assert shaping("n", "c", 5.85)[8:14] == ["tbf", "rate", "5850000bit", "burst", f"{BURST_BYTES}", "latency"]


def test_where_namespaces_cannot_be_made_the_result_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(runtime_links.shutil, "which", lambda tool: None if tool == "tc" else tool)
    assert runtime_device.measure_links(tmp_path, (0.0,), 1, print) == {"rows": None, "left_out": "tc not found"}


def test_parts_that_are_none_are_refused(capsys):
    with pytest.raises(SystemExit):
        runtime.parser().parse_args(["--parts", "overhead,speed"])
    assert "'overhead,speed': give some of overhead,load" in capsys.readouterr().err
    assert runtime.parser().parse_args(["--parts", "links,load"]).parts == ("links", "load")


# ---- the ledger ------------------------------------------------------------------------------------------------------------


def test_each_request_once_and_each_result_its_own():
    ledger = Ledger(KNOWN)
    for number in range(5):
        ledger.result(number, KNOWN[number % 3] + 1e-5)
    ledger.error(5, "EdgeError")
    assert ledger.figures(6) == {
        "requests": 6,
        "results": 5,
        "errors": {"EdgeError": 1},
        "missing": 0,
        "twice": 0,
        "never_sent": 0,
        "strangers": 0,
        "exact": True,
    }


@pytest.mark.parametrize(
    ("ends", "field"),
    [([0, 1], "missing"), ([0, 1, 2, 2], "twice"), ([0, 1, 2, 7], "never_sent")],
)
def test_a_request_that_ends_otherwise_is_found(ends, field):
    ledger = Ledger(KNOWN)
    for number in ends:
        ledger.result(number, KNOWN[number % 3])
    found = ledger.figures(3)
    assert (found[field], found["exact"]) == (1, False)


@pytest.mark.parametrize("output", [KNOWN[1], KNOWN[0] + 0.01, KNOWN[0] * torch.nan, KNOWN[:1]])
def test_a_result_that_is_not_its_own_is_found(output):
    ledger = Ledger(KNOWN)
    ledger.result(0, output)
    found = ledger.figures(1)
    assert (found["strangers"], found["missing"], found["exact"]) == (1, 0, False)


def test_outputs_that_are_alike_tell_nothing():
    with pytest.raises(ValueError, match="inputs 0 and 1 have outputs"):
        Ledger(torch.tensor([[1.0, 0.0], [1.0, 1e-5], [9.0, 9.0]]))


# ---- the load generator ----------------------------------------------------------------------------------------------------


class Echo(edge_pb2_grpc.EdgeServicer):
    """Answers with the body, every fifth request with a refusal; on a stream two requests change places."""

    def __init__(self, *, streams: bool) -> None:
        self.streams, self.seen, self.hellos = streams, [], []

    async def Open(self, hello, context):  # noqa: N802
        return edge_pb2.Welcome(session=hello.session, entry=hello.entry, max_in_flight=8, streams=self.streams)

    def answer(self, request):
        self.seen.append(request.body)
        if request.id % 5 == 0:
            return edge_pb2.Answer(id=request.id, refusal=edge_pb2.Refusal(cause="server full"))
        return edge_pb2.Answer(id=request.id, output=request.body, timing=edge_pb2.Timing(batch=2, tail=1_000_000))

    async def Infer(self, request, context):  # noqa: N802
        said = dict(context.invocation_metadata())
        self.hellos.append((said["featcodec-hello"], "featcodec-hello-bin" in said))
        if len(self.hellos) == 1:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "who are you?", (("featcodec-cause", "unknown session"),))
        return self.answer(request)

    async def Stream(self, requests, context):  # noqa: N802
        held = None
        async for request in requests:
            if held is None:
                held = request
            else:
                yield self.answer(request)
                yield self.answer(held)
                held = None
        if held is not None:
            yield self.answer(held)


async def replayed(servicer: Echo, stored: Stored, requests: int, in_flight: int) -> Replayed:
    server = grpc.aio.server()
    edge_pb2_grpc.add_EdgeServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        return await asyncio.wait_for(replay(f"127.0.0.1:{port}", stored, requests, in_flight), 30)
    finally:
        await server.stop(None)


def stored_requests() -> Stored:
    hello = edge_pb2.Hello(protocol=1, session=bytes(16), entry="ours")
    return Stored(hello.SerializeToString(), [b"a", b"", b"ccc"])


def test_stored_requests_are_read_as_they_were_written(tmp_path):
    stored_requests().save(tmp_path / "stored.npz")
    assert Stored.load(tmp_path / "stored.npz") == stored_requests()


@pytest.mark.parametrize("streams", [True, False])
def test_a_replay_sends_everything_once_and_counts_it(streams):
    servicer = Echo(streams=streams)
    found = asyncio.run(replayed(servicer, stored_requests(), 10, in_flight=3))
    assert sorted(servicer.seen) == sorted([b"a", b"", b"ccc"][i % 3] for i in range(10))
    figures = found.figures()
    assert (figures["answers"], figures["refused"]) == (8, {"server full": 2})
    assert figures["batch_mean"] == 2
    assert figures["server_ms"]["tail"] == 1.0
    assert 0 < figures["median_ms"] <= figures["p99_ms"]
    # one request was sent again, with the whole hello
    assert sorted(whole for _, whole in servicer.hellos) == ([] if streams else [False] * 10 + [True])
    assert {name for name, _ in servicer.hellos} <= {hello_name(edge_pb2.Hello.FromString(stored_requests().hello)).hex()}


def test_a_replay_asks_for_no_more_than_the_server_takes():
    with pytest.raises(ValueError, match="9 requests in flight: the server takes 8"):
        asyncio.run(replayed(Echo(streams=True), stored_requests(), 10, in_flight=9))


# ---- what people send today ------------------------------------------------------------------------------------------------


def test_torch_save_gives_back_the_tensor_and_runs_no_code():
    codec, x = TorchSaveCodec().eval(), torch.randn(2, 3, 5, 7)
    packets = codec.encode(x)
    assert torch.equal(codec.decode(packets), x)
    payload = packets[0].payload.copy()
    with pytest.raises(BitstreamError, match="was wanted"):
        codec.decode_payload(payload, (3, 5, 8))


def test_pictures_arrive_nearly_as_they_were_and_are_classified():
    found = embedded().head(8)
    pixels = torch.from_numpy(found.images).permute(0, 3, 1, 2).float()
    codec = JpegPictureCodec(quality=95).eval()
    arrived = codec.decode(codec.encode(pixels))
    assert float((arrived - pixels).abs().mean()) < 6
    (images, _) = next(found.batches(8, "cifar10"))
    with torch.no_grad():
        assert torch.allclose(OfPictures(resnet20())(pixels), resnet20()(images), atol=1e-5)
    with pytest.raises(BitstreamError, match="was wanted"):
        codec.decode_payload(codec.encode(pixels)[0].payload, (3, 16, 16))


# ---- the report ------------------------------------------------------------------------------------------------------------


def replay_row(name: str) -> dict:
    found = Replayed(seconds=2.0, took_ns=[1_000_000, 2_000_000, 3_000_000], sent_bytes=300)
    return {"name": name, "in_flight": 32, **found.figures()}


def whole_result() -> dict:
    machine = {"cpu": "a", "cores": 2, "commit": "c", "packages": {"torch": "2", "ray": None}}
    same = spread([1.0, 2.0, 3.0])
    link = {"link": "3G", "rate_mbit": 1.1, "bytes": 9.0, "agrees": 1.0, "pictures": 3}
    ways = [{**link, "delay_ms": d, "way": w, "ms": same} for d in (0.0, 10.0) for w in runtime_report.WAYS]
    parts = {
        "overhead": {
            "one_process_ms": same,
            "service_ms": same,
            "overhead_ms": spread([0.5, 0.6]),
            "uncovered": spread([0.01, 0.02]),
            "stages_ms": {"head": same, "network": same},
        },
        "load": {"gain": spread([1.9, 2.0]), "p99_to_median": spread([6.0, 6.5]), "rows": [replay_row("batched")]},
        "pickle": {"fewer_bytes": 16.0, "faster": spread([0.9, 0.9]), "rows": [replay_row("ours")]},
        "ray": {"rows": [replay_row("Ray Serve")], "left_out": None},
        "chaos": {**Ledger(KNOWN).figures(0), "kills": 3, "resent": 4, "seconds": 5.0},
        "memory": {"rows": [{"requests": 10, "mb": 100.0}, {"requests": 100, "mb": 103.0}], "growth": 0.03},
        "links": {"rows": ways, "left_out": None},
    }
    return {name: {"machine": machine, **part} for name, part in parts.items()}


def test_goals_are_judged_one_by_one():
    found = {goal["what"]: goal["met"] for goal in runtime_goals.goals(whole_result())}
    assert list(found.values()) == [True, True, True, False, True, False, True, True]
    assert all(goal["met"] is None for goal in runtime_goals.goals({}))
    assert "not met" in goals_table(runtime_goals.goals(whole_result()))


def test_a_stranger_or_a_lost_request_misses_the_goal():
    for field in ("missing", "twice", "never_sent", "strangers"):
        result = whole_result()
        result["chaos"][field] = 1
        assert next(g for g in runtime_goals.goals(result) if "exactly one" in g["what"])["met"] is False


def test_every_part_is_shown_and_the_links_are_drawn(tmp_path):
    text = runtime_report.summary(whole_result())
    assert all(f"## {title}" in text for title in runtime_report.TITLES.values())
    assert "| 1.1 | 10 | 2.0 [1.2, 2.8] |" in text
    assert runtime_report.plot(whole_result(), tmp_path) == ["links.png"]
    assert (tmp_path / "links.png").stat().st_size > 5000


def test_a_part_that_was_left_out_says_why(tmp_path):
    result = whole_result()
    result["links"] |= {"rows": None, "left_out": "ip not found"}
    result["ray"] |= {"rows": [], "left_out": "ray is not installed"}
    text = runtime_report.summary(result)
    assert "Left out: ip not found" in text
    assert "Left out: ray is not installed" in text
    assert runtime_report.plot(result, tmp_path) == []
