"""A device's payload coders write the bytes of torch's codecs, for the same numbers; what does not run is refused by name."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import featcodec as fc
from featcodec import device
from featcodec.payloads.coders import CODERS
from featcodec.registry import builtin_codecs
from tests.features import taken_batch
from tests.goldens import configs, prepared

pytestmark = pytest.mark.usefixtures("one_thread")
ANALOG = {"jscc", "vfe"}
WITH_TORCH_ALONE = {*ANALOG, "ans", "heif", "variable-rate"}
EXAMPLES = configs()
RUN = [c for c in EXAMPLES if c["id"] in CODERS.ids() and c.get("mode") != "analog"]
REFUSED = [c for c in EXAMPLES if c not in RUN]
LEARNED = "ldpc:inner=(dsc:maps=8,reduced=4,step=0.25)"


def name(config):
    return "-".join(str(value) for value in config.values())


def on_device(codec: fc.Codec) -> device.DeviceCodec:
    """The device's twin, its config and state through JSON and bytes as a file has them."""
    state = {key: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape) for key, a in codec.device_state().items()}
    return device.codec(json.loads(json.dumps(codec.config())), state)


def sent(codec: fc.Codec, twin: device.DeviceCodec, x: torch.Tensor) -> list[fc.Packet]:
    """What the device sends of a feature in torch: its numbers, or the latents that the network makes of them."""
    network, dtype = codec.device_network(), str(x.dtype).removeprefix("torch.")
    if network is None:
        return twin.encode(x.float().numpy(), dtype=dtype)
    with torch.no_grad():
        rows = [network.eval()(x[i : i + 1].float()) for i in range(len(x))]
    return twin.encode(torch.cat(rows).numpy(), dtype=dtype, shape=x.shape[1:])


def bytes_of(packets: list[fc.Packet]) -> list[bytes]:
    return [packet.to_bytes() for packet in packets]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("config", [*RUN, fc.get_codec(LEARNED).config()], ids=name)
def test_the_bytes_are_those_of_torch(config, dtype):
    codec = prepared(config)
    x = taken_batch(codec)
    x = x.clamp(-6e4, 6e4).to(dtype) if dtype is torch.float16 else x.to(dtype)
    twin = on_device(codec)
    packets = sent(codec, twin, x)
    assert bytes_of(packets) == bytes_of(codec.encode(x))
    assert len(packets) == len(x)
    # one by one, too
    assert bytes_of(sent(codec, twin, x[2:3])) == bytes_of(packets[2:3])


@pytest.mark.parametrize("config", [c for c in RUN if CODERS.class_of(c["id"]).decodes], ids=name)
def test_what_the_device_decodes_is_what_torch_decodes(config):
    codec = prepared(config)
    packets = codec.encode(taken_batch(codec))
    assert np.array_equal(on_device(codec).decode(packets), codec.decode(packets).numpy())
    other = fc.get_codec("bitpack:bits=5").encode(torch.rand(1, 2))
    with pytest.raises(fc.BitstreamError, match="of config"):
        on_device(codec).decode(other)


@pytest.mark.parametrize("shape", [(), (3,), (5, 4), (2, 3, 4, 5)])
@pytest.mark.parametrize("spec", ["context:bits=4,axis=map", "bitpack:bits=3,axis=token", "half", "png", "ldpc:groups=2"])
def test_samples_of_any_rank(spec, shape):
    codec = fc.get_codec(spec)
    x = torch.randn(3, *shape)
    twin = on_device(codec)
    assert bytes_of(twin.encode(x.numpy())) == bytes_of(codec.encode(x))
    if twin._coder.decodes:
        assert np.array_equal(twin.decode(twin.encode(x.numpy())), codec(x).numpy())


def test_an_empty_batch_is_no_packets_and_strides_do_not_matter():
    twin = device.codec({"id": "huffman", "bits": 4, "axis": "sample"})
    assert twin.encode(np.zeros((0, 3, 4), np.float32)) == []
    x = np.random.default_rng(0).random((2, 3, 4, 5), np.float32)
    wanted = bytes_of(twin.encode(x))
    assert bytes_of(twin.encode(np.asfortranarray(x))) == wanted
    assert bytes_of(twin.encode(x.astype(">f4").astype("=f4"))) == wanted


# ---- what is refused --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", REFUSED, ids=name)
def test_what_runs_with_torch_alone_is_refused_by_name(config):
    codec = prepared(config)
    wanted = (
        "sends words, mode=digital, got mode=analog" if config["id"] == "bottlenet++" else "does not run without torch; these"
    )
    with pytest.raises(fc.ConfigError, match=rf"{config['id'].replace('+', '.')}' {wanted}"):
        on_device(codec)


def test_every_builtin_codec_runs_or_is_refused():
    assert {c["id"] for c in RUN} | {c["id"] for c in REFUSED} == set(builtin_codecs())
    assert set(builtin_codecs()) - set(CODERS.ids()) == WITH_TORCH_ALONE


