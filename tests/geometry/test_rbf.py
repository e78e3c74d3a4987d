"""Gaussian radial basis maps against SciPy and their formula, and what the head for networks solves axis by axis."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.interpolate import RBFInterpolator
from scipy.spatial.distance import cdist

from monai_cellreg.geometry import RadialBasisField, RadialBasisTransform, rbf


def corresponding(dims: int, *, count: int = 20, unit: float = 1.0, origin: float = 0.0) -> tuple[np.ndarray, ...]:
    """Control points, their targets and other points, in a square of side ``unit``."""
    rng = np.random.default_rng(0)
    control = rng.uniform(size=(count, dims))
    targets = control + 0.05 * rng.normal(size=control.shape)
    return tuple(origin + unit * x for x in (control, targets, rng.uniform(-0.2, 1.2, size=(30, dims))))


@pytest.mark.parametrize("smoothing", [0.0, 0.02])
@pytest.mark.parametrize(("unit", "origin"), [(1.0, 0.0), (40.0, 1e4)])
def test_agrees_with_scipy(spatial_dims: int, unit: float, origin: float, smoothing: float) -> None:
    control, targets, x = corresponding(spatial_dims, unit=unit, origin=origin)
    sigma = 0.15 * unit
    oracle = RBFInterpolator(
        control, targets - control, kernel="gaussian", epsilon=1 / (2**0.5 * sigma), degree=-1, smoothing=smoothing
    )
    transform = RadialBasisTransform.from_targets(control, targets, sigma=sigma, smoothing=smoothing)
    np.testing.assert_allclose(transform.points(x), x + oracle(x), rtol=0, atol=1e-9 * unit)
    missed = np.abs(transform.points(control) - targets).max()
    assert missed > 1e-3 * unit if smoothing else missed < 1e-10 * unit


def test_is_its_formula_with_a_width_an_axis(spatial_dims: int) -> None:
    control, _, x = corresponding(spatial_dims)
    weights = np.random.default_rng(1).normal(size=control.shape)
    sigma = np.array([0.1, 0.3, 0.7][:spatial_dims])
    expected = x + np.exp(-(cdist(x / sigma, control / sigma) ** 2) / 2) @ weights
    transform = RadialBasisTransform(control, weights, sigma=sigma.tolist())
    np.testing.assert_allclose(transform.points(x), expected, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(transform.points(x + 1e3), x + 1e3)
    solved = RadialBasisTransform.from_targets(control, transform.points(control), sigma=torch.tensor(sigma))
    np.testing.assert_allclose(solved.weights[0], weights, rtol=0, atol=1e-9)


def test_a_batch_of_control_points_and_a_batch_of_targets(spatial_dims: int) -> None:
    control, targets, x = corresponding(spatial_dims)
    shifted = np.stack([control, control[::-1] * 1.1])
    batch = RadialBasisTransform.from_targets(shifted, np.stack([targets, targets]), sigma=0.2)
    shared = RadialBasisTransform.from_targets(control, np.stack([targets, control]), sigma=0.2)
    for row in range(2):
        single = RadialBasisTransform.from_targets(shifted[row], targets, sigma=0.2)
        np.testing.assert_allclose(batch.points(x)[row], single.points(x), rtol=0, atol=1e-9)
    np.testing.assert_allclose(shared.points(x)[0], batch.points(x)[0], rtol=0, atol=1e-10)
    np.testing.assert_allclose(shared.points(x)[1], x, rtol=0, atol=1e-12)


def test_gradients_of_control_points_targets_widths_and_points(spatial_dims: int) -> None:
    control, targets, x = (torch.tensor(a).requires_grad_() for a in corresponding(spatial_dims, count=8))
    sigma = torch.tensor([0.2, 0.3, 0.4][:spatial_dims], dtype=torch.float64, requires_grad=True)

    def mapped(c: torch.Tensor, t: torch.Tensor, s: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return RadialBasisTransform.from_targets(c, t, sigma=s, smoothing=0.01).points(y[:3])

    assert torch.autograd.gradcheck(mapped, (control, targets, sigma, x), fast_mode=True)


def test_blocks_of_points_join(spatial_dims: int, monkeypatch: pytest.MonkeyPatch) -> None:
    control, targets, x = corresponding(spatial_dims)
    transform = RadialBasisTransform.from_targets(control, targets, sigma=0.2)
    expected = transform.points(x)
    blocks, kernel = [], rbf.gaussian_kernel
    monkeypatch.setattr(rbf, "gaussian_kernel", lambda p, *given: blocks.append(p.shape[1]) or kernel(p, *given))
    for entries, most in ((7, 1), (7 * 20, 7)):  # of points, beside 20 control points
        monkeypatch.setattr(rbf, "KERNEL_ENTRIES", entries)
        np.testing.assert_allclose(transform.points(x), expected, rtol=0, atol=1e-12)
        assert max(blocks) == most


def test_control_points_that_cannot_be_told_apart_are_refused(spatial_dims: int) -> None:
    control, targets, _ = corresponding(spatial_dims)
    twice = control.copy()
    twice[1] = twice[0]
    for bad, sigma in ((twice, 0.2), (np.zeros_like(control), 0.2), (control, 50.0)):
        with pytest.raises(
            ValueError, match=rf"singular Gaussian system \(20 points, sigma \[{sigma}, .*, condition number .*\); exp"
        ):
            RadialBasisTransform.from_targets(bad, targets, sigma=sigma)
    with pytest.raises(
        ValueError, match=r"singular Gaussian system \(0 points, .* condition number inf\); expected at"
    ):
        RadialBasisTransform.from_targets(control[:0], targets[:0], sigma=0.2)


@pytest.mark.parametrize(("control", "weights"), [((5, 2), (4, 2)), ((5, 2), (5, 3)), ((5, 4), (5, 4))])
def test_control_points_and_weights_must_correspond(control: tuple[int, int], weights: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"^control_points has shape 1x5x\d and weights 1x\dx\d; expected the same"):
        RadialBasisTransform(np.zeros(control), np.zeros(weights), sigma=1.0)
    with pytest.raises(ValueError, match=r"^control_points has shape 1x5x\d and targets 1x\dx\d; expected the same"):
        RadialBasisTransform.from_targets(np.zeros(control), np.zeros(weights), sigma=1.0)


def test_values_are_finite() -> None:
    points, bad = np.zeros((3, 2)), np.full((3, 2), np.nan)
    for name, given in (("control_points", (bad, points)), ("weights", (points, bad))):
        with pytest.raises(ValueError, match=rf"^{name} holds 6 of 6 values that are NaN or infinite"):
            RadialBasisTransform(*given, sigma=1.0)


def test_width_is_one_positive_number_or_one_an_axis() -> None:
    points = np.zeros((1, 2))
    for bad in (0.0, [1.0, -2.0], float("inf")):
        with pytest.raises(ValueError, match=r"^sigma is \[.*\], expected finite numbers above 0"):
            RadialBasisTransform(points, points, sigma=bad)
    with pytest.raises(ValueError, match=r"^sigma has shape 3; expected one number, or one for each of 2 axes"):
        RadialBasisTransform(points, points, sigma=[1.0, 1.0, 1.0])


CASES = [((8, 13), (3, 4), None), ((1, 9), (2, 3), 0.7), ((5, 6, 7), (2, 3, 4), (0.5, 1.1, 0.8))]


@pytest.mark.parametrize(("size", "control", "sigma"), CASES, ids=str)
def test_field_is_that_of_the_displaced_control_points(
    size: tuple[int, ...], control: tuple[int, ...], sigma: float | tuple[float, ...] | None
) -> None:
    """One small system an axis gives the weights that the system of all control points gives."""
    head = RadialBasisField(size, control, sigma=sigma)
    parameters = 0.1 * torch.randn(2, *head.parameter_shape, generator=torch.Generator().manual_seed(0))
    transform = head.transform(parameters)
    targets = transform.points(head.control_points)
    torch.testing.assert_close(targets - head.control_points, parameters.double(), rtol=0, atol=1e-12)
    direct = RadialBasisTransform.from_targets(head.control_points, targets, sigma=head.sigma)
    torch.testing.assert_close(transform.weights, direct.weights, rtol=0, atol=1e-9)


def test_field_counts_control_points_row_by_row() -> None:
    parameters = torch.zeros(1, 12, 2)  # 3 rows of 4
    parameters[0, 3] = torch.tensor([2 / 7, -2 / 12])  # the last of the first row, down by 1 and left by 1
    field = RadialBasisField((8, 13), (3, 4))(parameters)
    torch.testing.assert_close(field[0, :, 0, -1], torch.tensor([1.0, -1.0]), rtol=0, atol=1e-5)
    for row, column in ((0, 0), (-1, 0), (-1, -1)):
        assert field[0, :, row, column].abs().max() < 1e-5


@pytest.mark.parametrize("count", [5, 9, 17])
def test_default_width_keeps_a_common_shift_to_a_hundredth(count: int) -> None:
    """The figures of the class's text: how short a shift comes out, and how far an error spreads."""
    errors = {}
    for width in (1.0, 1.5, 2.0):
        matrix = RadialBasisField((401, 2), (count, 2), sigma=width * 2 / (count - 1)).get_buffer("matrix_0")
        errors[width] = float((matrix.sum(1) - 1).abs().max()), float(matrix.abs().sum(1).max())
    for width, kept in ((1.0, 0.04), (1.5, 0.007), (2.0, 0.0015)):
        assert 0.5 * kept < errors[width][0] <= kept
    spread = {5: (1.61, 1.82, 1.95), 17: (2.1, 3.87, 11.9)}
    if count in spread:
        assert [e[1] for e in errors.values()] == pytest.approx(spread[count], rel=0.01)
    default = RadialBasisField((401, 2), (count, 2)).get_buffer("matrix_0")
    assert float((default.sum(1) - 1).abs().max()) == pytest.approx(errors[1.5][0], rel=1e-3)


def test_field_has_no_matrix_of_voxels_by_control_points() -> None:
    head = RadialBasisField((64, 48, 56), (6, 5, 4))
    assert sum(b.numel() for b in head.buffers()) == 64 * 6 + 48 * 5 + 56 * 4 + 3 * 120


@pytest.mark.parametrize("control", [(5,), (5, 1), (3, 3, 3)])
def test_field_wants_two_control_points_along_every_axis(control: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^control_shape is .* for spatial_size \(8, 13\); expected at least two"):
        RadialBasisField((8, 13), control)


def test_field_refuses_parameters_of_another_shape_and_widths_that_blur_all() -> None:
    head = RadialBasisField((8, 13), (3, 4))
    for ask in (head, head.transform):
        with pytest.raises(
            ValueError, match=r"^parameters has shape 1x3x4x2; expected \(B, 12, 2\): a displacement fo"
        ):
            ask(torch.zeros(1, 3, 4, 2))
    with pytest.raises(ValueError, match=r"singular Gaussian system \(9 points, sigma \[30.0\], condition number"):
        RadialBasisField((8, 13), (9, 3), sigma=30.0)
