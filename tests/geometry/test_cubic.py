"""Cubic interpolation agrees with SciPy, passes through the voxels, keeps types and ranges, and has gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from monai_cellreg.geometry import AffineTransform, SamplingGrid, resample, sample, warp
from monai_cellreg.geometry.cubic import interpolate_cubic

SHAPES = [(7, 11), (1, 9), (8, 1), (2, 6), (40, 33), (5, 6, 9), (5, 1, 4), (1, 1, 6)]
SCIPY_PADDINGS = {"border": "nearest", "zeros": "grid-constant", "reflection": "mirror"}


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def coordinates(shape: tuple[int, ...], *lead: int, outside: float = 5.0) -> torch.Tensor:
    """Index coordinates that also lie outside, by up to so many voxels."""
    return drawn(*lead, len(shape), seed=1) * (torch.tensor(shape) - 1 + 2 * outside) - outside


def by_scipy(image: torch.Tensor, index: torch.Tensor, padding: str = "border") -> np.ndarray:
    """Values (C, N) of an image (C, *spatial) at (N, D)."""
    mode = SCIPY_PADDINGS[padding]
    return np.stack([map_coordinates(c, index.T.numpy(), order=3, mode=mode) for c in image.double().numpy()])


@pytest.mark.parametrize("outside", [0.4, 5.0, 30.0])
@pytest.mark.parametrize("padding", SCIPY_PADDINGS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_agrees_with_scipy(shape: tuple[int, ...], padding: str, outside: float) -> None:
    image, index = drawn(1, 2, *shape), coordinates(shape, 1, 80, outside=outside)
    expected = by_scipy(image[0], index[0], padding)
    read = interpolate_cubic(image, index, padding=padding)
    far = 1e-6 if outside > 12 else 1e-11  # SciPy settles within twelve voxels
    np.testing.assert_allclose(read[0], expected, rtol=0, atol=far)
    read = interpolate_cubic(image.float(), index.float(), padding=padding)
    assert read.dtype == torch.float32
    np.testing.assert_allclose(read[0], expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("padding", SCIPY_PADDINGS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_passes_through_the_voxels(shape: tuple[int, ...], padding: str) -> None:
    image, index = drawn(1, 2, *shape), SamplingGrid(shape).index()[None]
    torch.testing.assert_close(interpolate_cubic(image, index, padding=padding), image, rtol=0, atol=1e-13)


def test_far_outside_there_is_exactly_nothing_or_the_nearest_voxel() -> None:
    image, index = 1 + drawn(1, 1, 5, 6), torch.tensor([[[-40.0, 2.0], [2.0, 19.0], [99.0, 99.0]]]).double()
    assert interpolate_cubic(image, index, padding="zeros").abs().max() == 0
    nearest = torch.stack([image[0, 0, 0, 2], image[0, 0, 2, 5], image[0, 0, 4, 5]])
    torch.testing.assert_close(interpolate_cubic(image, index, padding="border")[0, 0], nearest, rtol=0, atol=1e-6)


@pytest.mark.parametrize("padding", SCIPY_PADDINGS)
@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 2)], ids=str)
def test_gradients_of_image_and_coordinates(shape: tuple[int, ...], padding: str) -> None:
    image = drawn(2, 1, *shape).requires_grad_()
    index = coordinates(shape, 2, 4, outside=1.5).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda i, x: interpolate_cubic(i, x, padding=padding), (image, index), fast_mode=True
    )


def test_slope_does_not_jump_at_voxels() -> None:
    image = drawn(1, 1, 7, 11)
    slopes = []
    for side in (-1e-7, 1e-7):
        index = (torch.tensor([[[3.0, 4.0]]]).double() + side).requires_grad_()
        slopes.append(torch.autograd.grad(interpolate_cubic(image, index, padding="border").sum(), index)[0])
    assert slopes[0].abs().max() > 0.05
    torch.testing.assert_close(slopes[0], slopes[1], rtol=0, atol=1e-5)


def test_one_image_or_one_set_of_coordinates_serves_all() -> None:
    images, index = drawn(3, 2, 7, 11), coordinates((7, 11), 3, 4, 5)
    both = interpolate_cubic(images, index, padding="border")
    assert both.shape == (3, 2, 4, 5)
    for row in range(3):
        here = slice(row, row + 1)
        torch.testing.assert_close(interpolate_cubic(images[here], index, padding="border")[row], both[row])
        torch.testing.assert_close(interpolate_cubic(images, index[here], padding="border")[row], both[row])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.uint16, torch.int32, torch.uint32])
def test_whole_numbers_are_rounded_and_kept_in_range(dtype: torch.dtype) -> None:
    low, high = torch.iinfo(dtype).min, torch.iinfo(dtype).max
    image = torch.tensor([low, low, high, high, low, low + 9], dtype=torch.float64).expand(1, 1, 4, 6)
    index = torch.stack([torch.full((61,), 1.3), torch.linspace(0, 5, 61)], dim=-1).double()
    exact = by_scipy(image[0], index)
    assert exact.max() > 1.02 * high and exact.min() < low - 0.02 * (high - low)  # it overshoots
    read = interpolate_cubic(image.to(dtype), index[None], padding="border")
    assert read.dtype == dtype
    np.testing.assert_allclose(read[0].double(), exact.clip(low, high), rtol=0, atol=0.5 + 1e-9 * high)


def test_every_32_bit_number_is_kept() -> None:
    image = torch.tensor([2**31 - 1, 2**31 - 3, 5, -(2**31) + 1], dtype=torch.int32).reshape(1, 1, 2, 2)
    index = SamplingGrid((2, 2)).index(dtype=torch.float32)[None]  # float32 holds none of the large ones
    assert torch.equal(interpolate_cubic(image, index, padding="border"), image)


def test_masks_stay_masks() -> None:
    mask = torch.tensor([0, 0, 1, 1, 1, 0]).bool().expand(1, 1, 4, 6)
    index = torch.tensor([[[1.0, 1.4], [1.0, 1.6], [1.0, 4.4], [1.0, 4.6], [1.0, 0.5]]])
    read = interpolate_cubic(mask, index, padding="border")
    assert read.dtype == torch.bool
    assert read.flatten().tolist() == [False, True, True, False, False]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_short_floats_are_interpolated_in_float32(dtype: torch.dtype) -> None:
    image, index = drawn(1, 1, 7, 11).to(dtype), coordinates((7, 11), 1, 40, outside=1.0)
    read = interpolate_cubic(image, index.float(), padding="border")
    assert read.dtype == dtype
    error = np.abs(read[0].double().numpy() - by_scipy(image[0], index[0])).max()
    assert error < torch.finfo(dtype).eps


def test_autocast_does_not_round_coordinates() -> None:
    image = torch.arange(2050.0).expand(1, 1, 4, -1)  # bfloat16 holds no odd column beyond 256
    index = torch.tensor([[[1.5, 1001.25], [2.0, 2047.5]]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        read = interpolate_cubic(image, index, padding="border")
    assert read.dtype == torch.float32
    torch.testing.assert_close(read[0, 0], index[0, :, 1], rtol=0, atol=0.05)


def test_sample_warp_and_resample_read_by_cubic_splines(spatial_dims: int, moving_grid: SamplingGrid) -> None:
    shape = (7, 9, 6)[:spatial_dims]
    image, shift = drawn(1, 2, *shape), 3 * drawn(2, spatial_dims, *shape, seed=2) - 1.5
    index = SamplingGrid(shape).index() + shift.movedim(1, -1)
    for padding in SCIPY_PADDINGS:
        expected = [by_scipy(image[0], i.flatten(0, -2), padding).reshape(2, *shape) for i in index]
        for read in (
            sample(image, index, mode="cubic", padding=padding),
            warp(image, shift, mode="cubic", padding=padding),
        ):
            np.testing.assert_allclose(read, np.stack(expected), rtol=0, atol=1e-10)
    moving = drawn(1, 1, *moving_grid.shape)
    fixed = moving_grid.resized([s // 3 for s in moving_grid.shape])
    move = AffineTransform(np.column_stack([np.eye(spatial_dims), [1.0, -2.0, 0.5][:spatial_dims]]))
    read = resample(moving, move, fixed, moving_grid, mode="cubic")
    at = moving_grid.world_to_index(move.points(fixed.world().flatten(0, -2)))
    np.testing.assert_allclose(read[0], by_scipy(moving[0], at).reshape(1, *fixed.shape), rtol=0, atol=1e-10)
