"""Grids that lie askew, so that no axis, sign or unit can be mistaken for another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import SimpleITK as sitk

from monai_cellreg.geometry import SamplingGrid

SHAPES = {2: (12, 17), 3: (7, 9, 11)}
Turned = Callable[[int, float], np.ndarray]


@pytest.fixture
def rotation(spatial_dims: int, turned: Turned) -> np.ndarray:
    return turned(spatial_dims, 0.4)


@pytest.fixture
def fixed_grid(spatial_dims: int, turned: Turned) -> SamplingGrid:
    """Not square, anisotropic, turned, away from the origin."""
    affine = np.eye(spatial_dims + 1)
    affine[:-1, :-1] = turned(spatial_dims, 0.3) * [1.6, 1.1, 1.9][:spatial_dims]
    affine[:-1, -1] = [30.0, -12.0, 7.0][:spatial_dims]
    return SamplingGrid(SHAPES[spatial_dims], affine)


@pytest.fixture
def moving_grid(spatial_dims: int, fixed_grid: SamplingGrid, turned: Turned) -> SamplingGrid:
    """Covers the fixed grid with a margin, by other voxels in another direction."""
    shape = tuple(2 * s + 15 for s in reversed(fixed_grid.shape))
    affine = np.eye(spatial_dims + 1)
    affine[:-1, :-1] = turned(spatial_dims, -0.5) * [1.3, 0.9, 1.7][:spatial_dims]
    middle = fixed_grid.world().flatten(0, -2).mean(0).numpy()
    affine[:-1, -1] = middle - affine[:-1, :-1] @ ((np.array(shape) - 1) / 2)
    return SamplingGrid(shape, affine)


@pytest.fixture
def itk_images(spatial_dims: int) -> tuple[sitk.Image, sitk.Image]:
    """Fixed and moving smooth noise, turned, mirrored along the first axis; the moving one reaches further."""

    def made(size: tuple[int, ...], spacing: list[float], angle_rad: float, seed: int) -> sitk.Image:
        image = sitk.GetImageFromArray(np.random.default_rng(seed).uniform(size=size[::-1]))
        turn = sitk.Euler2DTransform() if spatial_dims == 2 else sitk.Euler3DTransform()
        turn.SetParameters([angle_rad, 0, 0] if spatial_dims == 2 else [angle_rad, 0.2, -0.3, 0, 0, 0])
        mirror = np.diag([-1.0, 1, 1][:spatial_dims])
        image = sitk.Cast(sitk.SmoothingRecursiveGaussian(image, 1.0), sitk.sitkFloat64)
        image.SetSpacing(spacing)
        image.SetDirection((np.reshape(turn.GetMatrix(), mirror.shape) @ mirror).ravel().tolist())
        centre = image.TransformContinuousIndexToPhysicalPoint([(s - 1) / 2 for s in size])
        image.SetOrigin((np.array([40.0, -15.0, 8.0][:spatial_dims]) - centre).tolist())  # both have one centre
        return image

    fixed = made((17, 12, 9)[:spatial_dims], [1.1, 1.6, 1.9][:spatial_dims], 0.3, seed=0)
    return fixed, made((34, 41, 37)[:spatial_dims], [0.9, 0.8, 1.0][:spatial_dims], -0.4, seed=1)
