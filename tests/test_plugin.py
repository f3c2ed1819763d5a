"""A third-party package that registers a codec through an entry point: built, installed and used for real."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PYPROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "featcodec-negate"
version = "1.0"
[project.entry-points."featcodec.codecs"]
negate = "featcodec_negate:NegateCodec"
raw = "featcodec_negate:NegateCodec"
broken = "featcodec_negate:not_a_codec"
[tool.setuptools]
py-modules = ["featcodec_negate"]
"""

MODULE = '''
import numpy as np
from featcodec import Codec

class NegateCodec(Codec):
    """The negative of every value, as float32 bytes."""
    codec_id = "negate"
    def encode_payload(self, x):
        return (-x).reshape(-1).view(np.uint8)
    def decode_payload(self, payload, shape):
        return -payload.view(np.float32).reshape(shape)

not_a_codec = 3
'''

USE = """
import torch, featcodec as fc
assert "negate" in fc.list_codecs()
x = torch.rand(2, 3, 4)
assert torch.equal(fc.get_codec("negate")(x), x)
assert fc.codec_class("raw").__name__ == "RawCodec", "a built-in id is never a plug-in's"
try:
    fc.register_codec("negate", fc.codec_class("negate"))
except fc.ConfigError as e:
    assert "taken" in str(e)
try:
    fc.get_codec("broken")
except fc.ConfigError as e:
    assert "must be a subclass" in str(e)
    print("ok")
"""


def test_a_codec_by_entry_point(tmp_path: Path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    (source / "pyproject.toml").write_text(PYPROJECT)
    (source / "featcodec_negate.py").write_text(MODULE)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(target), str(source)], check=True, timeout=120)
    paths = os.pathsep.join([str(target), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", USE], env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "ok", done.stderr
