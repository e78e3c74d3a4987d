"""Where to start: rotations and shifts tried on small images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import pi

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from ...geometry import warp
from .linear import half_extent
from .pyramid import Images

SIZE = {2: 48, 3: 32}  # voxels along the longest axis
TURNS = 24  # of the plane
TILTS = tuple(np.deg2rad([-45.0, -20.0, 20.0, 45.0]))  # about each axis of a volume
LEAST_OVERLAP = 0.35  # of the smaller image


@dataclass(frozen=True)
class Candidate:
    """A start: a world matrix (D+1, D+1) from fixed to moving points, its angle in radians and its correlation."""

    matrix: np.ndarray
    angle: float
    correlation: float


def candidates(images: Images) -> list[Candidate]:
    """For every rotation the shift with the highest normalised correlation, best first.

    Args:
        images: the pair; its first channel is compared.
    """
    fixed_centre, extent = half_extent(images.fixed_grid)
    moving_centre, moving_extent = half_extent(images.moving_grid)
    size = 2 * max(extent, moving_extent) / SIZE[images.dims]
    part = images.coarser(size)
    # both on voxels of one size and the axes of the fixed grid, each about its own centre
    axes = images.fixed_grid.affine[:-1, :-1] / np.linalg.norm(images.fixed_grid.affine[:-1, :-1], axis=0) * size
    fixed, fixed_seen = _centred(part.fixed, part.fixed_grid.affine, fixed_centre, axes)
    found = []
    for turn, angle in _rotations(images.dims):
        moving, moving_seen = _centred(part.moving, part.moving_grid.affine, moving_centre, turn @ axes)
        correlation, shift = best_shift((fixed, fixed_seen), (moving, moving_seen))
        matrix = np.eye(images.dims + 1)
        matrix[:-1, :-1] = turn
        matrix[:-1, -1] = moving_centre + turn @ (axes @ shift - fixed_centre)
        found.append(Candidate(matrix, angle, correlation))
    return sorted(found, key=lambda candidate: -candidate.correlation)


def best_shift(fixed: tuple[Tensor, Tensor], moving: tuple[Tensor, Tensor]) -> tuple[float, np.ndarray]:
    """The whole shift ``s`` at which ``moving(x + s)`` correlates best with ``fixed(x)``, over what both show.

    Args:
        fixed: image and weight, both (*spatial) and of one shape with ``moving``.
        moving: image and weight.

    Returns:
        Normalised correlation and the shift (D,) in voxels.

    References:
        Padfield, Masked object registration in the Fourier domain, IEEE Transactions on Image Processing 21, 2012.
    """
    shape = fixed[0].shape
    padded = [2 * n - 1 for n in shape]
    pieces = []
    for image, weight in (fixed, moving):
        image = (image - (image * weight).sum() / weight.sum().clamp_min(1)).double() * weight
        pieces.append([torch.fft.rfftn(x.double(), s=padded) for x in (weight, image, image.square())])

    def over_shifts(a: Tensor, b: Tensor) -> Tensor:
        return torch.fft.irfftn(a.conj() * b, s=padded)

    (fixed_weight, fixed_sum, fixed_square), (moving_weight, moving_sum, moving_square) = pieces
    count = over_shifts(fixed_weight, moving_weight)
    safe = count.clamp_min(1.0)
    a, b = over_shifts(fixed_sum, moving_weight), over_shifts(fixed_weight, moving_sum)
    covariance = over_shifts(fixed_sum, moving_sum) - a * b / safe
    variances = (over_shifts(fixed_square, moving_weight) - a**2 / safe) * (
        over_shifts(fixed_weight, moving_square) - b**2 / safe
    )
    floor = 1e-10 * float(variances.max()) + 1e-30
    correlation = covariance / variances.clamp_min(floor).sqrt()
    smaller = min(float(fixed[1].sum()), float(moving[1].sum()))
    correlation[count < LEAST_OVERLAP * smaller] = -1
    place = np.array(np.unravel_index(int(correlation.argmax()), padded))
    shift = np.where(place >= np.array(shape), place - np.array(padded), place)
    return float(correlation.max()), shift.astype(np.float64)


def _rotations(dims: int) -> Iterator[tuple[np.ndarray, float]]:
    """Rotation matrices (D, D) with their angles, no rotation first."""
    if dims == 2:
        for step in range(TURNS):
            angle = (2 * pi * step / TURNS + pi) % (2 * pi) - pi
            c, s = np.cos(angle), np.sin(angle)
            yield np.array([[c, -s], [s, c]]), angle
        return
    yield np.eye(3), 0.0
    for axis in np.eye(3):
        for angle in TILTS:
            yield Rotation.from_rotvec(angle * axis).as_matrix(), float(angle)


def _centred(image: Tensor, affine: np.ndarray, centre: np.ndarray, axes: np.ndarray) -> tuple[Tensor, Tensor]:
    """First channel of an image about its centre on a cube of voxels with the given edges (D, D), and what it shows."""
    dims = len(centre)
    side = SIZE[dims] + 1
    steps = torch.stack(torch.meshgrid(*[torch.arange(side) - side // 2] * dims, indexing="ij")).double()
    to_index = np.linalg.inv(affine)
    linear = torch.tensor(to_index[:-1, :-1] @ axes)
    start = torch.tensor(to_index[:-1, :-1] @ centre + to_index[:-1, -1])
    place = torch.einsum("ij,j...->i...", linear, steps) + start.reshape(-1, *[1] * dims)
    index = torch.stack(torch.meshgrid(*[torch.arange(side)] * dims, indexing="ij"))
    field = (place - index)[None].float().to(image.device)
    seen = warp(torch.ones_like(image[:, :1]), field, padding="zeros") > 0.5
    return warp(image[:, :1], field)[0, 0].cpu(), seen[0, 0].float().cpu()
