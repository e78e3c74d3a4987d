"""Smoothing, beside SciPy's."""

from __future__ import annotations

from math import ceil

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from monai_cellreg.engines.instance.smoothing import gaussian, smooth


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(
    ("shape", "sigma"),
    [((13, 21), 1.3), ((13, 21), (0.4, 2.5)), ((9, 14, 11), 0.8), ((9, 14, 11), (0.0, 1.7, 0.6))],
)
def test_is_that_of_scipy(shape: tuple[int, ...], sigma: float | tuple[float, ...]) -> None:
    values = noise(2, 3, *shape)
    before = values.clone()
    found = smooth(values, sigma)
    radius = [ceil(3 * s) for s in np.broadcast_to(sigma, len(shape))]
    for item, expected in zip(found.flatten(0, 1), values.flatten(0, 1), strict=True):
        wanted = gaussian_filter(expected.numpy(), sigma, mode="nearest", radius=radius)
        np.testing.assert_allclose(item.numpy(), wanted, rtol=0, atol=1e-12)
    assert torch.equal(values, before)


def test_width_larger_than_an_axis() -> None:
    values = noise(1, 1, 4, 30)
    wanted = gaussian_filter(values[0, 0].numpy(), 3.0, mode="nearest", radius=[3, 9])
    np.testing.assert_allclose(smooth(values, 3.0)[0, 0].numpy(), wanted, rtol=0, atol=1e-12)


def test_what_is_not_smoothed() -> None:
    slice_ = noise(1, 2, 1, 12)
    wanted = gaussian_filter(slice_[0, 1, 0].numpy(), 2.0, mode="nearest", radius=6)
    np.testing.assert_allclose(smooth(slice_, 2.0)[0, 1, 0].numpy(), wanted, rtol=0, atol=1e-12)
    assert torch.equal(smooth(slice_, 0.0), slice_)
    assert torch.equal(smooth(slice_, [0, 0]), slice_)


def test_weights_sum_to_one_and_have_the_width() -> None:
    taps = gaussian(1.5, 9)
    places = torch.arange(-9, 10, dtype=torch.float64)
    assert abs(float(taps.sum()) - 1) < 1e-12
    assert abs(float((taps * places.square()).sum()) - 1.5**2) < 1e-6


def test_gradient_is_exact() -> None:
    assert torch.autograd.gradcheck(lambda x: smooth(x, (0.7, 1.1)), noise(1, 2, 5, 6).requires_grad_())
