"""Resampling reads the moving image once, at the mapped world points, as SimpleITK does between any two grids."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor

from monai_cellreg.geometry import (
    AffineTransform,
    DenseTransform,
    SamplingGrid,
    SpatialTransform,
    ThinPlateSplineTransform,
    resample,
    resample_image,
)


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


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_labels_are_never_mixed_and_keep_their_type(
    fixed_grid: SamplingGrid, moving_grid: SamplingGrid, dtype: torch.dtype
) -> None:
    """Neighbouring labels of up to 2^31 - 1 differ by one, which float32 cannot tell apart."""
    top = min(torch.iinfo(dtype).max, 2**31 - 1)
    drawn = torch.randint(0, 4, (1, 1, *moving_grid.shape), generator=torch.Generator().manual_seed(0))
    labels = torch.where(drawn == 3, 0, top - drawn).to(dtype)
    warped = resample(labels, bent(fixed_grid), fixed_grid, moving_grid, mode="nearest")
    assert warped.dtype == dtype
    assert set(warped.unique().tolist()) == {0, top - 2, top - 1, top}
    places = resample(drawn.double(), bent(fixed_grid), fixed_grid, moving_grid, mode="nearest").long()
    assert torch.equal(warped, torch.where(places == 3, 0, top - places).to(dtype))


def itk_image(values: np.ndarray, grid: SamplingGrid) -> sitk.Image:
    """An image whose tensor axes are x, y(, z), as of NIfTI, in ITK's physical space: x and y of RAS negated."""
    image = sitk.GetImageFromArray(np.transpose(values))
    flip = np.diag([-1.0, -1.0, 1.0][: grid.spatial_dims])
    image.SetSpacing(grid.spacing)
    image.SetDirection((flip @ grid.affine[:-1, :-1] / grid.spacing).ravel().tolist())
    image.SetOrigin((flip @ grid.affine[:-1, -1]).tolist())
    return image


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("affine", [True, False], ids=["turned and stretched", "bent"])
def test_any_grid_and_map_read_as_simpleitk_reads_them(
    fixed_grid: SamplingGrid, moving_grid: SamplingGrid, rotation: np.ndarray, mode: str, affine: bool
) -> None:
    """Other size, spacing, origin and direction; ITK maps through a finer field where it has no map of ours."""
    dims = fixed_grid.spatial_dims
    flip = np.diag([-1.0, -1.0, 1.0][:dims])
    middle = fixed_grid.world().flatten(0, -2).mean(0).numpy()
    if affine:
        linear = 1.1 * rotation @ np.diag([0.9, 1.2, 1.0][:dims])
        transform: SpatialTransform = AffineTransform(np.column_stack([linear, middle - linear @ middle + 0.6]))
        theirs = sitk.AffineTransform(dims)
        theirs.SetMatrix((flip @ linear @ flip).ravel().tolist())
        theirs.SetTranslation((flip @ (middle - linear @ middle + 0.6)).tolist())
    else:
        transform = DenseTransform(bent(fixed_grid).displacement(fixed_grid), fixed_grid)
        vectors = np.moveaxis(transform.field[0].numpy(), 0, -1) @ flip
        field = itk_image(np.zeros(fixed_grid.shape), fixed_grid)
        image = sitk.GetImageFromArray(np.moveaxis(vectors.T, 0, -1), isVector=True)
        image.CopyInformation(field)
        theirs = sitk.DisplacementFieldTransform(image)
    values = torch.rand(moving_grid.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    result = fixed_grid.resized([s + 5 for s in fixed_grid.shape])
    expected = sitk.Resample(
        itk_image(values.numpy(), moving_grid),
        itk_image(np.zeros(result.shape), result),
        theirs,
        sitk.sitkLinear if mode == "linear" else sitk.sitkNearestNeighbor,
        -1.0,
    )
    expected = np.transpose(sitk.GetArrayFromImage(expected))
    ours = resample(values[None, None], transform, result, moving_grid, mode=mode)[0, 0].numpy()
    inside = (slice(3, -3),) * dims  # ITK's field ends at its border, ours continues
    assert expected[inside].min() >= 0
    assert (np.abs(ours - expected)[inside] > 1e-9).mean() <= (0.0 if mode == "linear" else 0.002)


def test_image_brings_its_grid_and_takes_the_fixed_one(fixed_grid: SamplingGrid, moving_grid: SamplingGrid) -> None:
    fixed, moving = (SamplingGrid(g.shape, g.affine, "RAS") for g in (fixed_grid, moving_grid))
    transform = AffineTransform(np.eye(fixed.spatial_dims + 1))
    image = moving.to_image(MetaTensor(ramp(moving.world())[None], meta={"filename_or_obj": "brain.nii.gz"}))
    before = dict(image.meta)
    warped = resample_image(image, transform, fixed)
    torch.testing.assert_close(warped.as_tensor(), ramp(fixed.world())[None], rtol=0, atol=1e-9)
    assert SamplingGrid.from_image(warped).matches(fixed)
    assert warped.meta["filename_or_obj"] == "brain.nii.gz"
    assert SamplingGrid.from_image(image).matches(moving) and image.meta.keys() == before.keys()
    label = (image > image.mean()).as_tensor().to(torch.uint8)
    plain = SamplingGrid(fixed.shape)
    read = resample_image(label, transform, plain, mode="nearest", padding="zeros")
    corner = tuple(slice(min(a, b)) for a, b in zip(fixed.shape, moving.shape, strict=True))
    assert read.dtype == torch.uint8
    assert torch.equal(read.as_tensor()[(0, *corner)], label[(0, *corner)])


def test_image_of_another_world_is_refused() -> None:
    grid, identity = SamplingGrid((4, 5)), AffineTransform(np.eye(3))
    with pytest.raises(ValueError, match="^fixed_grid is 2D in frame 'index' but image is 2D in frame 'RAS'"):
        resample_image(MetaTensor(torch.zeros(1, 4, 5)), identity, grid)
    with pytest.raises(ValueError, match="^transform holds 2 maps; expected one"):
        resample_image(torch.zeros(1, 4, 5), bent(grid, batch=2), grid)


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
    with pytest.raises(ValueError, match="^mode is 'spline', expected one of 'linear', 'nearest'"):
        resample(torch.zeros(1, 1, 4, 5), identity, grid, grid, mode="spline")
