"""Thin-plate splines against SciPy, in any unit, and how the head for networks counts control points."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.interpolate import RBFInterpolator

from monai_cellreg.geometry import ThinPlateSplineField, ThinPlateSplineTransform, tps

KERNELS = {2: "thin_plate_spline", 3: "linear"}


def corresponding(dims: int, *, count: int = 20, unit: float = 1.0, origin: float = 0.0) -> tuple[np.ndarray, ...]:
    """Control points, their targets and other points, in a square of side ``unit``."""
    rng = np.random.default_rng(0)
    control = rng.uniform(size=(count, dims))
    targets = control + 0.05 * rng.normal(size=control.shape)
    return tuple(origin + unit * x for x in (control, targets, rng.uniform(-0.2, 1.2, size=(30, dims))))


@pytest.mark.parametrize("smoothing", [0.0, 0.02])
@pytest.mark.parametrize("unit", [1.0, 40.0])
def test_agrees_with_scipy(spatial_dims: int, unit: float, smoothing: float) -> None:
    control, targets, x = corresponding(spatial_dims, unit=unit)
    weight = smoothing * unit ** (2 if spatial_dims == 2 else 1)
    oracle = RBFInterpolator(control, targets, kernel=KERNELS[spatial_dims], degree=1, smoothing=weight)
    transform = ThinPlateSplineTransform(control, targets, smoothing=weight)
    np.testing.assert_allclose(transform.points(x), oracle(x), rtol=0, atol=1e-9 * unit)
    if smoothing:
        assert np.abs(transform.points(control) - targets).max() > 1e-3 * unit


@pytest.mark.parametrize(("unit", "origin"), [(320.0, 0.0), (2048.0, 1e4), (1e-4, 0.0), (1e-4, 5.0)])
def test_unit_and_origin_do_not_matter(spatial_dims: int, unit: float, origin: float) -> None:
    plain, scaled = corresponding(spatial_dims), corresponding(spatial_dims, unit=unit, origin=origin)
    expected = ThinPlateSplineTransform(*plain[:2]).points(plain[2])
    transform = ThinPlateSplineTransform(*scaled[:2])
    np.testing.assert_allclose((transform.points(scaled[2]) - origin) / unit, expected, rtol=0, atol=1e-8)
    np.testing.assert_allclose(transform.points(scaled[0]), scaled[1], rtol=0, atol=1e-9 * unit + 1e-12 * origin)


@pytest.mark.parametrize("smoothing", [0.0, 10.0])
def test_affine_targets_give_the_affine_map(spatial_dims: int, rotation: np.ndarray, smoothing: float) -> None:
    control, _, x = corresponding(spatial_dims)
    linear = rotation @ np.diag([1.3, 0.8, 1.1][:spatial_dims])
    transform = ThinPlateSplineTransform(control, control @ linear.T + 2, smoothing=smoothing)
    np.testing.assert_allclose(transform.points(x), x @ linear.T + 2, rtol=0, atol=1e-10)


def test_a_batch_of_control_points_and_a_batch_of_targets(spatial_dims: int) -> None:
    control, targets, x = corresponding(spatial_dims)
    shifted = np.stack([control, control[::-1] * 1.1])
    batch = ThinPlateSplineTransform(shifted, np.stack([targets, targets]))
    shared = ThinPlateSplineTransform(control, np.stack([targets, control]))
    for row in range(2):
        single = ThinPlateSplineTransform(shifted[row], targets)
        np.testing.assert_allclose(batch.points(x)[row], single.points(x), rtol=0, atol=1e-9)
    np.testing.assert_allclose(shared.points(x)[0], ThinPlateSplineTransform(control, targets).points(x), atol=1e-10)
    np.testing.assert_allclose(shared.points(x)[1], x, rtol=0, atol=1e-12)


def test_gradients_of_control_points_are_right_and_finite_on_them(spatial_dims: int) -> None:
    control, targets, x = (torch.tensor(a) for a in corresponding(spatial_dims, count=8))

    def mapped(c: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return ThinPlateSplineTransform(c, t, smoothing=0.01).points(x[:3])

    assert torch.autograd.gradcheck(mapped, (control.requires_grad_(), targets.requires_grad_()), fast_mode=True)
    on_them = control.detach().clone().requires_grad_()
    ThinPlateSplineTransform(control.detach(), targets.detach()).points(on_them).sum().backward()
    assert bool(on_them.grad.isfinite().all())


def test_blocks_of_points_join(spatial_dims: int, monkeypatch: pytest.MonkeyPatch) -> None:
    control, targets, x = corresponding(spatial_dims)
    expected = ThinPlateSplineTransform(control, targets).points(x)
    monkeypatch.setattr(tps, "KERNEL_ENTRIES", 7 * len(control))
    np.testing.assert_allclose(ThinPlateSplineTransform(control, targets).points(x), expected, rtol=0, atol=1e-12)


def test_points_that_do_not_span_the_space_are_refused(spatial_dims: int) -> None:
    control, targets, _ = corresponding(spatial_dims)
    flat = control.copy()
    flat[:, -1] = 2 * flat[:, 0] + 1
    twice = control.copy()
    twice[1] = twice[0]
    few = spatial_dims
    for bad in (flat, twice, np.zeros_like(control), 1e4 + flat):
        with pytest.raises(ValueError, match=r"singular spline system \(20 points, condition number .*\); expected at"):
            ThinPlateSplineTransform(bad, targets)
    with pytest.raises(
        ValueError, match=rf"singular spline system \({few} points, .* expected at least {few + 1} dist"
    ):
        ThinPlateSplineTransform(control[:few], targets[:few])


@pytest.mark.parametrize(("control", "targets"), [((5, 2), (4, 2)), ((5, 2), (5, 3)), ((5, 4), (5, 4))])
def test_control_points_and_targets_must_correspond(control: tuple[int, int], targets: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"^control_points has shape 1x5x\d and targets 1x\dx\d; expected the same"):
        ThinPlateSplineTransform(np.zeros(control), np.zeros(targets))


def test_field_counts_control_points_row_by_row() -> None:
    parameters = torch.zeros(1, 12, 2)  # 3 rows of 4
    parameters[0, 3] = torch.tensor([2 / 7, -2 / 12])  # the last of the first row, down by 1 and left by 1
    field = ThinPlateSplineField((8, 13), (3, 4))(parameters)
    torch.testing.assert_close(field[0, :, 0, -1], torch.tensor([1.0, -1.0]), rtol=0, atol=1e-5)
    for row, column in ((0, 0), (-1, 0), (-1, -1)):
        assert field[0, :, row, column].abs().max() < 1e-5


@pytest.mark.parametrize("control", [(5,), (5, 1), (3, 3, 3)])
def test_field_wants_two_control_points_along_every_axis(control: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^control_shape is .* for spatial_size \(8, 13\); expected at least two"):
        ThinPlateSplineField((8, 13), control)
