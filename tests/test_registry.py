"""Registry and spec strings."""

from __future__ import annotations

import builtins
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

import featcodec as fc
from featcodec import registry
from featcodec.codecs.raw import RawCodec
from featcodec.spec import format_spec, parse_spec


def test_the_first_codecs_are_there_sorted():
    ids = fc.list_codecs()
    assert list(ids) == sorted(ids)
    assert set(ids) >= {"ans", "bitpack", "half", "heif", "huffman", "jpeg", "png", "raw", "webp"}


def test_three_ways_to_ask_for_one_codec():
    wanted = {"id": "huffman", "bits": 4, "axis": "sample"}
    for codec in (fc.get_codec("huffman", bits=4), fc.get_codec("huffman:bits=4"), fc.get_codec({"id": "huffman", "bits": 4})):
        assert codec.config() == wanted
    assert fc.get_codec("huffman:bits=4", bits=2).config()["bits"] == 2


def test_unknown_ids_name_what_is_near():
    with pytest.raises(fc.UnknownCodecError, match="no codec 'hufman'; did you mean huffman"):
        fc.get_codec("hufman")
    with pytest.raises(KeyError, match="known: ans"):
        fc.codec_class("zzz")
    with pytest.raises(fc.UnknownCodecError, match=r"did you mean .*bec"):
        fc.get_channel("bac:p=1")


BAD_PARAMETERS = [
    ("huffman:bits=0", r"bits must be an integer 1\.\.16, got 0"),
    ("huffman:bits=17", "got 17"),
    ("huffman:bits=4.0", "got 4.0"),
    ("huffman:bits=true", "got True"),
    ("huffman:bits=four", "got 'four'"),
    ("huffman:axis=row", "axis must be one of sample, map, token, got 'row'"),
    ("jpeg:quality=0", r"1\.\.100"),
    ("webp:lossless=1", "true or false"),
    ("half:format=float8", "float16, bfloat16"),
    ("raw:bits=4", "no parameter bits; it takes none"),
    ("huffman:depth=4", "it takes axis, bits"),
]


@pytest.mark.parametrize(("spec", "match"), BAD_PARAMETERS)
def test_parameters_out_of_range_or_unknown(spec, match):
    with pytest.raises(fc.ConfigError, match=match):
        fc.get_codec(spec)


@pytest.mark.parametrize(
    "spec",
    [
        "",
        ":bits=4",
        "raw:bits",
        "raw:=4",
        "raw:a=1,a=2",
        "raw:a=(b",
        "raw:a)=1",
        {"bits": 4},
        {"id": 3},
        {"id": "raw", 3: 4},
        7,
    ],
)
def test_malformed_specs_are_refused(spec):
    with pytest.raises(fc.ConfigError):
        parse_spec(spec)


def test_specs_nest():
    spec = "outer:inner=(huffman:bits=4,axis=map),rate=1/2,p=0.5,flag=true,none=null"
    assert parse_spec(spec) == (
        "outer",
        {"inner": "huffman:bits=4,axis=map", "rate": "1/2", "p": 0.5, "flag": True, "none": None},
    )
    assert format_spec({"id": "outer", "inner": {"id": "huffman", "bits": 4}, "p": 0.5}) == "outer:inner=(huffman:bits=4),p=0.5"


@pytest.mark.parametrize(
    ("text", "value"),
    [(".1", 0.1), ("1.", 1.0), ("+.5", 0.5), ("-.5", -0.5), ("1.e2", 100.0), (".5E-1", 0.05), ("+2", 2), ("+1e3", 1000.0)],
)
def test_numbers_in_spellings_that_json_refuses(text, value):
    found = parse_spec(f"x:p={text}")[1]["p"]
    assert (found, type(found)) == (value, type(value))
    assert fc.get_channel("bec:p=.1").p == 0.1


@pytest.mark.parametrize(
    "text", ["nan", "inf", "-inf", "NaN", "Infinity", "+.1e999", "1e999", ".", "+", "1..2", "0..0.3", "1_0", "1/2"]
)
def test_what_is_no_finite_number_stays_text(text):
    assert parse_spec(f"x:p={text}") == ("x", {"p": text})


