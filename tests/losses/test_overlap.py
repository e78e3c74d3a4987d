"""Equation 1 against binary cross entropy written out in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from monai_cellreg.losses import PairSegmentationLoss


def draw(seed: int, shape: tuple[int, ...], **options: object) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), **options)


def cross_entropy(logits: Tensor, label: Tensor) -> float:
    heat, y = 1 / (1 + np.exp(-logits.double().numpy())), label.double().numpy()
    return float(-(y * np.log(heat) + (1 - y) * np.log(1 - heat)).mean())


@pytest.mark.parametrize("size", [(5, 7), (3, 4, 5)])
def test_sum_of_the_cross_entropies_of_both_images(size: tuple[int, ...]) -> None:
    shape = (2, 1, *size)
    fixed, moving = 3 * draw(0, shape), draw(1, shape)
    fixed_label, moving_label = (draw(2, shape) > 0.5).float(), torch.sigmoid(draw(3, shape))  # the second one is soft
    expected = cross_entropy(fixed, fixed_label) + cross_entropy(moving, moving_label)
    assert PairSegmentationLoss()(fixed, fixed_label, moving, moving_label).item() == pytest.approx(expected, rel=1e-5)


def test_even_heat_maps_cost_twice_the_logarithm_of_two() -> None:
    logits, label = torch.zeros(1, 1, 4, 6), torch.ones(1, 1, 4, 6)
    assert PairSegmentationLoss()(logits, label, logits, 1 - label).item() == pytest.approx(2 * np.log(2))


def test_certain_and_wrong_stays_finite() -> None:
    logits, label = torch.full((1, 1, 2, 3), 200.0), torch.zeros(1, 1, 2, 3)
    assert PairSegmentationLoss()(logits, label, -logits, label).item() == pytest.approx(200)


def test_gradient() -> None:
    logits = draw(4, (2, 1, 3, 4), dtype=torch.float64)
    label = (draw(5, (2, 1, 3, 4), dtype=torch.float64) > 0).double()
    inputs = (logits.requires_grad_(), label, (2 * logits).detach().requires_grad_(), 1 - label)
    assert torch.autograd.gradcheck(PairSegmentationLoss(), inputs)
