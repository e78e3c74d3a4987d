"""What the classical programs are given, and how coarse it becomes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from skimage.color import rgb2gray

from monai_cellreg.baselines.images import centre, itk_images, share_their_place, shrink_factors, shrink_factors_of_both
from monai_cellreg.geometry import Pair, SamplingGrid


@pytest.fixture
def pair(physical: Any) -> Pair:
    """Fixed in colour, moving in whole numbers, on grids of their own."""
    rng = np.random.default_rng(0)
    affine = np.array([[0.0, 2.0, 5.0], [-1.5, 0.0, 7.0], [0, 0, 1]])
    grids = SamplingGrid((6, 9), affine, physical.frame), SamplingGrid((8, 5), frame=physical.frame)
    fixed, moving = rng.uniform(size=(3, 6, 9)), rng.integers(0, 99, (1, 8, 5))
    return Pair(torch.tensor(fixed), torch.tensor(moving).short(), *grids)


def test_images_are_grey_and_in_their_place(pair: Pair, physical: Any) -> None:
    fixed, moving = itk_images(pair)
    assert {image.GetPixelID() for image in (fixed, moving)} == {sitk.sitkFloat32}
    expected = rgb2gray(pair.fixed.movedim(0, -1).numpy())
    np.testing.assert_allclose(physical.array(sitk.GetArrayFromImage(fixed)), expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(physical.array(sitk.GetArrayFromImage(moving)), pair.moving[0])
    assert physical.grid(fixed).matches(pair.fixed_grid) and physical.grid(moving).matches(pair.moving_grid)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.full((1, 8, 5), torch.nan), "^moving holds 40 of 40 values that are NaN"),
        (torch.full((1, 8, 5), 7), "^moving has the value 7 everywhere; expected an image with contrast"),
        (torch.rand(2, 8, 5), "^image has shape 2x8x5 with 2 channels first; expected 1"),
        (torch.rand(1, 8, 3), "^moving has the size 8x3; expected at least 4 voxels"),
    ],
)
def test_images_without_use_are_refused(pair: Pair, image: torch.Tensor, message: str) -> None:
    grid = SamplingGrid(image.shape[1:], frame=pair.moving_grid.frame)
    with pytest.raises(ValueError, match=message):
        itk_images(replace(pair, moving=image, moving_grid=grid))


def placed(size: tuple[int, int], middle: tuple[float, float]) -> sitk.Image:
    """An image with voxels of 2 by 1, turned by a right angle, of which the middle lies at a point."""
    image = sitk.Image(*size, sitk.sitkUInt8)
    image.SetSpacing((2, 1))
    image.SetDirection((0, -1, 1, 0))
    image.SetOrigin((np.array(middle) - centre(image)).tolist())
    return image


def test_middle_of_an_image() -> None:
    assert centre(placed((10, 40), (3, -8))) == pytest.approx((3, -8))


@pytest.mark.parametrize(
    ("middle", "near"),
    [((0, 0), True), ((0, 9.9), True), ((0, 10.1), False), ((19.9, 0), True), ((20.1, 0), False), ((-20.1, 0), False)],
)
def test_places_are_shared_while_middles_lie_in_both(middle: tuple[float, float], near: bool) -> None:
    small, large = placed((10, 40), middle), placed((30, 90), (0, 0))  # 20 along y by 40 along x
    assert share_their_place(small, large) is near
    assert share_their_place(large, small) is near


@pytest.mark.parametrize(
    ("size", "factors"),
    [
        ((28, 28), [(2, 2), (1, 1)]),
        ((15, 16), [(1, 2), (1, 1)]),
        ((4, 5), [(1, 1)]),
        ((64, 63), [(8, 4), (4, 4), (2, 2), (1, 1)]),
        ((3000, 500, 12), [(8, 8, 1), (4, 4, 1), (2, 2, 1), (1, 1, 1)]),
    ],
)
def test_shrinking_leaves_eight_voxels(size: tuple[int, ...], factors: list[tuple[int, ...]]) -> None:
    assert shrink_factors(size) == factors


def test_levels_of_both_end_at_the_images_themselves() -> None:
    factors = shrink_factors_of_both(sitk.Image(64, 64, sitk.sitkUInt8), sitk.Image(40, 20, sitk.sitkUInt8))
    assert factors == [((4, 4), (4, 2)), ((2, 2), (2, 2)), ((1, 1), (1, 1))]