values = st.one_of(
    st.integers(),
    st.booleans(),
    st.none(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.just("map"),
    st.just("a:b=1,c=2"),
)


def test_lists_are_kept_whole():
    config = {"id": "x", "rate": [[[8, 16], [80, 160]], [[8, 17]]], "n": 3}
    assert parse_spec(format_spec(config)) == ("x", {"rate": config["rate"], "n": 3})
    with pytest.raises(fc.ConfigError, match="parentheses do not match"):
        parse_spec("x:rate=[1,2")
    codec = fc.get_codec("bottlenet:maps=8,inner=(ldpc:inner=(bitpack:bits=4),rate=auto,channel=(bec:p=0.05))").eval()
    again = fc.get_codec(codec.config())
    assert again.config() == codec.config()


@given(st.dictionaries(st.sampled_from(["a", "bits", "inner_spec"]), values))
def test_specs_round_trip(params):
    assert parse_spec(format_spec({"id": "x", **params})) == ("x", params)


class _Mine(RawCodec):
    codec_id = "mine"


def test_registering_a_codec():
    try:
        fc.register_codec("mine", _Mine)
        assert "mine" in fc.list_codecs()
        assert fc.codec_class("mine") is _Mine
        with pytest.raises(fc.ConfigError, match="taken"):
            fc.register_codec("mine", _Mine)
    finally:
        registry.CODECS.registered.pop("mine", None)
    with pytest.raises(fc.ConfigError, match="taken"):
        fc.register_codec("raw", RawCodec)
    with pytest.raises(fc.ConfigError, match=r"package\.module:Class"):
        fc.register_codec("other", "nothing")
    with pytest.raises(fc.ConfigError, match="names itself 'mine'"):
        fc.register_codec("other", _Mine)
    with pytest.raises(fc.ConfigError, match="subclass"):
        fc.register_codec("other", int)
    with pytest.raises(fc.ConfigError, match="without spaces"):
        fc.register_codec("a b", _Mine)


def test_registering_by_name_imports_when_asked():
    try:
        fc.register_codec("later", "no_such_package.codecs:Later")
        with pytest.raises(fc.MissingDependencyError, match="needs no_such_package"):
            fc.get_codec("later")
    finally:
        registry.CODECS.registered.pop("later", None)


@pytest.mark.parametrize(
    ("codec_id", "package", "extra"), [("ans", "constriction", "ans"), ("heif", "pillow_heif", "heif"), ("png", "PIL", "image")]
)
def test_a_missing_package_is_named_with_the_pip_line_when_its_codec_is_asked_for(monkeypatch, codec_id, package, extra):
    real = builtins.__import__

    def fake(name, *args, **kwargs):
        if name.split(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        return real(name, *args, **kwargs)

    for room in ("codecs", "payloads"):
        monkeypatch.delitem(sys.modules, f"featcodec.{room}.{codec_id}", raising=False)
    monkeypatch.setattr(builtins, "__import__", fake)
    assert codec_id in fc.list_codecs()
    with pytest.raises(
        fc.MissingDependencyError, match=rf"codec '{codec_id}' needs {package}.*pip install 'featcodec\[{extra}\]'"
    ):
        fc.get_codec(codec_id)


def test_import_pulls_in_no_optional_package_and_no_codec():
    code = (
        "import sys, featcodec\n"
        "optional = ('torch', 'PIL', 'pillow_heif', 'constriction', 'matplotlib', 'rich', 'safetensors')\n"
        "bad = [m for m in sys.modules if m.split('.')[0] in optional]\n"
        "bad += [m for m in sys.modules if m.startswith('featcodec.codecs')]\n"
        "assert not bad, bad\n"
        "featcodec.get_codec('raw')\n"
        "optional = tuple(set(optional) - {'torch'})\n"
        "bad = [m for m in sys.modules if m.split('.')[0] in optional or m == 'torch._dynamo']\n"
        "bad += [m for m in sys.modules if m.startswith('featcodec.codecs.') and m != 'featcodec.codecs.raw']\n"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_every_public_name_is_found_where_it_is_said_to_live_and_no_other():
    assert fc.__all__ == sorted(fc.__all__)
    assert all(getattr(fc, name) is not None for name in fc.__all__)
    assert set(fc.__all__) <= set(dir(fc))
    with pytest.raises(AttributeError, match="module 'featcodec' has no attribute 'nothing'"):
        _ = fc.nothing


def test_a_number_of_threads_that_was_chosen_is_kept_when_torch_comes():
    code = (
        "import featcodec as fc\n"
        "{}\n"
        "import torch\n"
        "torch.set_num_threads(1)\n"
        "fc.get_codec('raw')\n"
        "print(fc.core_info()['threads'])"
    )
    for before, threads in (("", "1"), ("fc.set_num_threads(3)", "3")):
        done = subprocess.run([sys.executable, "-c", code.format(before)], capture_output=True, text=True, timeout=120)
        assert done.stdout.strip() == threads, done.stderr


def test_parameters_are_fixed_once_packets_carry_them():
    codec = fc.get_codec("huffman:bits=4")
    codec.config_crc()
    with pytest.raises(fc.ConfigError, match="bits of a codec in use is fixed"):
        codec.bits = 8
    assert codec.bits == 4


def test_the_command_line_says_so_too():
    code = "import sys; sys.modules['torch'] = None; from featcodec import cli; sys.exit(cli.main(['list']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.strip() == "featcodec.list_codecs needs torch, which is not installed: pip install 'featcodec[torch]'"


@pytest.mark.parametrize(
    "name", ["get_codec", "channel", "Codec", "runtime.Server", "planning.profile", "planning.prune", "planning.search"]
)
def test_without_torch_what_needs_it_says_how_to_install_it(name):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import featcodec as fc, featcodec.planning, featcodec.runtime\n"
        "fc.Packet, fc.PayloadKind, fc.core_info, fc.BitstreamError\n"
        "try:\n"
        f"    fc.{name}\n"
        "except fc.MissingDependencyError as e:\n"
        "    print(e)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    wanted = f"featcodec.{name} needs torch, which is not installed: pip install 'featcodec[torch]'"
    assert done.stdout.strip() == wanted, done.stderr
