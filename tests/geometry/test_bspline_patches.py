"""Splines whose control points are the centres of patches; what every head keeps is in contracts/test_heads.py."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline

from monai_cellreg.geometry import PatchBSplineField, SamplingGrid


def in_voxels(size: tuple[int, ...], displacement_vox: torch.Tensor) -> torch.Tensor:
    """Displacements (D, *patches) in voxels as parameters (1, D, *patches) on the cube."""
    half = torch.tensor([(n - 1) / 2 for n in size]).reshape(-1, *[1] * len(size))
    return (displacement_vox / half)[None].float()


@pytest.mark.parametrize("order", [1, 2, 3])
def test_spline_of_scipy_with_knots_around_the_centres_of_the_patches(order: int) -> None:
    size, patch = (24, 11), 8
    values = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(order), dtype=torch.float64)
    field = PatchBSplineField(size, patch, order=order)(in_voxels(size, values))[0]
    padded = np.pad(values.numpy(), [(0, 0), (4, 4), (4, 4)], mode="edge")
    expected = padded
    for axis, n in enumerate(size):
        count = padded.shape[1 + axis]
        centres = (patch - 1) / 2 + patch * (np.arange(count) - 4)  # of the control points
        knots = centres[0] + patch * (np.arange(count + order + 1) - (order + 1) / 2)
        expected = np.apply_along_axis(lambda c, k=knots, m=n: BSpline(k, c, order)(np.arange(m)), 1 + axis, expected)
    np.testing.assert_allclose(field.numpy(), expected, rtol=0, atol=2e-6)


def test_displacement_goes_on_to_the_border() -> None:
    size = (32, 20)
    values = torch.tensor([1.5, -2.0]).reshape(2, 1, 1).expand(2, 4, 3)  # of a last patch of four columns of eight
    field = PatchBSplineField(size, 8)(in_voxels(size, values))
    assert torch.allclose(field, torch.tensor([1.5, -2.0]).reshape(1, 2, 1, 1).expand(1, 2, *size), atol=1e-5)


def test_patch_keeps_its_displacements_where_patches_are_added_behind_it() -> None:
    """A larger image changes nothing where the spline reads none of the new patches."""
    values = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0))
    small, large = ((24, 16), (48, 40))
    fields = [
        PatchBSplineField(size, 8)(in_voxels(size, values[:, : size[0] // 8, : size[1] // 8]))
        for size in (small, large)
    ]
    inside = (..., slice(0, 12), slice(0, 4))  # up to half a patch before the last centre but one
    assert torch.allclose(fields[0][inside], fields[1][inside], atol=1e-5)
    assert not torch.allclose(fields[0], fields[1][..., :24, :16], atol=1e-2)


def test_map_is_that_of_the_field() -> None:
    size = (24, 11)
    head = PatchBSplineField(size, 8)
    parameters = in_voxels(size, torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(1)))
    grid = SamplingGrid(size)
    to_cube = np.linalg.inv(grid.cube_to_world)
    cube = grid.world().reshape(-1, 2).numpy() @ to_cube[:2, :2].T + to_cube[:2, 2]
    moved = head.transform(parameters).points(cube) - cube
    voxels = moved @ grid.cube_to_world[:2, :2].T
    np.testing.assert_allclose(voxels.T.reshape(2, *size), head(parameters)[0].numpy(), rtol=0, atol=1e-5)


def test_settings_that_make_no_spline() -> None:
    with pytest.raises(ValueError, match="patch_size is 0"):
        PatchBSplineField((8, 8), 0)
    with pytest.raises(ValueError, match="order is 4"):
        PatchBSplineField((8, 8), 4, order=4)
