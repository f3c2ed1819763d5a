"""Which layouts of a `transform` codec calibration tries for a feature, what there is to calibrate with, and its memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from featcodec.errors import ConfigError
from featcodec.payloads.transform import LARGEST_BLOCK, Layout, grid_of

_SIDES = (16, 14, 8, 7, 4)
_SMALLEST_JOINT = 256
_LARGEST_JOINT = 2048


def layouts(params: Mapping[str, Any], shape: tuple[int, ...], samples: int, max_table: int) -> list[Layout]:
    """Return layouts that keep to the parameters given, the likeliest of them first.

    Parameters
    ----------
    params
        What is given of a layout.
    shape
        Of a sample. Tokens (T, D) and vectors have blocks of one position: they are transformed across D.
    samples
        That calibration has: the joint stage takes no more coefficients.
    max_table
        Numbers that a side's matrices may hold.

    Raises
    ------
    ConfigError
        None has so few numbers.
    """
    grid = grid_of(shape)
    sizes = list(blocks(*grid[1:])) if len(shape) > 2 else [(1, 1)]
    found = list(dict.fromkeys(each for size in sizes for each in _of_block(params, grid, size, samples, max_table)))
    if not found:
        raise ConfigError(f"no transform of {grid[0]} maps keeps to {max_table} numbers a side and to {dict(params)}")
    return [layout.checked() for layout in found]


def blocks(height: int, width: int) -> Iterator[tuple[int, int]]:
    """Yield sizes of blocks (bh, bw): the whole map where it is small, then a divisor of it up to 16 or two, or 8."""
    is_whole = height <= LARGEST_BLOCK and width <= LARGEST_BLOCK
    if is_whole:
        yield height, width
    sides = [side for side in _SIDES if height % side == 0 and width % side == 0 and (height, width) != (side, side)]
    for side in sides[:2]:
        yield side, side
    if not is_whole and not sides:
        yield min(8, height), min(8, width)


def _of_block(
    params: Mapping[str, Any], grid: tuple[int, int, int], block: tuple[int, int], samples: int, max_table: int
) -> Iterator[Layout]:
    maps, height, width = grid
    sides = {"block_height": block[0], "block_width": block[1]}
    has_plain = has_joint = False
    # a shared transform saves memory, and that is all
    for basis in ("frequency", "shared"):
        plain = Layout(**{"maps": maps, **sides, "basis": basis, "group": maps, "joint": 0, **params})
        if plain.basis != basis:
            continue
        if "group" not in params and basis == "shared":
            plain = plain._replace(group=_largest_group(plain, max_table))
        found = [plain] if plain.numbers <= max_table and not has_plain else []
        has_plain = has_plain or bool(found)
        if "joint" not in params and not has_joint and (plain.block_height, plain.block_width) == (height, width):
            found += [plain._replace(joint=joint) for joint in _joints(plain, samples, max_table)]
            has_joint = any(layout.joint for layout in found)
        yield from found


def _largest_group(layout: Layout, max_table: int) -> int:
    """The most maps together that the numbers allow."""
    divisors = (g for g in range(layout.maps, 0, -1) if layout.maps % g == 0)
    return next((g for g in divisors if layout._replace(group=g).numbers <= max_table), 1)


def _joints(layout: Layout, samples: int, max_table: int) -> Iterator[int]:
    """How many coefficients the joint stage may take: powers of two, and the most that the numbers allow."""
    most = min(samples, layout.places, _LARGEST_JOINT, math.isqrt(max(0, max_table - layout.numbers)))
    most -= most % 16
    if layout.places == layout.maps or most < min(_SMALLEST_JOINT, layout.places - layout.places % 16) or most == 0:
        return
    yield most
    if most >= 4 * _SMALLEST_JOINT:
        yield most // 2
