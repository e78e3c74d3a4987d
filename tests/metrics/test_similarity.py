"""The correlation coefficient is NumPy's, knows nothing of brightness and contrast, and is 0 where there is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from monai_cellreg.metrics import Correlation


def images(size: tuple[int, ...], channels: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    one = torch.rand(3, channels, *size, generator=generator)
    return one, 0.4 * one + torch.rand(one.shape, generator=generator)


@pytest.mark.parametrize("size", [(7, 12), (4, 5, 6)])
def test_each_channel_of_each_pair_as_numpy_counts_it(size: tuple[int, ...]) -> None:
    one, other = images(size)
    found = Correlation()(one, other)
    for row, x, y in zip(found, one.numpy(), other.numpy(), strict=True):
        expected = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(x, y, strict=True)]
        np.testing.assert_allclose(row.numpy(), expected, atol=1e-6)
        assert 0.2 < min(expected) < 0.9


def test_brightness_and_contrast_do_not_count_but_a_negative_does() -> None:
    one, other = images((7, 12))
    plain = Correlation()(one, other)
    torch.testing.assert_close(Correlation()(250 * one + 4000, 0.01 * other - 3), plain, atol=1e-5, rtol=0)
    torch.testing.assert_close(Correlation()(one, -other), -plain)
    torch.testing.assert_close(Correlation()(one, 1 - 2 * one), torch.full((3, 2), -1.0))


def test_constant_image_has_none() -> None:
    one, _ = images((7, 12))
    flat = torch.full_like(one, 0.3)
    for pair in ((flat, one), (one, flat), (flat, flat)):
        assert not Correlation()(*pair).any()


def test_never_beyond_one_and_never_of_what_is_no_number() -> None:
    for seed in range(20):
        image = torch.rand(1, 1, 3, 5, generator=torch.Generator().manual_seed(seed))
        assert Correlation()(image, 3 * image + 1).max() <= 1
    with pytest.raises(ValueError, match="^y_pred holds 1 of 4 values that are NaN"):
        Correlation()(torch.tensor([[[[0.0, torch.nan, 1, 1]]]]), torch.ones(1, 1, 1, 4))
    with pytest.raises(ValueError, match="^y is None, expected the image"):
        Correlation()(torch.ones(1, 1, 2, 2))
