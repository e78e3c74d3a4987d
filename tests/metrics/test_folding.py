"""Folded voxels and the spread of the log-Jacobian against determinants of NumPy's gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from monai_cellreg.metrics import FoldingFraction, LogJacobianSpread


def determinant(field: np.ndarray) -> np.ndarray:
    """Jacobian determinant of x + field(x) at the voxels of a field (D, *size)."""
    rows = [np.stack(np.gradient(component), axis=-1) for component in field]
    return np.linalg.det(np.stack(rows, axis=-2) + np.eye(len(field)))


def folded_share(field: np.ndarray) -> float:
    """Share of voxels of a field (D, *size) at which the Jacobian determinant is not positive."""
    return float(np.mean(determinant(field) <= 0))


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


@pytest.mark.parametrize("size", [(9, 14), (7, 8, 9)])
def test_spread_is_that_of_the_learn2reg_challenge(size: tuple[int, ...]) -> None:
    field = fields(0, size=size)
    inner = (slice(2, -2),) * len(size)
    expected = [np.log((determinant(f)[inner] + 3).clip(1e-9, 1e9)).std() for f in field.double().numpy()]
    np.testing.assert_allclose(LogJacobianSpread()(field)[:, 0].numpy(), expected, rtol=1e-4)


def test_spread_of_the_logarithm_itself_counts_folded_voxels() -> None:
    field = fields(0, size=(8, 11))
    values = determinant(field[0].double().numpy())
    assert (values <= 0).any()
    expected = np.log(np.maximum(values, 1e-9)).std()
    assert LogJacobianSpread(offset=0, border=0)(field[:1]).item() == pytest.approx(expected, rel=1e-4)


def test_spread_of_a_known_map() -> None:
    """One half of the image keeps its area, the other is stretched to three times: log J is 0 or log 3."""
    halves = torch.zeros(1, 2, 12, 8)
    halves[0, 0, 6:] = 2 * torch.arange(1.0, 7)[:, None]
    determinants = np.log([1] * 5 + [2] + [3] * 6)  # the central difference at the seam sees half of each
    for offset in (0.0, 3.0):
        expected = np.log(np.exp(determinants) + offset).std()
        assert LogJacobianSpread(offset=offset, border=0)(halves).item() == pytest.approx(expected, rel=1e-5)
    assert LogJacobianSpread(offset=0)(torch.full((1, 2, 9, 9), 0.4)).item() < 1e-6


def test_bad_fields_are_refused() -> None:
    for metric in (FoldingFraction(), LogJacobianSpread(border=0)):
        with pytest.raises(ValueError, match="^y_pred has shape 1x2x1x9, which is one voxel thick"):
            metric(torch.zeros(1, 2, 1, 9))
        with pytest.raises(ValueError, match="^y_pred holds 1 of 24 values that are NaN"):
            metric(torch.tensor([torch.nan] + [0.0] * 23).reshape(1, 2, 3, 4))
        with pytest.raises(ValueError, match="^y_pred has shape 1x3x4x4, expected a voxel field"):
            metric(torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match="^y_pred has shape 1x2x4x9, which a border of 2 voxels uses up"):
        LogJacobianSpread()(torch.zeros(1, 2, 4, 9))
    for wrong in ({"offset": -1.0}, {"offset": float("nan")}, {"border": -1}):
        with pytest.raises(ValueError, match="^offset is .* expected finite numbers of at least 0"):
            LogJacobianSpread(**wrong)
