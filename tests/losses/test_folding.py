"""Determinants against NumPy and the folding metric, penalties against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from monai_cellreg.geometry import voxel_jacobian_determinant
from monai_cellreg.losses import FoldingLoss, VolumeChangeLoss
from monai_cellreg.losses.folding import field_determinant
from monai_cellreg.metrics import FoldingFraction

SHAPES = {2: (5, 7), 3: (4, 5, 6)}


def affine_field(matrix: np.ndarray, shape: tuple[int, ...]) -> Tensor:
    """The voxel field of ``x -> matrix @ x + 2``."""
    x = np.indices(shape).astype(float)
    return torch.tensor(np.einsum("ij,j...->i...", matrix, x) - x + 2)[None]


def linear_map(dims: int, determinant: float) -> np.ndarray:
    """A sheared matrix of this determinant."""
    matrix = np.eye(dims) + np.triu(np.random.default_rng(0).normal(size=(dims, dims)), 1)
    matrix = matrix @ (np.eye(dims) + np.tril(np.random.default_rng(1).normal(size=(dims, dims)), -1))
    return matrix @ np.diag([determinant, *[1.0] * (dims - 1)])


def test_determinants_are_those_of_the_metric(spatial_dims: int) -> None:
    field = torch.randn(2, spatial_dims, *SHAPES[spatial_dims], dtype=torch.float64)
    found = field_determinant(field)
    assert found.shape == (2, 1, *SHAPES[spatial_dims])
    torch.testing.assert_close(found[:, 0], voxel_jacobian_determinant(field))
    for determinant in (2.5, -0.7, 0.0):
        matrix = linear_map(spatial_dims, determinant)
        assert np.linalg.det(matrix) == pytest.approx(determinant, abs=1e-12)
        found = field_determinant(affine_field(matrix, SHAPES[spatial_dims]))
        assert (found - determinant).abs().max() < 1e-12
    folds = (FoldingLoss(0.0, 1, reduction="none")(field) > 0).double().flatten(1).mean(1, keepdim=True)
    metric = FoldingFraction()
    metric(y_pred=field)
    assert 0.1 < folds.mean() < 0.9
    torch.testing.assert_close(metric.get_buffer().double(), folds, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("determinant", "threshold", "power", "expected"),
    [(-0.5, 0.0, 1, 0.5), (-0.5, 0.0, 2, 0.25), (0.3, 0.0, 2, 0.0), (0.3, 0.5, 2, 0.04), (0.3, 0.5, 1, 0.2)],
)
def test_depth_below_the_threshold(
    spatial_dims: int, determinant: float, threshold: float, power: int, expected: float
) -> None:
    field = affine_field(linear_map(spatial_dims, determinant), SHAPES[spatial_dims])
    each = FoldingLoss(threshold, power, reduction="none")(field)
    assert each.shape == (1, 1, *SHAPES[spatial_dims])
    assert (each - expected).abs().max() < 1e-12
    assert FoldingLoss(threshold, power)(field).item() == pytest.approx(expected, abs=1e-12)


def test_growth_costs_as_much_as_shrinking(spatial_dims: int) -> None:
    for factor in (0.25, 4.0):
        field = affine_field(linear_map(spatial_dims, factor), SHAPES[spatial_dims])
        assert VolumeChangeLoss()(field).item() == pytest.approx(np.log(4) ** 2)
    turned = affine_field(np.linalg.qr(linear_map(spatial_dims, 2.0))[0] * [1], SHAPES[spatial_dims])
    sign = np.sign(field_determinant(turned)[(0,) * (2 + spatial_dims)].item())
    assert VolumeChangeLoss()(turned).item() == pytest.approx(0 if sign > 0 else (np.log(0.05) - 21) ** 2, abs=1e-12)


def test_logarithm_goes_on_straight_below_the_floor() -> None:
    def root(determinant: float, floor: float) -> float:
        return float(VolumeChangeLoss(floor)(affine_field(linear_map(2, determinant), (5, 6)))) ** 0.5

    assert root(0.1, 0.1) == pytest.approx(-np.log(0.1))
    assert root(0.0, 0.1) == pytest.approx(1 - np.log(0.1))
    assert root(-0.3, 0.1) == pytest.approx(4 - np.log(0.1))
    assert root(0.1 - 1e-6, 0.1) - root(0.1 + 1e-6, 0.1) == pytest.approx(2e-5, rel=1e-3)


@pytest.mark.parametrize("loss", [FoldingLoss(0.2), FoldingLoss(0.2, 1), VolumeChangeLoss()])
def test_descent_unfolds(loss: torch.nn.Module, spatial_dims: int) -> None:
    generator = torch.Generator().manual_seed(1)
    field = (0.8 * torch.randn(1, spatial_dims, *SHAPES[spatial_dims], generator=generator)).requires_grad_()
    before = FoldingLoss(power=1)(field).item()
    assert (field_determinant(field) < 0).sum() > 5
    optimizer = torch.optim.Adam([field], lr=0.04)
    for _ in range(50):
        optimizer.zero_grad()
        loss(field).backward()
        optimizer.step()
    assert FoldingLoss(power=1)(field).item() < 0.02 * before


def test_gradient_where_the_matrix_is_zero(spatial_dims: int) -> None:
    field = affine_field(np.zeros((spatial_dims,) * 2), SHAPES[spatial_dims]).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: FoldingLoss(0.5, 1)(x), [field], fast_mode=True)


def test_unit_of_the_world_cancels(turned: object) -> None:
    """A field in world units on anisotropic voxels has the determinants of the voxel field."""
    spacing = np.array([0.5, 2.0])
    field = torch.randn(1, 2, 6, 7, dtype=torch.float64)
    world = field[0].numpy() * spacing[:, None, None]
    columns = [np.gradient(world, spacing[j], axis=1 + j) for j in range(2)]
    jacobian = np.stack(columns, 1).transpose(2, 3, 0, 1) + np.eye(2)
    assert np.abs(np.linalg.det(jacobian) - field_determinant(field)[0, 0].numpy()).max() < 1e-12


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="power is 3, expected one of 1, 2"):
        FoldingLoss(power=3)
    with pytest.raises(ValueError, match="floor is 0, expected finite numbers above 0"):
        VolumeChangeLoss(0)
