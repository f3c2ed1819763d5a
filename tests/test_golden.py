"""Committed bitstreams decode for ever, and a missing one fails; damaged ones are refused in words written down with them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import featcodec as fc
from tests.goldens import FOLDER, configs, inputs, is_there

FILES = sorted(FOLDER.glob("*/*.npz"))
DAMAGED = json.loads((FOLDER / "damaged.json").read_text())


@pytest.mark.parametrize("config", configs(), ids=lambda c: "-".join(str(v) for v in c.values()))
def test_every_example_has_a_golden(config):
    assert is_there(config), "no golden of today's bytes: make goldens writes it"


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_goldens_decode_to_their_values(path: Path):
    with np.load(path) as file:
        config = json.loads(str(file["config"]))
        packets = [file[f"packet{i}"].tobytes() for i in range(sum(name.startswith("packet") for name in file))]
        values = file["values"]
        state = {key.removeprefix("state."): torch.from_numpy(file[key]) for key in file if key.startswith("state.")}
    codec = fc.get_codec(config).eval()
    codec.load_state_dict(state)
    decoded = codec.decode(packets).numpy()
    # a network's sums may round otherwise on another machine
    assert np.allclose(decoded, values, rtol=1e-3, atol=1e-5) if codec.learned else np.array_equal(decoded, values)


@pytest.mark.parametrize("case", DAMAGED, ids=lambda c: c["name"])
def test_damaged_streams_are_refused(case):
    with pytest.raises(fc.BitstreamError, match=case["error"]):
        fc.get_codec(case["codec"]).decode([bytes.fromhex(case["packet"])])


def test_the_inputs_of_goldens_are_what_they_were():
    """Were torch's generator to change, every golden's input would: that is no codec's fault."""
    x = inputs(fc.get_codec("raw"))
    (path,) = (FOLDER / "raw").glob("*.npz")
    with np.load(path) as file:
        assert torch.equal(x, torch.from_numpy(file["values"]))
