"""Energies of splines against SciPy's splines, integrated numerically, and against closed forms."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline, RBFInterpolator
from torch import Tensor

from monai_cellreg.geometry import (
    BSplineField,
    BSplineTransform,
    SamplingGrid,
    ThinPlateSplineField,
    control_lattice,
    fit_bspline,
)
from monai_cellreg.losses import BendingEnergyLoss, BSplineBendingLoss, BSplineDiffusionLoss, ThinPlateSplineBendingLoss

SHAPES = {2: (6, 5), 3: (5, 4, 6)}
SPACING = {2: (0.5, 2.0), 3: (0.5, 2.0, 1.25)}


def made_lattice(dims: int, turned: Any) -> SamplingGrid:
    """Turned, anisotropic, far from the origin."""
    affine = np.eye(dims + 1)
    affine[:-1, :-1] = turned(dims, 0.4) * SPACING[dims]
    affine[:-1, -1] = 30.0
    return SamplingGrid(SHAPES[dims], affine)


def drawn(dims: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, dims, *SHAPES[dims], dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def mean_of_squares(coefficients: np.ndarray, orders: tuple[int, ...], order: int, spacing: tuple[float, ...]) -> float:
    """Mean over the valid region of the squared derivative, by SciPy's splines at many points of every cell."""
    values = coefficients
    for axis, (size, derivative, length) in enumerate(zip(coefficients.shape, orders, spacing, strict=True)):
        knots = np.arange(-order, size + 1) - (order - 1) / 2 + (order - 1)  # those of splines centred at 0 .. size - 1
        first = (order - 1) / 2
        x = first + (np.arange(40 * (size - order)) + 0.5) / 40
        basis = [BSpline(knots, np.eye(size)[k], order)(x, nu=derivative) for k in range(size)]
        values = np.moveaxis(np.tensordot(np.stack(basis, 1) / length**derivative, values, (1, axis)), 0, axis)
    return float((values**2).mean())


@pytest.mark.parametrize(("loss", "derivative"), [(BSplineDiffusionLoss, 1), (BSplineBendingLoss, 2)])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_numerical_integral_of_scipy(loss: Any, derivative: int, order: int, spatial_dims: int, turned: Any) -> None:
    if order < derivative:
        with pytest.raises(ValueError, match="order is 1, whose derivatives of order 2 are not square integrable"):
            loss(made_lattice(spatial_dims, turned), order=order)
        return
    coefficients = drawn(spatial_dims)
    each = loss(made_lattice(spatial_dims, turned), order=order, reduction="none")(coefficients)
    assert each.shape == (2, spatial_dims)
    for item, component in ((0, 0), (1, spatial_dims - 1)):
        expected = 0.0
        for axes in product(range(spatial_dims), repeat=derivative):
            orders = tuple(axes.count(axis) for axis in range(spatial_dims))
            values = coefficients[item, component].numpy()
            expected += mean_of_squares(values, orders, order, SPACING[spatial_dims])
        assert each[item, component].item() == pytest.approx(expected, rel=2e-3)
    made = loss(made_lattice(spatial_dims, turned), order=order)
    assert made(coefficients).item() == pytest.approx(each.mean().item(), rel=1e-12)
    summed = loss(made_lattice(spatial_dims, turned), order=order, reduction="sum")
    assert summed(coefficients).item() == pytest.approx(each.sum().item(), rel=1e-12)


def test_quadratic_maps_in_closed_form(spatial_dims: int, turned: Any) -> None:
    lattice = made_lattice(spatial_dims, turned)
    grid = SamplingGrid(
        tuple(4 * n for n in SHAPES[spatial_dims]), lattice.affine @ np.diag([*[0.2] * spatial_dims, 1])
    )
    x = grid.world().numpy()
    hessians = np.random.default_rng(3).normal(size=(spatial_dims,) * 3)
    hessians = hessians + hessians.swapaxes(1, 2)
    matrix = np.random.default_rng(4).normal(size=(spatial_dims,) * 2)
    around = x - x.reshape(-1, spatial_dims).mean(0)
    field = 0.5 * np.einsum("ijk,...j,...k->i...", hessians, around, around)
    fitted = control_lattice(grid, control_shape=SHAPES[spatial_dims])
    spline = fit_bspline(torch.tensor(field)[None], grid, fitted)
    loss = BSplineBendingLoss(fitted)
    assert loss(spline.coefficients).item() == pytest.approx((hessians**2).sum((1, 2)).mean(), rel=1e-8)
    affine = fit_bspline(torch.tensor(np.einsum("ij,...j->i...", matrix, x))[None], grid, fitted)
    assert loss(affine.coefficients) < 1e-20
    diffusion = BSplineDiffusionLoss(fitted)
    assert diffusion(affine.coefficients).item() == pytest.approx((matrix**2).sum(1).mean(), rel=1e-8)


