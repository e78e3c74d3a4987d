"""Resampling reads the moving image once, at the mapped world points; ITK's own resampling is compared in test_itk."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_cellreg.geometry import AffineTransform, SamplingGrid, ThinPlateSplineTransform, resample


def ramp(world: torch.Tensor) -> torch.Tensor:
    """A plane over world points (..., D), which linear reading gives back exactly."""
    return world @ torch.tensor([0.7, -1.3, 2.1][: world.shape[-1]], dtype=world.dtype) + 5


def bent(grid: SamplingGrid, batch: int = 1) -> ThinPlateSplineTransform:
    """Different bends of a grid's region by up to a voxel."""
    control = grid.resized((3,) * grid.spatial_dims).world().flatten(0, -2)
    generator = torch.Generator().manual_seed(0)
    shifts = 2 * torch.rand(batch, *control.shape, generator=generator, dtype=torch.float64) - 1
    return ThinPlateSplineTransform(control, control + shifts)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_warped_is_moving_at_the_mapped_points(
    fixed_grid: SamplingGrid, moving_grid: SamplingGrid, dtype: torch.dtype
) -> None:
    transform, moving = bent(fixed_grid, batch=2), ramp(moving_grid.world()).to(dtype)[None, None]
    before = moving.clone()
    warped = resample(moving, transform, fixed_grid, moving_grid)
    mapped = transform.points(fixed_grid.world().flatten(0, -2))
    expected = ramp(mapped).reshape(2, 1, *fixed_grid.shape)
    assert (expected[0] - expected[1]).abs().max() > 0.5
    error = (warped.double() - expected).abs().max()
    assert error < (1e-9 if dtype == torch.float64 else 1e-3)
    assert warped.dtype == dtype
    assert torch.equal(moving, before)


def test_identity_on_one_grid_returns_the_image(fixed_grid: SamplingGrid) -> None:
    image = torch.rand(2, 3, *fixed_grid.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    identity = AffineTransform(np.eye(fixed_grid.spatial_dims + 1))
    torch.testing.assert_close(resample(image, identity, fixed_grid, fixed_grid), image, rtol=0, atol=1e-10)


def test_shift_by_whole_voxels_between_grids_with_other_origins() -> None:
    image = torch.arange(24.0).reshape(1, 1, 4, 6)
    fixed = SamplingGrid((4, 6), np.array([[2.0, 0, 10], [0, 3, 20], [0, 0, 1]]))
    moving = SamplingGrid((4, 6), np.array([[2.0, 0, 14], [0, 3, 17], [0, 0, 1]]))
    shift = AffineTransform(np.array([[1, 0, 6], [0, 1, -6]]))  # one row down and one column left of the moving voxels
    warped = resample(image, shift, fixed, moving, padding="zeros")
    torch.testing.assert_close(warped[..., :3, 1:], image[..., 1:, :5])
    assert max(warped[..., 3, :].abs().max(), warped[..., 0].abs().max()) < 1e-4


def test_labels_are_never_mixed_and_keep_their_type(fixed_grid: SamplingGrid, moving_grid: SamplingGrid) -> None:
    labels = torch.randint(0, 4, (1, 1, *moving_grid.shape), generator=torch.Generator().manual_seed(0)) * 70000 + 1
    for given in (labels.to(torch.int32), labels):
        warped = resample(given, bent(fixed_grid), fixed_grid, moving_grid, mode="nearest")
        assert warped.dtype == given.dtype
        assert set(warped.unique().tolist()) == {1, 70001, 140001, 210001}


def test_padding_outside_the_moving_image() -> None:
    grid, away = SamplingGrid((4, 5)), AffineTransform(np.array([[1, 0, 100], [0, 1, 0]]))
    image = torch.rand(1, 1, 4, 5, generator=torch.Generator().manual_seed(0)) + 1
    assert resample(image, away, grid, grid, padding="zeros").abs().max() == 0
    torch.testing.assert_close(resample(image, away, grid, grid), image[..., -1:, :].expand(1, 1, 4, 5))


def test_gradients_reach_the_map(fixed_grid: SamplingGrid, moving_grid: SamplingGrid) -> None:
    moving = ramp(moving_grid.world())[None, None]
    matrix = torch.eye(fixed_grid.spatial_dims, fixed_grid.spatial_dims + 1, dtype=torch.float64, requires_grad=True)
    resample(moving, AffineTransform(matrix), fixed_grid, moving_grid).mean().backward()
    expected = [0.7, -1.3, 2.1][: fixed_grid.spatial_dims]
    np.testing.assert_allclose(matrix.grad[:, -1], expected, rtol=0, atol=1e-9)


def test_misfits_are_refused() -> None:
    grid, identity = SamplingGrid((4, 5)), AffineTransform(np.eye(3))
    for shape in ((1, 1, 5, 4), (1, 4, 5)):
        with pytest.raises(ValueError, match=r"^moving has shape [\dx]+ but its grid is 4x5; expected \(B, C, 4, 5\)"):
            resample(torch.zeros(shape), identity, grid, grid)
    with pytest.raises(ValueError, match=r"^fixed_grid has 3 spatial axes \(shape 4x5x6\), expected 2"):
        resample(torch.zeros(1, 1, 4, 5), identity, SamplingGrid((4, 5, 6)), grid)
    with pytest.raises(ValueError, match="^mode is 'cubic', expected one of 'linear', 'nearest'"):
        resample(torch.zeros(1, 1, 4, 5), identity, grid, grid, mode="cubic")
