"""Grids that lie askew, so that no axis, sign or unit can be mistaken for another."""

from __future__ import annotations

import numpy as np
import pytest

from monai_cellreg.geometry import SamplingGrid

SHAPES = {2: (12, 17), 3: (7, 9, 11)}


def turned(dims: int, angle_rad: float) -> np.ndarray:
    """A rotation matrix that mixes all axes."""
    turn = np.eye(dims)
    for first in range(dims - 1):
        step = np.eye(dims)
        cos, sin = np.cos(angle_rad), np.sin(angle_rad)
        step[first : first + 2, first : first + 2] = [[cos, -sin], [sin, cos]]
        turn = turn @ step
    return turn


@pytest.fixture(params=[2, 3], ids=["2d", "3d"])
def spatial_dims(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture
def rotation(spatial_dims: int) -> np.ndarray:
    return turned(spatial_dims, 0.4)


@pytest.fixture
def fixed_grid(spatial_dims: int) -> SamplingGrid:
    """Not square, anisotropic, turned, away from the origin."""
    affine = np.eye(spatial_dims + 1)
    affine[:-1, :-1] = turned(spatial_dims, 0.3) * [1.6, 1.1, 1.9][:spatial_dims]
    affine[:-1, -1] = [30.0, -12.0, 7.0][:spatial_dims]
    return SamplingGrid(SHAPES[spatial_dims], affine)


@pytest.fixture
def moving_grid(spatial_dims: int, fixed_grid: SamplingGrid) -> SamplingGrid:
    """Covers the fixed grid with a margin, by other voxels in another direction."""
    shape = tuple(2 * s + 15 for s in reversed(fixed_grid.shape))
    affine = np.eye(spatial_dims + 1)
    affine[:-1, :-1] = turned(spatial_dims, -0.5) * [1.3, 0.9, 1.7][:spatial_dims]
    middle = fixed_grid.world().flatten(0, -2).mean(0).numpy()
    affine[:-1, -1] = middle - affine[:-1, :-1] @ ((np.array(shape) - 1) / 2)
    return SamplingGrid(shape, affine)
