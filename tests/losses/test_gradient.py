"""Derivatives against NumPy's, and beside what is hidden against those of the cropped image."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_cellreg.losses.gradient import spatial_gradient


@pytest.mark.parametrize("shape", [(5, 7), (4, 3, 6), (2, 2), (9,)])
def test_numpy_with_spacing(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).normal(size=(2, 3, *shape))
    spacing = [0.5, 2.0, 1.25][: len(shape)]
    expected = np.gradient(image, *spacing, axis=tuple(range(2, image.ndim)))
    found = spatial_gradient(torch.tensor(image), spacing=spacing)
    for ours, theirs in zip(found, expected if len(shape) > 1 else [expected], strict=True):
        assert np.abs(ours.numpy() - theirs).max() < 1e-12
    steps = spatial_gradient(torch.tensor(image))
    for axis, step in enumerate(steps):
        torch.testing.assert_close(step / spacing[axis], found[axis])


def test_hidden_voxels_are_a_border() -> None:
    image = torch.randn(2, 1, 6, 8, dtype=torch.float64)
    visible = torch.zeros(1, 1, 6, 8, dtype=torch.bool)
    visible[..., 1:5, 3:7] = True
    inside = (..., slice(1, 5), slice(3, 7))
    for ours, cropped in zip(spatial_gradient(image, visible), spatial_gradient(image[inside]), strict=True):
        torch.testing.assert_close(ours[inside], cropped)
    visible[...] = False
    visible[..., 2, 2] = True  # alone
    assert all(part.abs().max() == 0 for part in spatial_gradient(image, visible))


def test_axis_of_one_voxel_has_no_derivative() -> None:
    parts = spatial_gradient(torch.randn(1, 1, 1, 5))
    assert parts[0].abs().max() == 0 and parts[1].abs().max() > 0
