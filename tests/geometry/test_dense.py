"""Dense displacements: linear between voxels as in SciPy, continued outside, and the same as MONAI's voxel fields."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from monai_cellreg.geometry import DenseTransform, SamplingGrid


def drawn_field(grid: SamplingGrid, batch: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, grid.spatial_dims, *grid.shape, generator=generator, dtype=torch.float64)


def test_displacements_are_linear_between_voxels_and_continue_outside(fixed_grid: SamplingGrid) -> None:
    field = drawn_field(fixed_grid)
    index = np.random.default_rng(0).uniform(-2, np.array(fixed_grid.shape) + 1, (60, fixed_grid.spatial_dims))
    x = fixed_grid.index_to_world(torch.tensor(index))
    expected = [map_coordinates(component, index.T, order=1, mode="nearest") for component in field[0].numpy()]
    moved = DenseTransform(field, fixed_grid).points(x) - x
    np.testing.assert_allclose(moved, np.transpose(expected), rtol=0, atol=1e-9)


def test_displacement_on_its_own_grid_is_the_field(fixed_grid: SamplingGrid) -> None:
    field = drawn_field(fixed_grid, batch=2)
    torch.testing.assert_close(DenseTransform(field, fixed_grid).displacement(fixed_grid), field, rtol=0, atol=1e-11)


def test_voxel_field_moves_index_to_index(fixed_grid: SamplingGrid, moving_grid: SamplingGrid) -> None:
    ddf = drawn_field(fixed_grid)
    at = (2, 5, 3)[: fixed_grid.spatial_dims]
    index = torch.tensor(at, dtype=torch.float64)
    for given, target in ((None, fixed_grid), (moving_grid, moving_grid)):
        transform = DenseTransform.from_voxel_ddf(ddf, fixed_grid, given)
        moved = target.world_to_index(transform.points(fixed_grid.index_to_world(index)[None])[0])
        torch.testing.assert_close(moved, index + ddf[0][(slice(None), *at)], rtol=0, atol=1e-9)


def test_field_of_another_shape_is_refused() -> None:
    grid = SamplingGrid((4, 5))
    for shape in ((1, 2, 5, 4), (2, 4, 5), (1, 3, 4, 5)):
        message = r"^displacement has shape [\dx]+ but its grid is 4x5; expected \(B, 2, 4, 5\)"
        with pytest.raises(ValueError, match=message):
            DenseTransform(torch.zeros(shape), grid)
        with pytest.raises(ValueError, match=message.replace("displacement", "displacement_vox")):
            DenseTransform.from_voxel_ddf(torch.zeros(shape), grid)


def test_jacobian_does_not_depend_on_the_order_of_the_voxels(fixed_grid: SamplingGrid) -> None:
    """Slopes jump at voxels: the central differences are asked for, not those of the side that is stored first."""
    dims, shape = fixed_grid.spatial_dims, fixed_grid.shape
    field = torch.rand(1, dims, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    flip = np.diag([*[-1.0] * dims, 1.0])
    flip[:-1, -1] = np.array(shape) - 1
    stored_flipped = SamplingGrid(shape, fixed_grid.affine @ flip)
    axes = tuple(range(2, 2 + dims))
    found = DenseTransform(field, fixed_grid).jacobian(fixed_grid)
    other = DenseTransform(field.flip(axes), stored_flipped).jacobian(fixed_grid)
    assert (found - other).abs().max() < 1e-6
    slopes = np.stack(np.gradient(field[0].numpy(), axis=tuple(range(1, 1 + dims))), axis=-1)  # (D, *shape, D) by index
    expected = np.eye(dims) + np.moveaxis(slopes, 0, -2) @ np.linalg.inv(fixed_grid.affine[:-1, :-1])
    inner = (slice(1, -1),) * dims
    np.testing.assert_allclose(found[0][inner], expected[inner], rtol=0, atol=1e-4)  # of a step of 2e-4 voxels
