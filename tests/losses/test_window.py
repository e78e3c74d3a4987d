"""Window sums against SciPy, and their rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d

from monai_cellreg.losses.window import window_sum


@pytest.mark.parametrize("taps", [*([1.0] * width for width in range(1, 13)), [0.2, 1.0, 0.5], [2.0, 2.0]])
@pytest.mark.parametrize("shape", [(17,), (13, 14), (12, 13, 15)])
def test_sum_over_windows_inside_the_image(taps: list[float], shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).normal(size=(2, 3, *shape))
    expected = image
    for axis in range(2, image.ndim):
        full = correlate1d(expected, taps, axis, origin=-(len(taps) // 2))  # the window begins at its voxel
        expected = full.take(range(expected.shape[axis] - len(taps) + 1), axis)
    np.testing.assert_allclose(window_sum(torch.tensor(image), taps), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("taps", [[1.0] * 9, [0.5, 1.0, 0.5]])
def test_rounding_does_not_grow_along_the_image(taps: list[float]) -> None:
    image = torch.linspace(0, 1000, 1 << 16, dtype=torch.float64).reshape(1, 1, -1)
    error = window_sum(image.float(), taps).double() - window_sum(image, taps)
    assert float((error / window_sum(image + 1, taps)).abs().max()) < 3e-7


def test_image_stays_as_it_is() -> None:
    image = torch.rand(1, 1, 8, 9)
    copy = image.clone()
    for taps in ([1.0], [1.0] * 3, [0.5, 1.0, 0.5]):
        window_sum(image, taps)
    assert torch.equal(image, copy)
