"""Mean squared difference against NumPy and PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from monai_cellreg.losses import MSELoss


def images(spatial_dims: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return list(torch.rand(3, 2, 3, *(7, 5, 6)[:spatial_dims], generator=generator, dtype=torch.float64))


def test_value(spatial_dims: int) -> None:
    pred, target, weight = images(spatial_dims)
    torch.testing.assert_close(MSELoss()(pred, target), functional.mse_loss(pred, target))
    square = (pred.numpy() - target.numpy()) ** 2
    expected = np.mean([np.average(square[k], weights=weight[k].numpy()) for k in range(2)])
    assert abs(float(MSELoss()(pred, target, weight)) - expected) < 1e-12


def test_parts_and_sum(spatial_dims: int) -> None:
    pred, target, weight = images(spatial_dims)
    expected = weight.numpy() * (pred.numpy() - target.numpy()) ** 2
    np.testing.assert_allclose(MSELoss("none")(pred, target, weight), expected, rtol=0, atol=1e-14)
    assert abs(float(MSELoss("sum")(pred, target, weight)) - expected.sum()) < 1e-10


def test_weight_of_one_channel_counts_for_all() -> None:
    pred, target = torch.zeros(1, 2, 2), torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    assert float(MSELoss()(pred, target, torch.tensor([[[3.0, 1.0]]]))) == (3 * 1 + 4 + 3 * 9 + 16) / 8


def test_arrays_are_refused() -> None:
    with pytest.raises(TypeError, match="target is a ndarray, expected a tensor; use torch.as_tensor"):
        MSELoss()(torch.zeros(1, 1, 4, 5), np.zeros((1, 1, 4, 5)))
