"""From features and the tail's sensitivity to the integers of a `transform` codec's state: docs/transform.md, "The idea"."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcodec.payloads.transform import Layout, zones_of

Arrays = dict[str, NDArray[Any]]

LARGEST = 8191  # of v
_HEADROOM = 1.25  # what other features may have beyond calibration's largest value before they are sent as escapes
_STRONGEST = 2.0**17.5  # the standard deviation of the strongest component: a quarter of the coarsest step
_ROW_LIMIT = 61440
_MOST_SHIFT = 24
_JOINT_BITS = 7  # the joint stage's and the decoder's numbers are 2^7 of T's


# ---- blocks of coefficients ---------------------------------------------------------------------------------------------


def cosines(n: int) -> Tensor:
    """Return the orthonormal cosine transform (n, n), float32: a row for each frequency."""
    k, i = torch.arange(n).double()[:, None], torch.arange(n).double()
    rows = torch.cos(math.pi * (2 * i + 1) * k / (2 * n)) * math.sqrt(2 / n)
    rows[0] /= math.sqrt(2)
    return rows.float()


def coefficients(layout: Layout, grids: Tensor, mode: str) -> Tensor:
    """Return grids (n, C, h, w) as coefficients (n * blocks, F, C); `mode`, "replicate" or "constant", fills edges up."""
    bh, bw = layout.block_height, layout.block_width
    n, maps, height, width = grids.shape
    padded = torch.nn.functional.pad(grids, (0, -width % bw, 0, -height % bh), mode)
    blocks = padded.reshape(n, maps, -(-height // bh), bh, -(-width // bw), bw)
    y = torch.einsum("ay,ncrysx,bx->nrsabc", cosines(bh), blocks, cosines(bw))
    return y.reshape(-1, bh * bw, maps)


def scale_of(grids: Tensor, mean: Tensor) -> int:
    """Return s: the largest difference from the mean, and a quarter more, is below 2^13 in units of 2^-s."""
    largest = float((grids - mean).abs().max()) * _HEADROOM
    widest = float(mean.abs().max())
    most = max(largest / LARGEST, widest / 24000)
    return 9 if most == 0 else max(-100, min(100, math.floor(-math.log2(most))))


def mean_of(layout: Layout, grids: Tensor) -> Tensor:
    """Return the mean at each position of a block, (C, bh, bw)."""
    bh, bw = layout.block_height, layout.block_width
    mean = grids.double().mean(0)
    padded = torch.nn.functional.pad(mean[None], (0, -mean.shape[2] % bw, 0, -mean.shape[1] % bh), "replicate")[0]
    return padded.reshape(len(mean), padded.shape[1] // bh, bh, -1, bw).mean((1, 3)).float()


def spread_mean(mean: Tensor, height: int, width: int) -> Tensor:
    """Return a block's mean at every position of a grid."""
    rows, columns = torch.arange(height) % mean.shape[1], torch.arange(width) % mean.shape[2]
    return mean[:, rows[:, None], columns]


# ---- one transform ------------------------------------------------------------------------------------------------------


def root(metric: Tensor) -> tuple[Tensor, Tensor]:
    """Return the square roots of symmetric matrices (..., n, n), and their inverses."""
    values, vectors = torch.linalg.eigh(metric)
    values = values.clamp_min(1e-12).sqrt()
    return vectors * values.unsqueeze(-2) @ vectors.mT, vectors / values.unsqueeze(-2) @ vectors.mT


def klt(covariance: Tensor, metric: Tensor) -> tuple[Tensor, Tensor]:
    """Return U = E^T M^1/2 (..., n, n), the strongest component first, and its inverse."""
    half, inverse = root(metric)
    vectors = torch.linalg.eigh(half @ covariance @ half)[1].flip(-1)
    return vectors.mT @ half, inverse @ vectors


