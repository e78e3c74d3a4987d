"""Equation 3 against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from monai_cellreg.losses import CycleConsistencyLoss

Pair = tuple[Tensor, Tensor]


def pairs(channels: int = 1, dtype: torch.dtype = torch.float64) -> tuple[Pair, Pair, Pair, Pair]:
    """Heat maps, warped heat maps, images and warped images, all different."""
    generator = torch.Generator().manual_seed(0)
    heat = torch.rand(4, 2, 1, 4, 5, generator=generator, dtype=dtype)
    image = torch.rand(4, 2, channels, 4, 5, generator=generator, dtype=dtype)
    return (heat[0], heat[1]), (heat[2], heat[3]), (image[0], image[1]), (image[2], image[3])


@pytest.mark.parametrize("alpha", [0.0, 0.1, 2.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_squared_differences_of_heat_maps_and_weighted_images(alpha: float, channels: int) -> None:
    given = pairs(channels)
    heat, warped_heat, image, warped_image = ([side.numpy() for side in pair] for pair in given)
    expected = sum(np.mean((heat[k] - warped_heat[k]) ** 2) for k in (0, 1))
    expected += alpha * sum(np.mean((image[k] - warped_image[k]) ** 2) for k in (0, 1))
    assert CycleConsistencyLoss(alpha)(*given).item() == pytest.approx(expected, rel=1e-12)


def test_consistent_pairs_cost_nothing() -> None:
    heat, _, image, _ = pairs()
    assert CycleConsistencyLoss()(heat, heat, image, image).item() == 0


def test_gradient_reaches_every_input() -> None:
    flat = [value.requires_grad_() for pair in pairs() for value in pair]

    def loss(*values: Tensor) -> Tensor:
        heat, warped_heat, image, warped_image = (values[k : k + 2] for k in (0, 2, 4, 6))
        return CycleConsistencyLoss(0.3)(heat, warped_heat, image, warped_image)

    assert torch.autograd.gradcheck(loss, flat)


@pytest.mark.parametrize("alpha", [-0.1, float("nan")])
def test_weight_below_zero_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match=f"alpha is {alpha}; expected a weight of at least 0"):
        CycleConsistencyLoss(alpha)
