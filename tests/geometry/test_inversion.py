"""Inverting smooth maps point by point, against roots that SciPy and NumPy find."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from monai_cellreg.geometry import DenseTransform, SamplingGrid, ThinPlateSplineTransform
from monai_cellreg.geometry.inversion import invert_points, map_jacobian


def cubic(x: torch.Tensor) -> torch.Tensor:
    return x + 0.3 * x**3


def steep(x: torch.Tensor) -> torch.Tensor:
    """Full Newton steps from far away overshoot ever further."""
    return torch.atan(4 * x) + 0.05 * x


@pytest.mark.parametrize("mapping", [cubic, steep])
def test_roots_are_those_of_brentq(mapping) -> None:
    y = torch.linspace(-1.6, 1.6, 12, dtype=torch.float64).reshape(2, 3, 2)
    x, residual = invert_points(mapping, y, tolerance=1e-10)

    def miss(a: float, b: float) -> float:
        return mapping(torch.tensor(a, dtype=torch.float64)).item() - b

    expected = [brentq(miss, -50, 50, args=(b,)) for b in y.flatten().tolist()]
    np.testing.assert_allclose(x.flatten(), expected, rtol=0, atol=1e-8)
    assert residual.shape == (2, 3)
    assert residual.max() <= 1e-10


def test_residual_says_what_was_not_reached() -> None:
    y = torch.tensor([[[0.5, 0.0], [3.0, 0.0]]], dtype=torch.float64)
    x, residual = invert_points(torch.sin, y, tolerance=1e-9)
    assert x[0, 0, 0].item() == pytest.approx(np.arcsin(0.5), abs=1e-8)
    assert residual[0, 0] <= 1e-9
    assert residual[0, 1] >= 2.0  # no sine is 3


def test_jacobian_has_outputs_in_rows() -> None:
    def mapping(x: torch.Tensor) -> torch.Tensor:
        return torch.stack([x[..., 0] * x[..., 1], x[..., 1] ** 2 + 3 * x[..., 0]], dim=-1)

    jacobian = map_jacobian(mapping, torch.tensor([[[2.0, 5.0]]]))
    torch.testing.assert_close(jacobian, torch.tensor([[[[5.0, 2.0], [3.0, 10.0]]]]))


def bulge(strength: float) -> ThinPlateSplineTransform:
    """A spline on a square of 20 units whose middle control point moves by ``strength``; it folds from about 8."""
    control = np.stack(np.meshgrid([0.0, 10, 20], [0.0, 10, 20], indexing="ij"), axis=-1).reshape(-1, 2)
    targets = control.copy()
    targets[4] += [strength, 0]
    return ThinPlateSplineTransform(control, targets)


def test_strong_deformation_is_inverted() -> None:
    transform, grid = bulge(4.0), SamplingGrid((9, 11), np.diag([2.5, 2.0, 1]))
    assert torch.linalg.det(transform.jacobian(grid)).min() < 0.6
    x = grid.world().reshape(-1, 2)
    assert (transform.inverse().points(transform.points(x)) - x).norm(dim=-1).max() < 1e-3


def test_folding_map_has_no_inverse() -> None:
    transform, grid = bulge(40.0), SamplingGrid((9, 11), np.diag([2.5, 2.0, 1]))
    assert torch.linalg.det(transform.jacobian(grid)).min() < 0
    flat = DenseTransform(-grid.index().movedim(-1, 0)[None], SamplingGrid((9, 11)))  # every point to the origin
    with pytest.raises(
        ValueError, match=r"^transform has no inverse at 100\.00% of the points \(largest residual .* fold"
    ):
        flat.inverse().points(np.array([[3.0, 4.0], [5.0, 6.0]]))


def test_missing_points_stay_missing_and_do_not_disturb_others() -> None:
    transform = bulge(4.0)
    x = np.array([[3.0, 5.0], [np.nan, np.nan], [11.0, 7.0]])
    back = transform.inverse().points(transform.points(x))
    np.testing.assert_allclose(back, x, rtol=0, atol=1e-4)
    broken = bulge(np.nan).inverse()
    with pytest.raises(ValueError, match="^transform has no inverse at 100.00% of the points"):
        broken.points(x[:1])