def second_moments(y: Tensor, zone: Tensor, group: int) -> Tensor:
    """Return y's mean product in each zone (F', groups, G, G), double: of coefficients (n, F, C), `zone` (F,)."""
    n, _, maps = y.shape
    found = []
    for frequencies in _members(zone):
        grouped = y[:, frequencies].reshape(-1, maps // group, group).permute(1, 2, 0)
        found.append(torch.matmul(grouped, grouped.mT).double() / (n * len(frequencies)))
    return torch.stack(found)


def _members(zone: Tensor) -> list[Tensor]:
    """The frequencies of each zone."""
    return [torch.nonzero(zone == number)[:, 0] for number in range(int(zone.max()) + 1)]


def regular(metric: Tensor, share: float) -> Tensor:
    """Return metrics (F', groups, G, G) of which `share` is the mean of the diagonal: none is without length anywhere."""
    trace = metric.diagonal(dim1=-2, dim2=-1).mean(-1)
    level = trace * (share + 0.01) + trace.mean() * 1e-3
    return (1 - share) * metric + level[..., None, None] * torch.eye(metric.shape[-1], dtype=metric.dtype)


def to_diagonal(moments: Tensor, share: float) -> Tensor:
    """Return matrices (n, n) of which `share` off the diagonal is taken away."""
    return (1 - share) * moments + share * torch.diag(moments.diagonal())


def multiply(matrices: Tensor, y: Tensor, zone: Tensor) -> Tensor:
    """Return matrices (F', groups, G, G) times coefficients (n, F, C) of their zones' frequencies, `zone` (F,)."""
    group = matrices.shape[-1]
    made = torch.empty_like(y)
    for matrix, frequencies in zip(matrices.float(), _members(zone), strict=True):
        part = y[:, frequencies]
        grouped = part.reshape(-1, y.shape[2] // group, group).permute(1, 2, 0)
        made[:, frequencies] = torch.matmul(matrix, grouped).permute(2, 0, 1).reshape(part.shape)
    return made


# ---- to integers --------------------------------------------------------------------------------------------------------


def integer_rows(rows: Tensor) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Return rows (..., n) as integers and each row's shift: as fine as int16 and a sum of absolutes of 61440 allow."""
    length = rows.shape[-1]
    largest = rows.abs().amax(-1) if length else rows.sum(-1)
    most = torch.maximum(rows.abs().sum(-1) / (_ROW_LIMIT - length), largest / 32767).clamp_min(2.0**-_MOST_SHIFT)
    shift = (-torch.log2(most)).floor().clamp(0, _MOST_SHIFT)
    # a row whose sum is too large without a shift is made shorter: it leads from what is hardly ever coded
    fitting = rows * 2 ** shift[..., None] / (most * 2**shift).clamp_min(1)[..., None]
    return fitting.round().numpy().astype(np.int16), shift.numpy().astype(np.uint8)


def fit(layout: Layout, grids: Tensor, gradients: Tensor | None, shrinkage: float) -> Arrays:
    """Return the state without classes and tables, which are measured with it.

    Parameters
    ----------
    grids
        (n, C, h, w) float32: features.
    gradients
        (m, C, h, w) float32: the output's, by the feature; None counts every direction alike.
    shrinkage
        0..1: the share of a metric's mean that takes part in it for certain.
    """
    mean = mean_of(layout, grids)
    scale = scale_of(grids, spread_mean(mean, *grids.shape[2:]))
    mean = (mean * 2.0**scale).round()
    v = grids * 2.0**scale - spread_mean(mean, *grids.shape[2:])
    y = coefficients(layout, v, "replicate") * gain(layout)
    g = None if gradients is None else coefficients(layout, gradients, "constant")
    zones = zones_of(layout.block_height, layout.block_width, layout.zones)
    zone = torch.from_numpy(zones).long()
    forward, inverse, offset = stages(layout.group, zone, y, g, shrinkage)
    z = multiply(forward, y, zone).reshape(len(y), -1)
    offset = offset.reshape(-1)
    weight = 2.0 ** (-offset / 8)
    spread = z.square().mean(0)
    chosen = torch.argsort(spread * weight**2, descending=True)[: layout.joint].sort().values
    joint = torch.zeros(2, 0, 0, dtype=torch.float64)
    if layout.joint:
        moved = None if g is None else multiply(inverse.mT, g, zone).reshape(len(g), -1)[:, chosen].double()
        joint = torch.stack(joint_stage(z[:, chosen].double(), moved, shrinkage))
        spread[chosen] = (z[:, chosen] @ joint[0].float().T).square().mean(0)
        offset[chosen] = 0
    unit = _STRONGEST / max(float(spread.max()) ** 0.5, 1e-9)
    unit = min(unit, 60000 / max(float(forward.abs().sum(-1).max()), 1e-9))
    return {
        "scale": np.array([scale], np.int32),
        "mean": mean.numpy().astype(np.int16),
        "zone": zones,
        "chosen": chosen.numpy().astype(np.int32),
        "offset": offset.numpy().astype(np.uint8),
        **_integers(layout, forward * unit, inverse * (2.0**_JOINT_BITS / unit), joint),
    }


def gain(layout: Layout) -> float:
    """Return what the integer cosine transform multiplies the orthonormal one's coefficients by."""
    r1, r2 = pass_shifts(layout)
    return 2.0 ** (26 - r1 - r2)


def pass_shifts(layout: Layout) -> tuple[int, int]:
    """Return r1 and r2."""
    bound, shifts = float(LARGEST), []
    for n in (layout.block_width, layout.block_height):
        most = bound * float((cosines(n).double() * 8192).round().abs().sum(1).max())
        shift = next(r for r in range(32) if most / 2**r < 32767.5)
        shifts.append(shift)
        bound = math.floor(most / 2**shift + 0.5)
    return shifts[0], shifts[1]


def stages(group: int, zone: Tensor, y: Tensor, g: Tensor | None, shrinkage: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the transforms of each zone's groups of maps and their inverses, (F', groups, G, G) double, and offsets (F, C).

    A zone's transform is scaled to the most sensitive of its frequencies, component by component; the others' steps are coarser
    by their offset.
    """
    covariance = second_moments(y, zone, group)
    offset = torch.zeros(y.shape[1:])
    if g is None:
        metric = torch.eye(group, dtype=torch.float64).expand_as(covariance)
        return *klt(covariance, metric), offset
    raw = second_moments(g, zone, group)
    length = raw.diagonal(dim1=-2, dim2=-1).mean().clamp_min(1e-300)
    forward, inverse = klt(covariance, regular(raw / length, shrinkage))
    moved = multiply(inverse.mT, g, zone).square().mean(0) / length
    sensitivity = (moved + 1e-3 * moved.mean()).sqrt()
    for number, frequencies in enumerate(_members(zone)):
        if len(frequencies) > 1:
            most = sensitivity[frequencies].amax(0)
            offset[frequencies] = (8 * torch.log2(most / sensitivity[frequencies])).round().clamp(0, 96)
            rows = most.reshape(forward.shape[1:3]).double()
            forward[number] *= rows[..., None]
            inverse[number] /= rows[:, None]
    return forward, inverse, offset


def joint_stage(z: Tensor, g: Tensor | None, shrinkage: float) -> tuple[Tensor, Tensor]:
    """Return the transform of the chosen coefficients (n, n0) together, and its inverse."""
    share = min(3 * shrinkage, 0.9)
    covariance = to_diagonal(z.T @ z / len(z), share / 2)
    metric = torch.eye(z.shape[1], dtype=torch.float64)
    if g is not None:
        raw = to_diagonal(g.T @ g / len(g), share)
        metric = raw / raw.diagonal().mean().clamp_min(1e-300) + 1e-6 * metric
    return klt(covariance, metric)


def _integers(layout: Layout, forward: Tensor, inverse: Tensor, joint: Tensor) -> Arrays:
    found: Arrays = {}
    shape = (layout.zones, layout.maps, layout.group)
    named = {"analysis": forward.reshape(shape), "synthesis": inverse.reshape(shape)}
    named |= {"joint_analysis": joint[0] * 2.0**_JOINT_BITS, "joint_synthesis": joint[1]}
    for name, rows in named.items():
        found[name], found[f"{name}_shift"] = integer_rows(rows)
    return found