@pytest.mark.parametrize("order", [2, 3])
def test_refined_lattice_has_the_same_energy(order: int, spatial_dims: int, turned: Any) -> None:
    spline = BSplineTransform(drawn(spatial_dims), made_lattice(spatial_dims, turned), order=order)
    finer = spline.refined()
    for loss in (BSplineBendingLoss, BSplineDiffusionLoss):
        energies = [loss(s.lattice, order=order)(s.coefficients).item() for s in (spline, finer)]
        assert energies[1] == pytest.approx(energies[0], rel=1e-10)


def test_fine_voxels_come_close(spatial_dims: int) -> None:
    size = (97, 61) if spatial_dims == 2 else (33, 41, 37)
    grid = SamplingGrid(size, np.diag([*SPACING[spatial_dims], 1.0]))
    lattice = control_lattice(grid, control_shape=(5,) * spatial_dims)
    coefficients = torch.randn(1, spatial_dims, *lattice.shape, dtype=torch.float64)
    world = BSplineTransform(coefficients, lattice).displacement(grid)
    voxels = world / torch.tensor(SPACING[spatial_dims]).reshape(-1, *[1] * spatial_dims)
    dense = BendingEnergyLoss(spacing=SPACING[spatial_dims])(voxels)
    assert BSplineBendingLoss(lattice)(coefficients).item() == pytest.approx(dense.item(), rel=0.1)


def test_parameters_of_the_head_and_their_gradient(spatial_dims: int) -> None:
    field = BSplineField((20, 31, 24)[:spatial_dims], control_shape=SHAPES[spatial_dims], order=2)
    parameters = drawn(spatial_dims, batch=1).requires_grad_()
    for loss in (BSplineBendingLoss, BSplineDiffusionLoss):
        made = loss(field.lattice, order=field.order)
        assert torch.autograd.gradcheck(made, [parameters], fast_mode=True)
        exact = made(parameters)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            low = made(parameters.detach().float())
        assert low.dtype == torch.float32 and low.item() == pytest.approx(exact.item(), rel=1e-6)
    shift = torch.ones(1, *field.parameter_shape)
    assert BSplineDiffusionLoss(field.lattice, order=2)(shift).abs() < 1e-12


def test_bad_lattices_and_coefficients_are_refused() -> None:
    sheared = np.array([[1.0, 0.2, 0], [0, 1, 0], [0, 0, 1]])
    with pytest.raises(ValueError, match="whose axes are not at right angles; expected a lattice that is turned"):
        BSplineBendingLoss(SamplingGrid((5, 6), sheared))
    with pytest.raises(ValueError, match="lattice has 5x3 control points; expected at least 4 along every axis"):
        BSplineBendingLoss(SamplingGrid((5, 3)))
    loss = BSplineBendingLoss(SamplingGrid((5, 6)))
    with pytest.raises(ValueError, match="coefficients has shape 1x2x6x5 but its grid is 5x6"):
        loss(torch.zeros(1, 2, 6, 5))
    with pytest.raises(ValueError, match="coefficients holds 60 of 60 values that are NaN or infinite"):
        loss(torch.full((1, 2, 5, 6), torch.nan))
    with pytest.raises(ValueError, match="reduction is 'max', expected one of"):
        BSplineBendingLoss(SamplingGrid((5, 6)), reduction="max")


# --- thin-plate splines ---------------------------------------------------------------------------------------------


def scattered(dims: int, count: int = 7) -> np.ndarray:
    """Control points (count, D) far from the origin, a few units apart."""
    return np.random.default_rng(2).uniform(-1, 1, size=(count, dims)) * [3.0, 1.5, 2.0][:dims]


