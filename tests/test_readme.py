"""The README tells the truth: its example runs, its codec table and its results are today's."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import featcodec as fc
from benchmarks import readme
from featcodec.registry import builtin_codecs

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text()


def test_the_example_runs():
    code = re.search(r"<!-- example: begin -->\n```python\n(.*?)```", TEXT, re.S).group(1)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "huffman" in done.stdout


def table(section: str) -> dict[str, str]:
    """The parameters by id, from the rows of a section that begin with an id."""
    text = TEXT.split(f"\n## {section}\n")[1].split("\n## ")[0]
    lines = re.findall(r"^\| `[^`]+` \|.*\|$", text, re.M)
    cells = [re.split(r"(?<!\\)\|", line) for line in lines]
    return {row[1].strip(" `"): row[3] for row in cells}


def test_the_codec_table_names_every_codec_and_parameter():
    rows = table("Codecs")
    assert set(rows) == set(builtin_codecs())
    for codec_id, cell in rows.items():
        wanted = set(inspect.signature(fc.codec_class(codec_id)).parameters)
        found = set(re.findall(r"`(\w+)", rows["huffman"] if "the same" in cell else cell))
        assert found == (wanted if wanted != {"args", "kwargs"} else set()), codec_id


def test_the_channel_table_names_every_channel_and_parameter():
    rows = table("Channels")
    assert tuple(rows) == fc.channel.list_channels()
    for channel_id, cell in rows.items():
        wanted = set(inspect.signature(fc.channel.channel_class(channel_id)).parameters) - {"seed"}
        assert set(re.findall(r"`(\w+)", cell)) == wanted, channel_id


def test_the_results_shown_are_the_committed_ones():
    result = json.loads((ROOT / "benchmarks/results/default/results.json").read_text())
    assert readme.render(TEXT, ROOT / "benchmarks/results") == TEXT
    classes = {codec_id: fc.codec_class(codec_id) for codec_id in builtin_codecs()}
    classical = [row for row in result["rows"] if not row.get("trained")]
    assert {row["codec"]["id"] for row in classical} == {c for c, k in classes.items() if not (k.learned or k.protects)}
    assert {row["layer"] for row in result["rows"]} == {"layer1", "layer2", "layer3"}
    pictures = re.findall(r"!\[.*\]\((.*)\)", TEXT)
    assert {Path(picture).parent.name for picture in pictures} == set(readme.SECTIONS)
    assert all((ROOT / picture).is_file() for picture in pictures)


def test_the_curves_bend_where_they_should():
    """On the committed results: 8 bits lose nothing, few bits and low qualities lose visibly."""
    result = json.loads((ROOT / "benchmarks/results/default/results.json").read_text())
    base = result["baseline"]["metric"]
    rows = [(r["layer"], r["codec"], r["metric"]) for r in result["rows"] if not r.get("trained")]
    top1 = {(layer, c["id"], c.get("bits"), c.get("quality")): metric for layer, c, metric in rows}
    for layer in ("layer1", "layer2", "layer3"):
        for codec_id in ("huffman", "bitpack", "ans"):
            assert abs(top1[layer, codec_id, 8, None] - base) <= 0.004
    assert top1["layer1", "huffman", 2, None] < base - 0.05
    assert top1["layer1", "jpeg", None, 5] < base - 0.02
