"""docs/core.md leads through csrc as it is, each .inc file says what it expects, and no source allows -ffast-math."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"
PAGE = (ROOT / "docs" / "core.md").read_text()
INCLUDED = sorted(CSRC.glob("*/*.inc"))

pytestmark = pytest.mark.skipif(not CSRC.is_dir(), reason="beside an installed wheel there are no sources")


def sources() -> dict[str, str]:
    return {path.relative_to(CSRC).as_posix(): path.read_text() for path in CSRC.rglob("*.?pp")}


def test_files_that_the_page_names_are_there():
    for name in re.findall(r"(?:csrc|featcodec|tests)/[\w/]+\.[a-z]+", PAGE):
        assert (ROOT / name).is_file(), name
    folders = re.findall(r"^\| `csrc/(\w+)/` \| (.*) \|$", PAGE, re.MULTILINE)
    assert {folder for folder, _ in folders} == {path.name for path in CSRC.iterdir() if path.is_dir()}
    for folder, text in folders:
        for name in re.findall(r"`([\w*]+\.[ch]pp)`", text):
            assert list((CSRC / folder).glob(name)), name


def test_every_source_has_its_place_on_the_page():
    told = set(re.findall(r"`csrc/([\w*]+)\.[ch]pp`", PAGE)) | set(re.findall(r"csrc/(\w+)\.[ch]pp", PAGE))
    told |= {"crc32c_arm", "crc32c_avx2", "crc32c_kernels", "crushed"}  # parts of checksums; a statistic of `ops.crushed`
    for name in (path.stem for path in CSRC.glob("*.?pp")):
        assert name in told or any(name.startswith(pattern.rstrip("*")) for pattern in told if pattern.endswith("*")), name


def test_names_that_the_page_mentions_are_in_the_sources():
    text = "\n".join(sources().values())
    for name in re.findall(r"`(\w+)(?:\(\))?`", PAGE):
        if name not in ("FEATCODEC_ISA", "core_info", "bitpack", "ans"):
            assert re.search(rf"\b{name}\b", text), name
    assert 'getenv("FEATCODEC_ISA")' in text


@pytest.mark.parametrize("path", INCLUDED, ids=lambda p: p.stem)
def test_an_inc_file_says_at_its_head_what_it_expects(path):
    head = []
    for line in path.read_text().splitlines():
        if not line.startswith("//"):
            break
        head.append(line)
    text = "\n".join(head).split("Expects: ")[1]
    headers = re.findall(r"<[a-z_.]+>|\b\w+\.hpp", text)
    own = set(re.findall(r"\b\w+\.inc", text.split("Includes ")[1])) if "Includes" in text else set()
    assert own == set(re.findall(r'#include "(\w+\.inc)"', path.read_text()))
    for source in (source for name, source in sources().items() if f'"{path.name}"' in source):
        before = source.split(f'"{path.name}"')[0]
        for header in headers:
            assert header in before or header == "<cstdint>" or header == "<cstddef>", header


def test_every_source_refuses_fast_math():
    folders = [CSRC, *(path for path in CSRC.iterdir() if path.is_dir())]

    def included(path: Path, seen: set[Path]) -> set[Path]:
        if path not in seen:
            seen.add(path)
            for name in re.findall(r'#include "([^"]+)"', path.read_text()):
                found = [folder / name for folder in (path.parent, *folders) if (folder / name).exists()]
                included(found[0].resolve(), seen)
        return seen

    files = sorted(CSRC.rglob("*.cpp"))
    assert len(files) > 60
    for source in files:
        assert CSRC / "exact_math.hpp" in included(source, set()), f"{source.name} may be built with -ffast-math"
