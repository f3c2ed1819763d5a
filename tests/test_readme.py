"""The README tells the truth and is short; the tables of codecs and channels name all there are, with every parameter."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest

import featcodec as fc
from featcodec.registry import builtin_codecs

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
CODECS = (ROOT / "docs" / "codecs.md").read_text()


def rows(text: str, section: str) -> dict[str, list[str]]:
    """The cells after the id, by id, of a section's rows that begin with one."""
    part = text.split(f"\n## {section}\n")[1].split("\n## ")[0]
    lines = re.findall(r"^\| `[^`]+` \|.*\|$", part, re.MULTILINE)
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return {row[0].strip("`"): row[1:] for row in cells}


def test_it_is_short_and_has_one_example_one_picture_and_one_table_of_codecs():
    assert len(README.splitlines()) <= 150
    assert README.count("```python") == README.count("![") == README.count("| `huffman` |") == 1


def test_the_example_runs():
    code = re.search(r"<!-- example: begin -->\n```python\n(.*?)```", README, re.DOTALL).group(1)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "huffman" in done.stdout


def packages(extra: str) -> set[str]:
    """What an extra of the installed package brings, extras that it names included."""
    found: set[str] = set()
    for line in requires("featcodec") or []:
        name, named, marker = re.fullmatch(r"([\w.-]+)(?:\[(.*?)\])?([^;]*(?:;.*)?)", line).groups()
        if re.search(rf"extra == ['\"]{extra}['\"]", marker):
            found |= set().union(*(packages(other) for other in named.split(","))) if named else {name.lower()}
    return found


def test_the_install_line_brings_what_the_example_needs():
    (extra,) = re.findall(r"pip install -e '\.\[(\w+)\]'", README)
    assert packages(extra) >= {"pillow", "safetensors"}  # of the embedded images and of the network's weights
    assert "pillow" not in packages("learned")


def test_links_and_pictures_lead_somewhere():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    for page in (page for page in pages if page.is_file()):
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
            found = (page.parent / target).resolve()
            # next to an installed wheel lie the docs and the benchmarks alone
            known = found.is_relative_to(ROOT / "docs") or found.is_relative_to(ROOT / "benchmarks")
            assert "://" in target or found.exists() or not (known or (ROOT / "csrc").exists()), f"{page}: {target}"


def test_the_readme_s_table_names_every_codec():
    assert list(rows(README, "Codecs")) == list(rows(CODECS, "Codecs"))
    assert set(rows(README, "Codecs")) == set(builtin_codecs())


def test_the_codec_table_names_every_parameter():
    table = {codec_id: cells[1] for codec_id, cells in rows(CODECS, "Codecs").items()}
    assert set(table) == set(builtin_codecs())
    for codec_id, cell in table.items():
        wanted = set(inspect.signature(fc.codec_class(codec_id)).parameters)
        found = set(re.findall(r"`(\w+)", table["huffman"] if "the same" in cell else cell))
        assert found == (wanted if wanted != {"args", "kwargs"} else set()), codec_id


def test_the_channel_table_names_every_channel_and_parameter():
    table = {channel_id: cells[1] for channel_id, cells in rows(CODECS, "Channels").items()}
    assert tuple(table) == fc.channel.list_channels()
    for channel_id, cell in table.items():
        wanted = set(inspect.signature(fc.channel.channel_class(channel_id)).parameters) - {"seed"}
        assert set(re.findall(r"`(\w+)", cell)) == wanted, channel_id


@pytest.mark.parametrize("name", ["using", "training", "device", "two_machines", "channels", "where_to_cut", "benchmarks"])
def test_the_readme_leads_to_the_guide(name):
    assert f"docs/guide/{name}.md" in README