def test_a_codec_around_one_that_does_not_run_is_refused_by_the_inner_name():
    with pytest.raises(fc.ConfigError, match="codec 'ans' does not run without torch"):
        on_device(fc.get_codec("ldpc:inner=ans"))
    with pytest.raises(fc.ConfigError, match="in one group, got groups=2"):
        on_device(fc.get_codec("ldpc:inner=(dsc:maps=8),groups=2"))


STATIC = {"id": "context", "bits": 4, "axis": "sample", "tables": "static"}


@pytest.mark.parametrize(
    ("config", "state", "match"),
    [
        ({"id": "huffman", "bits": 99}, {}, "bits must be an integer 1..16, got 99"),
        ({"id": "huffman", "color": 1}, {}, "codec 'huffman' has no parameter color"),
        ({"bits": 4}, {}, 'a config needs a string under "id"'),
        (STATIC, {}, "static tables need order0_table, uint8 .640,., in the state, got nothing"),
        (STATIC, {"order0_table": np.zeros(3, np.uint8)}, "got uint8 .3,."),
        ({"id": "dsc"}, {}, "codec 'dsc' needs 'coder'"),
        ({"id": "bottlenet"}, {}, "codec 'bottlenet' needs 'inner'"),
        ({"id": "ldpc"}, {}, "codec 'ldpc' needs 'inner'"),
        ({"id": "entropic", "step": 1.0}, {}, "codec 'entropic' needs 'prior.frequencies'"),
        (
            {"id": "entropic", "step": 1.0},
            {"prior.frequencies": np.zeros((2, 3), np.int32), "prior.first": np.zeros(2, np.int32)},
            "tables of entropic are",
        ),
        ({"id": "vq", "bits": 2}, {"codebook": np.zeros((1, 3, 2), np.float32)}, "a codebook of 2 bits is .books, 4, length."),
        ({"id": "vq", "bits": 2}, {}, "codec 'vq' needs 'codebook'"),
    ],
    ids=lambda value: str(value.get("id", "")) if isinstance(value, dict) else None,
)
def test_configs_and_states_that_are_no_codec_s(config, state, match):
    with pytest.raises(fc.ConfigError, match=match):
        device.codec(config, state)


def test_static_tables_that_no_training_makes():
    state = fc.get_codec(STATIC).device_state()
    state["table_sizes"] = state["table_sizes"] - 1000
    with pytest.raises(fc.ConfigError, match="the static tables of 'context'"):
        device.codec(STATIC, state)


def test_features_that_are_none():
    twin = device.codec({"id": "rans", "bits": 4, "axis": "sample"})
    x = np.ones((2, 3, 4), np.float32)
    for bad, error, match in (
        (x.astype(np.float64), fc.FeatureTypeError, "float32 or float16, got float64"),
        ([1.0], fc.FeatureTypeError, "got list"),
        (np.float32(1), fc.FeatureTypeError, "got float32"),
        (np.ones((2, 0), np.float32), fc.FeatureError, "a sample must not be empty"),
        (
            np.where(np.arange(4) == 2, np.float32(np.nan), x),
            fc.FeatureError,
            r"got nan at index \(0, 0, 2\) of shape \(2, 3, 4",
        ),
    ):
        with pytest.raises(error, match=match):
            twin.encode(bad)
    with pytest.raises(fc.FeatureTypeError, match="a packet carries float32, float16 or bfloat16, got 'int8'"):
        twin.encode(x, dtype="int8")
    with pytest.raises(fc.FeatureError, match="codec 'rans' takes no shape="):
        twin.encode(x, shape=(3, 4))


def test_values_beyond_a_step_s_integers_are_sent_as_torch_sends_them():
    codec = fc.get_codec("rans:step=0.001")
    x = np.array([[0.5, 100.0, -3e8, 1.25]], np.float32)
    packets = on_device(codec).encode(x)
    assert bytes_of(packets) == bytes_of(codec.encode(torch.from_numpy(x)))
    assert codec.decode(packets).tolist() == [[0.5, 100.0, -3e8, 1.25]]


def test_latents_that_are_none():
    twin = on_device(fc.get_codec("vq:maps=8,height=7,width=5,hidden=6,groups=2,bits=3"))
    with pytest.raises(fc.FeatureError, match="codec 'vq' needs shape="):
        twin.encode(np.ones((1, 6), np.float32))
    with pytest.raises(fc.FeatureError, match=r"2 books of codewords of 3 were expected, got \(1, 7\)"):
        twin.encode(np.ones((1, 7), np.float32), shape=(8, 7, 5))
    with pytest.raises(fc.ConfigError, match="codec 'vq' decodes with torch alone"):
        twin.decode([])
    infinite = np.array([[np.nan, np.inf, -np.inf, 1, 2, 3]], np.float32)
    finite = np.array([[0, 1e30, -1e30, 1, 2, 3]], np.float32)
    assert bytes_of(twin.encode(infinite, shape=(8, 7, 5))) == bytes_of(twin.encode(finite, shape=(8, 7, 5)))
