"""Folded voxels against determinants of NumPy's gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from monai_cellreg.metrics import FoldingFraction


def folded_share(field: np.ndarray) -> float:
    """Share of voxels of a field (D, *size) at which the Jacobian determinant is not positive."""
    rows = [np.stack(np.gradient(component), axis=-1) for component in field]
    jacobian = np.stack(rows, axis=-2) + np.eye(len(field))
    return float(np.mean(np.linalg.det(jacobian) <= 0))


def fields(seed: int, batch: int = 2, size: tuple[int, ...] = (9, 14)) -> Tensor:
    return 0.8 * torch.randn(batch, len(size), *size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [(9, 14), (5, 6, 7)])
def test_share_of_voxels_that_fold(size: tuple[int, ...]) -> None:
    field = fields(0, size=size)
    expected = [[folded_share(f)] for f in field.double().numpy()]
    assert 0.05 < np.mean(expected) < 0.95
    np.testing.assert_allclose(FoldingFraction()(field).numpy(), expected, atol=1e-6)


def test_identity_does_not_fold_and_a_mirror_folds_everywhere() -> None:
    mirror = torch.zeros(1, 2, 6, 9)
    mirror[0, 1] = -2 * torch.arange(9.0)  # column c goes to -c
    assert FoldingFraction()(torch.zeros(1, 2, 6, 9)).item() == 0
    assert FoldingFraction()(mirror).item() == 1


def test_map_onto_a_line_counts_as_folded() -> None:
    flat = torch.zeros(1, 2, 6, 9)
    flat[0, 0] = -torch.arange(6.0)[:, None]  # all rows go to row 0
    assert FoldingFraction()(flat).item() == 1


def test_truth_is_not_used_and_the_mean_is_over_all_batches_until_reset() -> None:
    metric = FoldingFraction()
    values = np.concatenate([metric(fields(k, k), torch.zeros(k, 2, 9, 14)).numpy() for k in (1, 3)])
    assert metric.aggregate().item() == pytest.approx(values.mean(), rel=1e-6)
    metric.reset()
    metric(fields(1, 1))
    assert metric.aggregate().item() == pytest.approx(values[0, 0])
