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
_ZONES_BESIDE_JOINT = 4  # the share of the zones that stay where they would leave no room for a joint stage


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
    plain = Layout(**{"maps": maps, **sides, "zones": 1, "group": maps, "joint": 0, **params})
    if "group" not in params:
        plain = plain._replace(group=_largest_group(plain, max_table))
    if "zones" not in params:
        plain = plain._replace(zones=_most_zones(plain, max_table))
    if plain.numbers <= max_table:
        yield plain
    if "joint" in params or (plain.block_height, plain.block_width) != (height, width):
        return
    fewer = [] if "zones" in params else [plain._replace(zones=max(1, plain.zones // _ZONES_BESIDE_JOINT))]
    for layout in (plain, *fewer):
        joints = list(_joints(layout, samples, max_table))
        yield from (layout._replace(joint=joint) for joint in joints)
        if joints:
            return


def _largest_group(layout: Layout, max_table: int) -> int:
    """The most maps together that the numbers allow."""
    divisors = (g for g in range(layout.maps, 0, -1) if layout.maps % g == 0)
    return next((g for g in divisors if layout._replace(group=g).numbers <= max_table), 1)


def _most_zones(layout: Layout, max_table: int) -> int:
    """The most zones that the numbers allow, and one where they allow none."""
    room = max_table - layout.joint * layout.joint
    return max(1, min(layout.frequencies, room // (layout.maps * layout.group)))


def _joints(layout: Layout, samples: int, max_table: int) -> Iterator[int]:
    """How many coefficients the joint stage may take: powers of two, and the most that the numbers allow."""
    most = min(samples, layout.places, _LARGEST_JOINT, math.isqrt(max(0, max_table - layout.numbers)))
    most -= most % 16
    if layout.places == layout.maps or most < min(_SMALLEST_JOINT, layout.places - layout.places % 16) or most == 0:
        return
    yield most
    if most >= 4 * _SMALLEST_JOINT:
        yield most // 2
