"""Grid error against distances written out in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from monai_cellreg.metrics import GridError


def fields(seed: int, batch: int = 3, size: tuple[int, ...] = (5, 8)) -> Tensor:
    return torch.randn(batch, len(size), *size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [(5, 8), (3, 4, 6)])
def test_mean_distance_in_voxels(size: tuple[int, ...]) -> None:
    predicted, truth = fields(0, size=size), fields(1, size=size)
    distance = np.sqrt(((predicted - truth).numpy() ** 2).sum(axis=1))
    expected = distance.reshape(3, -1).mean(axis=1, keepdims=True)
    np.testing.assert_allclose(GridError()(predicted, truth).numpy(), expected, rtol=1e-5)


def test_constant_error_is_its_length() -> None:
    truth = fields(0)
    assert GridError()(truth + torch.tensor([3.0, -4.0]).reshape(1, 2, 1, 1), truth).tolist() == pytest.approx(
        np.full((3, 1), 5.0), rel=1e-5
    )


def test_mean_over_all_pairs_of_all_batches_until_reset() -> None:
    metric = GridError()
    values = np.concatenate([metric(fields(k, k), fields(k + 10, k)).numpy() for k in (1, 4)])
    assert len(values) == 5
    assert metric.aggregate().item() == pytest.approx(values.mean(), rel=1e-6)
    metric.reset()
    metric(fields(1, 1), fields(11, 1))
    assert metric.aggregate().item() == pytest.approx(values[0, 0])


def test_fields_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"y_pred has shape \(3, 2, 5, 8\), y \(3, 2, 8, 5\); expected the same"):
        GridError()(fields(0), fields(0, size=(8, 5)))
    with pytest.raises(ValueError, match="y None; expected the same"):
        GridError()(fields(0))