def kernel_coefficients(points: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Weights (K, D) of r^2 log r or -r, as SciPy solves for them."""
    kernel = "thin_plate_spline" if points.shape[1] == 2 else "linear"
    fitted = RBFInterpolator(points, values, kernel=kernel, degree=1)
    return fitted._coeffs[: len(points)]


def integrated_energy(points: np.ndarray, weights: np.ndarray, reach: float, count: int) -> float:
    """Integral of the squared second derivatives of ``sum_k w_k phi(x - p_k)``, on a grid that is finest inside."""
    dims = points.shape[1]
    t = (np.arange(count) + 0.5) / count * 2 * reach - reach
    x = np.stack(np.meshgrid(*[np.sinh(t)] * dims, indexing="ij"), -1)
    volume = np.prod(np.stack(np.meshgrid(*[np.cosh(t)] * dims, indexing="ij")), 0) * (t[1] - t[0]) ** dims
    hessian = np.zeros((*x.shape[:-1], dims, dims))
    for p, w in zip(points, weights, strict=True):
        d = x - p
        r = np.linalg.norm(d, axis=-1)[..., None, None]
        outer = d[..., :, None] * d[..., None, :]
        eye = np.eye(dims)
        hessian += w * ((2 * np.log(r) + 1) * eye + 2 * outer / r**2 if dims == 2 else outer / r**3 - eye / r)
    return float(((hessian**2).sum((-1, -2)) * volume).sum())


def test_bending_energy_is_the_integral_over_space(spatial_dims: int) -> None:
    points = scattered(spatial_dims)
    values = np.random.default_rng(5).normal(size=(7, spatial_dims))
    found = ThinPlateSplineBendingLoss(torch.tensor(points), reduction="none")(torch.tensor(values)[None])
    assert found.shape == (1, spatial_dims)
    weights = kernel_coefficients(points, values)
    closed = 8 * np.pi * (weights * values).sum(0)
    assert np.abs(found[0].numpy() / closed - 1).max() < 1e-8
    reach, count = (7.0, 400) if spatial_dims == 2 else (4.5, 70)
    for component in range(2):
        integral = integrated_energy(points, weights[:, component], reach, count)
        assert found[0, component].item() == pytest.approx(integral, rel=0.03)


def test_no_energy_for_affine_maps_and_more_for_any_other(spatial_dims: int) -> None:
    points = torch.tensor(scattered(spatial_dims)) + 50
    loss = ThinPlateSplineBendingLoss(points)
    matrix = torch.randn(spatial_dims, spatial_dims, dtype=torch.float64)
    affine = (points @ matrix + 3)[None]
    other = torch.randn(4, *points.shape, dtype=torch.float64)
    assert loss(affine).abs() < 1e-9 * loss(other)
    torch.testing.assert_close(loss(other + affine), loss(other), rtol=1e-8, atol=0)
    assert (ThinPlateSplineBendingLoss(points, reduction="none")(other) > 0).all()


def test_energy_follows_the_unit_and_keeps_its_value_when_turned(spatial_dims: int, turned: Any) -> None:
    points = torch.tensor(scattered(spatial_dims))
    values = torch.randn(2, *points.shape, dtype=torch.float64)
    expected = ThinPlateSplineBendingLoss(points, reduction="sum")(values)
    turn = torch.tensor(turned(spatial_dims, 0.7))
    moved = ThinPlateSplineBendingLoss(points @ turn.T - 100, reduction="sum")(values @ turn.T)
    torch.testing.assert_close(moved, expected, rtol=1e-8, atol=0)
    rescaled = ThinPlateSplineBendingLoss(1000 * points, reduction="sum")(1000 * values)
    torch.testing.assert_close(rescaled, expected * 1000.0 ** (spatial_dims - 2), rtol=1e-8, atol=0)


def test_parameters_of_the_thin_plate_head_and_their_gradient(spatial_dims: int) -> None:
    field = ThinPlateSplineField((16, 20, 12)[:spatial_dims], (3,) * spatial_dims)
    loss = ThinPlateSplineBendingLoss(field.control_points)
    parameters = torch.randn(2, *field.parameter_shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, [parameters], fast_mode=True)
    parts = [loss(parameters[k : k + 1]) for k in range(2)]
    torch.testing.assert_close(loss(parameters), torch.stack(parts).mean())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = loss(parameters.detach().float())
    assert low.dtype == torch.float32 and low.item() == pytest.approx(loss(parameters).item(), rel=1e-5)


def test_bad_control_points_and_displacements_are_refused() -> None:
    with pytest.raises(ValueError, match=r"control_points has shape 4; expected \(K, D\) with D of 2 or 3"):
        ThinPlateSplineBendingLoss(torch.zeros(4))
    for flat in (torch.zeros(5, 2), torch.arange(5.0)[:, None].expand(5, 2)):
        with pytest.raises(ValueError, match="control_points give a singular spline system"):
            ThinPlateSplineBendingLoss(flat)
    loss = ThinPlateSplineBendingLoss(torch.tensor(scattered(2)))
    with pytest.raises(ValueError, match=r"displacement has shape 1x6x2, expected \(B, 7, D\), one vector for each"):
        loss(torch.zeros(1, 6, 2))
    with pytest.raises(ValueError, match="displacement holds 14 of 14 values that are NaN"):
        loss(torch.full((1, 7, 2), torch.nan))
