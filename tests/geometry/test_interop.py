"""Voxel fields as MONAI has them: index plus displacement, between any two grids, with MONAI's Warp as the judge."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.networks.blocks import Warp

from monai_cellreg.geometry import (
    AffineTransform,
    DenseTransform,
    SamplingGrid,
    resample,
    to_voxel_ddf,
    voxel_ddf_to_world,
    voxel_to_cube_ddf,
)


@pytest.fixture
def transform(spatial_dims: int, rotation: np.ndarray, fixed_grid: SamplingGrid) -> AffineTransform:
    middle = fixed_grid.world().flatten(0, -2).mean(0).numpy()
    return AffineTransform(np.column_stack([rotation, middle - rotation @ middle + 0.7]))


def test_ddf_leads_from_fixed_to_moving_index(
    transform: AffineTransform, fixed_grid: SamplingGrid, moving_grid: SamplingGrid
) -> None:
    ddf = to_voxel_ddf(transform, fixed_grid, moving_grid)
    assert (ddf.shape, ddf.dtype) == ((1, fixed_grid.spatial_dims, *fixed_grid.shape), torch.float32)
    at = (2, 5, 3)[: fixed_grid.spatial_dims]
    homogeneous = np.eye(len(at) + 1)
    homogeneous[:-1] = transform.matrix[0]
    expected = np.linalg.inv(moving_grid.affine) @ homogeneous @ fixed_grid.affine @ [*at, 1]
    np.testing.assert_allclose(ddf[0][(slice(None), *at)] + torch.tensor(at), expected[:-1], rtol=0, atol=1e-4)


def test_ddf_and_world_displacement_are_inverse_conversions(
    transform: AffineTransform, fixed_grid: SamplingGrid, moving_grid: SamplingGrid
) -> None:
    world = voxel_ddf_to_world(to_voxel_ddf(transform, fixed_grid, moving_grid), fixed_grid, moving_grid)
    assert world.dtype == torch.float64
    torch.testing.assert_close(world, transform.displacement(fixed_grid), rtol=0, atol=1e-4)
    again = to_voxel_ddf(DenseTransform(world, fixed_grid), fixed_grid, moving_grid)
    torch.testing.assert_close(again, to_voxel_ddf(transform, fixed_grid, moving_grid), rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_monai_warp_reads_what_resample_reads(transform: AffineTransform, fixed_grid: SamplingGrid) -> None:
    moving = torch.rand(1, 2, *fixed_grid.shape, generator=torch.Generator().manual_seed(0))
    expected = Warp(mode="bilinear", padding_mode="border")(moving, to_voxel_ddf(transform, fixed_grid, fixed_grid))
    torch.testing.assert_close(resample(moving, transform, fixed_grid, fixed_grid), expected, rtol=0, atol=1e-4)


def test_gradients_pass_through_the_conversion(fixed_grid: SamplingGrid, moving_grid: SamplingGrid) -> None:
    ddf = torch.zeros(1, fixed_grid.spatial_dims, *fixed_grid.shape, dtype=torch.float64, requires_grad=True)
    voxel_ddf_to_world(ddf, fixed_grid, moving_grid)[0, 0].sum().backward()
    at = (0,) * fixed_grid.spatial_dims
    np.testing.assert_allclose(ddf.grad[0][(slice(None), *at)], moving_grid.affine[0, :-1], rtol=0, atol=1e-12)


def test_cube_units_are_two_over_the_distance_of_the_outermost_voxels() -> None:
    ddf = torch.ones(2, 3, 5, 1, 9)
    ddf[1] = -3
    cube = voxel_to_cube_ddf(ddf)
    assert cube.shape == ddf.shape
    np.testing.assert_allclose(cube[0, :, 0, 0, 0], [2 / 4, 2, 2 / 8])
    torch.testing.assert_close(cube[1], -3 * cube[0])


def test_misfits_are_refused() -> None:
    grid = SamplingGrid((4, 5))
    with pytest.raises(
        ValueError, match=r"^displacement_vox has shape 1x2x5x4 but its grid is 4x5; expected \(B, 2, 4"
    ):
        voxel_ddf_to_world(torch.zeros(1, 2, 5, 4), grid, grid)
    with pytest.raises(ValueError, match=r"^fixed_grid has 2 spatial axes \(shape 4x5\), expected 3"):
        to_voxel_ddf(AffineTransform(np.eye(4)), grid, grid)
