"""Splines fitted to more pairs than control points, against SciPy's smoothing splines and least squares written out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from scipy.interpolate import RBFInterpolator

from monai_cellreg.geometry import (
    DenseTransform,
    RadialBasisTransform,
    SamplingGrid,
    SpatialTransform,
    ThinPlateSplineTransform,
    corresponding_points,
    fit_radial_basis,
    fit_thin_plate_spline,
    fitting_splines,
)

SIGMA = 12.0
Fit = Callable[..., SpatialTransform]
FITS: dict[str, tuple[Fit, Callable[..., SpatialTransform]]] = {  # the fit, and the map that interpolates targets
    "tps": (fit_thin_plate_spline, ThinPlateSplineTransform),
    "rbf": (partial(fit_radial_basis, sigma=SIGMA), partial(RadialBasisTransform.from_targets, sigma=SIGMA)),
}


@pytest.fixture(params=FITS.values(), ids=FITS.keys())
def family(request: pytest.FixtureRequest) -> tuple[Fit, Callable[..., SpatialTransform]]:
    return request.param


def pairs(dims: int, *, count: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    fixed = rng.uniform(0, 40, size=(count, dims)) * [1.0, 0.7, 1.2][:dims] + [500.0, -80.0, 20.0][:dims]
    return fixed, fixed + 2 * rng.normal(size=fixed.shape)


def lattice(dims: int) -> np.ndarray:
    """3 control points along each axis, around the pairs."""
    axes = [np.linspace(0, 40 * s, 3) + o for s, o in zip([1, 0.7, 1.2], [500, -80, 20], strict=True)][:dims]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, dims)


@pytest.mark.parametrize("smoothing", [0.0, 30.0])
def test_thin_plate_spline_of_all_points_agrees_with_scipy(spatial_dims: int, smoothing: float) -> None:
    fixed, moving = pairs(spatial_dims)
    kernel = {2: "thin_plate_spline", 3: "linear"}[spatial_dims]
    oracle = RBFInterpolator(fixed, moving, kernel=kernel, degree=1, smoothing=smoothing)
    x, _ = pairs(spatial_dims, seed=1)
    for given in ({}, {"control_points": fixed}, {"weights": np.ones(len(fixed))}):
        found = fit_thin_plate_spline(fixed, moving, smoothing=smoothing, **given)
        np.testing.assert_allclose(found.points(x), oracle(x), rtol=0, atol=1e-7)


@pytest.mark.parametrize("smoothing", [0.0, 0.5])
def test_radial_basis_of_all_points_agrees_with_scipy(spatial_dims: int, smoothing: float) -> None:
    fixed, moving = pairs(spatial_dims)
    sigma = 4.0
    oracle = RBFInterpolator(
        fixed, moving - fixed, kernel="gaussian", epsilon=1 / (2**0.5 * sigma), degree=-1, smoothing=smoothing
    )
    x, _ = pairs(spatial_dims, seed=1)
    for given in ({}, {"control_points": fixed}, {"weights": np.ones(len(fixed))}):
        found = fit_radial_basis(fixed, moving, sigma=sigma, smoothing=smoothing, **given)
        np.testing.assert_allclose(found.points(x), x + oracle(x), rtol=0, atol=1e-7)


@pytest.mark.parametrize("smoothing", [0.0, 5.0])
def test_a_weight_of_two_is_a_pair_given_twice(spatial_dims: int, family: tuple, smoothing: float) -> None:
    fit, _ = family
    (fixed, moving), control = pairs(spatial_dims), lattice(spatial_dims)
    weights = np.ones(len(fixed))
    weights[:5], weights[-1] = 2, 0
    weighted = fit(fixed, moving, control_points=control, smoothing=smoothing, weights=weights)
    repeated = [np.concatenate([x[:-1], x[:5]]) for x in (fixed, moving)]
    twice = fit(*repeated, control_points=control, smoothing=smoothing)
    np.testing.assert_allclose(weighted.points(fixed), twice.points(fixed), rtol=0, atol=1e-8)
    plain = fit(fixed, moving, control_points=control, smoothing=smoothing)
    assert np.abs(weighted.points(fixed) - plain.points(fixed)).max() > 0.05


def test_least_squares_at_given_control_points(spatial_dims: int, family: tuple) -> None:
    """The residual is at right angles to all that the control points can do."""
    fit, interpolating = family
    (fixed, moving), control = pairs(spatial_dims), lattice(spatial_dims)
    found = fit(fixed, moving, control_points=control)
    residual = found.points(fixed) - moving
    assert np.abs(residual).max() > 0.5
    for k in range(len(control)):
        moved = control.copy()
        moved[k] += 1.0
        direction = interpolating(control, moved).points(fixed) - fixed
        assert np.abs((residual * direction).sum(axis=0)).max() < 1e-8
    np.testing.assert_allclose(found.control_points[0], control)


def test_finds_the_map_that_the_pairs_were_made_with(spatial_dims: int, family: tuple) -> None:
    fit, interpolating = family
    (fixed, _), control = pairs(spatial_dims), lattice(spatial_dims)
    truth = interpolating(control, control + np.random.default_rng(3).normal(size=control.shape))
    found = fit(fixed, truth.points(fixed), control_points=control)
    np.testing.assert_allclose(found.points(control), truth.points(control), rtol=0, atol=1e-7)
    smoothed = fit(fixed, truth.points(fixed), control_points=control, smoothing=100.0)
    assert np.abs(smoothed.points(control) - truth.points(control)).max() > 0.05


def test_fit_to_a_dense_field(fixed_grid: SamplingGrid, spatial_dims: int, family: tuple) -> None:
    fit, interpolating = family
    control = fixed_grid.resized((3,) * spatial_dims).world().reshape(-1, spatial_dims).numpy()
    truth = interpolating(control, control + np.random.default_rng(3).normal(size=control.shape))
    dense = DenseTransform(truth.displacement(fixed_grid), fixed_grid)
    found = fit(*corresponding_points(dense, fixed_grid), control_points=control)
    np.testing.assert_allclose(found.points(control), truth.points(control), rtol=0, atol=1e-5)


def test_batches(spatial_dims: int, family: tuple) -> None:
    fit, _ = family
    sets, control = [pairs(spatial_dims, seed=s) for s in (0, 1)], lattice(spatial_dims)
    fixed, moving = (np.stack(x) for x in zip(*sets, strict=True))
    weights = np.random.default_rng(5).uniform(0.5, 2, size=fixed.shape[:2])
    several = np.stack([control, control + 0.3])
    options = {"control_points": several, "weights": weights, "smoothing": 0.5}
    batch, shared = fit(fixed, moving, **options), fit(fixed, moving, control_points=control)
    x, _ = pairs(spatial_dims, seed=9)
    for row in range(2):
        single = fit(*sets[row], **{k: v if k == "smoothing" else v[row] for k, v in options.items()})
        np.testing.assert_allclose(batch.points(x)[row], single.points(x), rtol=0, atol=1e-7)
        single = fit(*sets[row], control_points=control)
        np.testing.assert_allclose(shared.points(x)[row], single.points(x), rtol=0, atol=1e-7)


def test_blocks_of_pairs_join(spatial_dims: int, family: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    fit, _ = family
    (fixed, moving), control = pairs(spatial_dims), lattice(spatial_dims)
    expected = fit(fixed, moving, control_points=control).points(fixed)
    monkeypatch.setattr(fitting_splines, "KERNEL_ENTRIES", 7 * len(control))
    np.testing.assert_allclose(fit(fixed, moving, control_points=control).points(fixed), expected, rtol=0, atol=1e-9)


def test_gradients_of_pairs_weights_and_control_points(spatial_dims: int, family: tuple) -> None:
    fit, _ = family
    fixed, moving = (torch.tensor(x[:12]) for x in pairs(spatial_dims))
    control, weights = torch.tensor(lattice(spatial_dims)[::2]), torch.ones(12)
    x = torch.tensor(pairs(spatial_dims, seed=1)[0][:3])
    given = tuple(t.double().clone().requires_grad_() for t in (fixed, moving, control, weights))

    def mapped(f: torch.Tensor, m: torch.Tensor, c: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return fit(f, m, control_points=c, weights=w, smoothing=1.0).points(x)

    assert torch.autograd.gradcheck(mapped, given, fast_mode=True, atol=1e-5)


def test_undetermined_control_points_are_refused(spatial_dims: int, family: tuple) -> None:
    fit, _ = family
    (fixed, moving), control = pairs(spatial_dims), lattice(spatial_dims)
    few = len(control) - 1
    with pytest.raises(
        ValueError,
        match=rf"^fixed_points do not determine .* \({few} pairs, {few + 1} control points, condition number ",
    ):
        fit(fixed[:few] if few < 40 else fixed, moving[:few], control_points=control)
    with pytest.raises(
        ValueError, match=r"condition number .*\); expected pairs of weight above 0 around every control"
    ):
        fit(fixed, moving, weights=np.r_[0.0, np.ones(39)])
    assert fit(fixed[:few], moving[:few], control_points=control, smoothing=10.0)
    with pytest.raises(ValueError, match=r"^control_points give a singular .* condition number"):
        fit(fixed, moving, control_points=np.zeros_like(control))
    with pytest.raises(ValueError, match=r"^control_points has shape [\dx]+ but the pairs 1x40x\d; expected \(K, "):
        fit(fixed, moving, control_points=np.zeros((9, 5 - spatial_dims)))
    with pytest.raises(ValueError, match=r"^control_points has shape 2x[\dx]+ but the pairs 1x40x\d; expected \(K, "):
        fit(fixed, moving, control_points=np.stack([control, control]))
    with pytest.raises(ValueError, match=r"^fixed_points has shape"):
        fit(fixed, moving[:3])
