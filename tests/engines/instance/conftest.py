"""A scene known at every world point, so that two images of it are related by a map that is known exactly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from monai_cellreg.engines.instance import Images
from monai_cellreg.geometry import AffineTransform, Pair, SamplingGrid, SpatialTransform

SHAPES = {2: (52, 64), 3: (28, 32, 24)}
MOVING_SHAPES = {2: (66, 50), 3: (26, 34, 30)}
SPACING, MOVING_SPACING = (1.2, 0.8, 1.1), (0.9, 1.3, 1.0)
MIDDLE, MOVING_MIDDLE = (40.0, -25.0, 12.0), (42.0, -26.0, 11.0)


class World:
    """The scene around a middle, the grids on which it is seen, and what is seen there.

    Args:
        dims: dimension of the world.
        turned: see the fixture of this name.
    """

    def __init__(self, dims: int, turned: Callable[[int, float], np.ndarray]) -> None:
        random = np.random.default_rng(0)
        count, reach = {2: (150, 45.0), 3: (300, 26.0)}[dims]
        self.dims, self.middle = dims, np.array(MIDDLE[:dims])
        self._centres = torch.tensor(self.middle + random.uniform(-reach, reach, (count, dims)))
        self._widths = random.uniform(2.0, 5.0, count)
        self._heights = random.uniform(0.3, 1.0, count)
        self.fixed_grid = self.grid(SHAPES[dims], turned(dims, 0.3) * SPACING[:dims], self.middle)
        self.moving_grid = self.grid(
            MOVING_SHAPES[dims], turned(dims, -0.4) * MOVING_SPACING[:dims], np.array(MOVING_MIDDLE[:dims])
        )

    def grid(self, shape: tuple[int, ...], linear: np.ndarray, middle: np.ndarray) -> SamplingGrid:
        """A grid of which the centre lies at a point."""
        affine = np.eye(len(shape) + 1)
        affine[:-1, :-1] = linear
        affine[:-1, -1] = middle - linear @ ((np.array(shape) - 1) / 2)
        return SamplingGrid(shape, affine)

    def seen(self, grid: SamplingGrid, transform: SpatialTransform | None = None) -> Tensor:
        """Values of the scene (1, *shape) at the voxels of a grid, or at the points that a map makes of them."""
        points = grid.world().flatten(0, -2)
        points = points if transform is None else transform.points(points)
        values = torch.zeros(len(points), dtype=torch.float64)
        for centre, width, height in zip(self._centres, self._widths, self._heights, strict=True):
            values += height * torch.exp(-(points - centre).square().sum(-1) / (2 * width**2))
        return values.reshape(1, *grid.shape).float()

    def affine(self, linear: np.ndarray, shift: list[float]) -> AffineTransform:
        """An affine map about the middle."""
        return AffineTransform(np.column_stack([linear, self.middle - linear @ self.middle + shift]))

    def pair(self, truth: SpatialTransform, *, moving_grid: SamplingGrid | None = None) -> Pair:
        """A pair of which the map is known."""
        where = moving_grid or self.moving_grid
        return Pair(self.seen(self.fixed_grid, truth), self.seen(where), self.fixed_grid, where, truth=truth)

    def images(self, pair: Pair) -> Images:
        """The images of a pair as they are, with their masks."""
        masks = (None if mask is None else mask[None].float() for mask in (pair.fixed_mask, pair.moving_mask))
        return Images(pair.fixed[None], pair.moving[None], pair.fixed_grid, pair.moving_grid, *masks)

    def error(self, found: SpatialTransform, truth: SpatialTransform) -> Tensor:
        """Distances of two maps in voxels, where the moving image shows what the fixed one does, off the border."""
        points = self.fixed_grid.world()[(slice(6, -6),) * self.dims].flatten(0, -2)
        wanted = truth.points(points)
        index = self.moving_grid.world_to_index(wanted)
        inside = ((index >= 4) & (index <= torch.tensor(self.moving_grid.shape) - 5)).all(dim=1)
        assert float(inside.double().mean()) > 0.3
        return (found.points(points) - wanted)[inside].norm(dim=1) / min(self.fixed_grid.spacing)


@pytest.fixture(scope="session")
def worlds(turned: Callable[[int, float], np.ndarray]) -> dict[int, World]:
    """The scene of each dimension."""
    return {dims: World(dims, turned) for dims in (2, 3)}


@pytest.fixture
def world(worlds: dict[int, World], spatial_dims: int) -> World:
    return worlds[spatial_dims]


@pytest.fixture
def flat(worlds: dict[int, World]) -> World:
    """The scene of two dimensions."""
    return worlds[2]
