"""Equation 2 in units of the cube: the same relative error costs the same at every image size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_cellreg.losses import TransformationLoss


@pytest.mark.parametrize("size", [(5, 9), (33, 65), (64, 48), (5, 7, 9), (16, 8, 12)])
def test_constant_error_on_the_cube_costs_its_square_at_every_size(size: tuple[int, ...]) -> None:
    on_cube = np.array([0.1, -0.2, 0.05])[: len(size)]
    in_voxels = torch.tensor(on_cube * (np.array(size) - 1) / 2).float()
    truth = torch.randn(2, len(size), *size)
    predicted = truth + in_voxels.reshape(1, -1, *([1] * len(size)))
    assert TransformationLoss()(predicted, truth).item() == pytest.approx(np.sum(on_cube**2), rel=1e-4)


def test_mean_over_points_of_the_squared_distance() -> None:
    rng = np.random.default_rng(0)
    predicted, truth = rng.normal(size=(2, 3, 2, 6, 11))
    distance = (predicted - truth) * np.array([2 / 5, 2 / 10])[:, None, None]
    expected = np.mean(np.linalg.norm(distance, axis=1) ** 2)
    value = TransformationLoss()(torch.from_numpy(predicted), torch.from_numpy(truth))
    assert value.item() == pytest.approx(expected, rel=1e-12)


def test_one_wrong_point_is_shared_by_all() -> None:
    truth = torch.zeros(1, 2, 3, 5)
    predicted = truth.clone()
    predicted[0, 1, 2, 4] = 1  # a column of 5 is half a unit of the cube wide
    assert TransformationLoss()(predicted, truth).item() == pytest.approx(0.25 / 15)


def test_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    fields = [torch.randn(2, 2, 3, 4, dtype=torch.float64, generator=generator, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(TransformationLoss(), fields)


def test_fields_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"predicted_vox has shape \(1, 2, 4, 5\), true_vox \(2, 2, 4, 5\); expected"):
        TransformationLoss()(torch.zeros(1, 2, 4, 5), torch.zeros(2, 2, 4, 5))
