"""Inverting smooth maps point by point, against roots that SciPy and NumPy find."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from monai_cellreg.geometry import (
    AffineTransform,
    DenseTransform,
    InverseTransform,
    SamplingGrid,
    SpatialTransform,
    ThinPlateSplineTransform,
    sample,
)
from monai_cellreg.geometry.inversion import folds_near, invert_points


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


def test_gentle_map_takes_few_evaluations_and_no_derivatives() -> None:
    calls = []

    def gentle(x: torch.Tensor) -> torch.Tensor:
        calls.append((x.shape[1], torch.is_grad_enabled()))
        return x + 0.3 * torch.sin(x.flip(-1)) + torch.tensor([5.0, -2.0], dtype=torch.float64)

    y = torch.rand(1, 1000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 8
    x, residual = invert_points(gentle, y, tolerance=1e-9)
    evaluated, with_gradient = zip(*calls, strict=True)
    assert residual.max() <= 1e-9
    assert not any(with_gradient)
    assert len(calls) <= 10  # the fixed-point iteration takes 16
    assert sum(evaluated) <= 8500  # settled points are left alone


@pytest.mark.parametrize("angle_rad", [2.0, 6.0, 9.0])
def test_whirl_is_inverted_by_the_opposite_whirl(angle_rad: float) -> None:
    """Its middle turns by up to one and a half circles, so that most searches end in a wrong place."""

    def whirl(x: torch.Tensor, sign: float = 1.0) -> torch.Tensor:
        angle = sign * angle_rad * torch.exp(-x.square().sum(dim=-1) / 4)
        cos, sin, (a, b) = angle.cos(), angle.sin(), x.unbind(-1)
        return torch.stack([cos * a - sin * b, sin * a + cos * b], dim=-1)

    y = 8 * torch.rand(2, 1000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 4
    x, residual = invert_points(whirl, y, tolerance=1e-9)
    assert residual.max() <= 1e-9
    torch.testing.assert_close(x, whirl(y, sign=-1.0), rtol=0, atol=1e-7)


def test_residual_says_what_was_not_reached() -> None:
    y = torch.tensor([[[0.5, 0.0], [3.0, 0.0]]], dtype=torch.float64)
    x, residual = invert_points(torch.sin, y, tolerance=1e-9)
    assert x[0, 0, 0].item() == pytest.approx(np.arcsin(0.5), abs=1e-8)
    assert residual[0, 0] <= 1e-9
    assert residual[0, 1] >= 2.0  # no sine is 3


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


def test_turn_by_nearly_half_a_circle_is_inverted(
    spatial_dims: int, turned: Callable[[int, float], np.ndarray]
) -> None:
    """Steps that trust the start alone would run away from it."""
    control = SamplingGrid((3,) * spatial_dims).index().flatten(0, -2).numpy()
    for linear in (turned(spatial_dims, 2.9), np.diag([-1.0, *[1.0] * (spatial_dims - 1)])):
        transform = ThinPlateSplineTransform(control, control @ linear.T + 5)
        x = control * 0.7 + 0.1
        np.testing.assert_allclose(transform.inverse().points(transform.points(x)), x, rtol=0, atol=1e-6)


def smooth_noise(grid: SamplingGrid, size: float) -> torch.Tensor:
    """Displacements (1, D, *shape) of at most ``size``, drawn on a coarse lattice."""
    drawn = torch.rand(1, grid.spatial_dims, *(4,) * grid.spatial_dims, generator=torch.Generator().manual_seed(0))
    coarse = SamplingGrid((4,) * grid.spatial_dims)
    index = grid.index() * 3 / (torch.tensor(grid.shape) - 1)
    return sample(size * (2 * drawn.double() - 1), coarse.index_to_world(index)[None])


def test_piecewise_linear_field_is_inverted_wherever_it_does_not_fold(spatial_dims: int) -> None:
    grid = SamplingGrid((24, 31, 19)[:spatial_dims])
    rough = 0.1 * torch.randn(1, spatial_dims, *grid.shape, generator=torch.Generator().manual_seed(0)).double()
    transform = DenseTransform(smooth_noise(grid, 4.0 - spatial_dims) + rough, grid)
    assert 0 < transform.jacobian_determinant(grid).min() < 0.5
    report = transform.inversion_report(grid)
    assert report.unreached == report.folded == 0
    assert 0 < report.rms <= report.largest < 1e-6
    with torch.no_grad():
        displacement = transform.inverse().displacement(grid)
    back = DenseTransform(displacement, grid).then(transform)
    assert back.displacement(grid).norm(dim=1).max() == pytest.approx(report.largest, abs=1e-10)


def test_report_gives_the_residuals_of_the_map(spatial_dims: int) -> None:
    grid = SamplingGrid((9, 8, 7)[:spatial_dims])
    transform = DenseTransform(smooth_noise(grid, 1.0), grid)
    rough = InverseTransform(transform, tolerance=0.05)
    with torch.no_grad():
        x = rough.points(grid.world().flatten(0, -2))
    residual = (transform.points(x) - grid.world().flatten(0, -2)).norm(dim=-1)
    report = transform.inversion_report(grid, inverse=rough)
    assert 1e-4 < report.largest <= 0.05
    assert report.largest == pytest.approx(float(residual.max()))
    assert report.rms == pytest.approx(float(residual.square().mean().sqrt()))


def test_report_counts_folded_points() -> None:
    """A crease: between two columns the map turns back, and the moving points there have three fixed points each."""
    grid = SamplingGrid((5, 9))
    field = torch.zeros(1, 2, *grid.shape, dtype=torch.float64)
    field[:, 1, :, 4:] = -1.5  # column 4 is mapped to 2.5, left of where column 3 stays
    crease = DenseTransform(field, grid)
    inner = SamplingGrid((5, 40), np.array([[1.0, 0, 0], [0, 0.025, 2.5125], [0, 0, 1]]))  # columns 2.5 to 3.5
    report = crease.inversion_report(inner)
    x, residual = invert_points(crease.points, inner.world().reshape(1, -1, 2), tolerance=1e-7)
    on_crease = (x[..., 1] > 3) & (x[..., 1] < 4)
    assert 0 < report.folded < 1
    assert report.folded == pytest.approx(float(on_crease.double().mean()))
    assert report.unreached == pytest.approx(float((residual > 1e-7).double().mean()))
    assert (
        crease.jacobian_determinant(SamplingGrid((5, 1), np.array([[1.0, 0, 0], [0, 1, 3.5], [0, 0, 1]]))) < 0
    ).all()
    assert transform_mirrors().inversion_report(inner).folded == 1
    shift = AffineTransform.translation([0.0, 3.0])
    shifted = SamplingGrid(inner.shape, inner.affine + np.array([[0.0, 0, 0], [0, 0, 3], [0, 0, 0]]))
    chained = crease.then(shift).inversion_report(shifted)
    assert (chained.unreached, chained.folded) == (report.unreached, report.folded)
    assert chained.largest == pytest.approx(report.largest, rel=1e-3)
    with pytest.raises(ValueError, match="^transform has no inverse at"):
        crease.then(shift).inverse().displacement(shifted)


def test_report_of_a_chain_counts_what_any_part_misses() -> None:
    """The sine reaches nothing beyond 1, the arc tangent nothing beyond a quarter turn."""
    sine = Pointwise(lambda x: torch.stack([torch.sin(x[..., 0]), x[..., 1]], dim=-1))
    bounded = Pointwise(lambda x: torch.stack([x[..., 0], torch.atan(x[..., 1])], dim=-1))
    grid = SamplingGrid((4, 3), np.diag([0.6, 1.0, 1.0]))  # rows 0, 0.6, 1.2, 1.8; columns 0, 1, 2
    for chain in (sine.then(bounded), bounded.then(sine)):
        report = chain.inversion_report(grid)
        assert report.unreached == pytest.approx(1 - (2 / 4) * (2 / 3))
        assert 0.8 - 1e-6 <= report.largest < 2  # at least from 1.8 to the sine's 1
    assert sine.inversion_report(grid).unreached == 0.5


def test_report_of_several_maps_is_over_all_of_them() -> None:
    grid = SamplingGrid((6, 7))
    fields = torch.cat([smooth_noise(grid, 1.0), 0 * smooth_noise(grid, 1.0)])
    rough = InverseTransform(DenseTransform(fields, grid), tolerance=0.05)
    both = DenseTransform(fields, grid).inversion_report(grid, inverse=rough)
    first = DenseTransform(fields[:1], grid)
    alone = first.inversion_report(grid, inverse=InverseTransform(first, tolerance=0.05))
    assert both.largest == pytest.approx(alone.largest)
    assert both.rms == pytest.approx(alone.rms / 2**0.5)


def test_report_judges_the_inverse_that_is_given(spatial_dims: int) -> None:
    grid = SamplingGrid((6, 8, 7)[:spatial_dims], np.diag([2.0, 1.0, 0.5, 1.0][: spatial_dims + 1]))
    shift = AffineTransform.translation(np.array([1.0, -2.0, 2.0][:spatial_dims]))
    report = shift.inversion_report(grid, inverse=AffineTransform.translation([0.0] * spatial_dims))
    assert report.largest == report.rms == pytest.approx(5**0.5 if spatial_dims == 2 else 3)
    assert shift.inversion_report(grid).largest == report.folded == report.unreached == 0
    other = AffineTransform.translation([0.0] * (5 - spatial_dims))
    with pytest.raises(ValueError, match=rf"^grid has {spatial_dims} spatial axes .* expected {5 - spatial_dims}"):
        shift.inversion_report(grid, inverse=other)
    with pytest.raises(ValueError, match=rf"^grid has {spatial_dims} spatial axes .* expected {5 - spatial_dims}"):
        other.inversion_report(grid)


def transform_mirrors() -> ThinPlateSplineTransform:
    control = SamplingGrid((3, 3)).index().flatten(0, -2)
    return ThinPlateSplineTransform(control, control * torch.tensor([-1.0, 1.0], dtype=torch.float64))


class Pointwise(SpatialTransform):
    """A map given by a function of each component."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.function = function

    @property
    def spatial_dims(self) -> int:
        return 2

    def _map(self, points: torch.Tensor) -> torch.Tensor:
        return self.function(points)


def folding_and_bounded(x: torch.Tensor) -> torch.Tensor:
    """Turns back beyond a quarter turn of the first component, never reaches 2 in the second."""
    return torch.stack([torch.sin(x[..., 0]), torch.atan(x[..., 1])], dim=-1)


def test_refusal_says_whether_the_map_folds_or_does_not_reach() -> None:
    inverse = Pointwise(folding_and_bounded).inverse()
    fine, folds, bounded = [[0.1, 0.2]], [[3.0, 0.0]], [[0.0, 2.0]]
    np.testing.assert_allclose(inverse.points(np.array(fine)), [[np.arcsin(0.1), np.tan(0.2)]], rtol=0, atol=1e-9)
    fold_text = r"it folds near {} of them \(Jacobian determinant at or below 0\): regularise it"
    reach_text = r"it takes no point to {} of them: ask only for points that it reaches"
    for points, text in (
        (
            fine + folds,
            r"50\.00% .*largest residual 2, tolerance 3e-09.* map; " + fold_text.format("50.00%") + " there$",
        ),
        (fine + bounded, r"50\.00% .*largest residual 0\.4.* map; " + reach_text.format("50.00%") + "$"),
        (fine + folds + 2 * bounded, rf"75\.00% .*{fold_text} there, and {reach_text}".format("25.00%", "50.00%")),
    ):
        with pytest.raises(ValueError, match=r"^transform has no inverse at " + text):
            inverse.points(np.array(points))
    report = Pointwise(folding_and_bounded).inversion_report(SamplingGrid((1, 4)))
    assert (report.unreached, report.folded) == (0.5, 0.0)  # 2 and 3 are beyond a quarter turn


def test_fold_is_looked_for_on_the_way_that_is_left() -> None:
    x, wanted = (torch.tensor([[[a, 0.0], [0.2, 0.0]]], dtype=torch.float64) for a in (1.4, 1.5))
    assert folds_near(torch.sin, x, wanted).tolist() == [[True, False]]  # the sine turns back between 1.4 and 1.91
    assert folds_near(torch.sin, -x, -wanted).tolist() == [[True, False]]
    assert folds_near(torch.sin, x, torch.sin(x)).tolist() == [[False, False]]
    assert folds_near(torch.sin, x, wanted + 1).tolist() == [[True, False]]  # 2.5 itself is beyond the turn


def test_map_of_everything_to_one_point_folds() -> None:
    for flat in (Pointwise(lambda x: 0 * x), bulge(4.0).then(Pointwise(lambda x: x[..., :1].expand_as(x)))):
        with pytest.raises(ValueError, match=r"at 100\.00% of the points .*: it folds near|folds near 100\.00%"):
            InverseTransform(flat).points(np.array([[0.1, 2.0], [3.0, 4.0]]))


def test_tolerance_follows_the_unit() -> None:
    """A billionth of the coordinates, in nanometres as in metres."""
    for unit in (1e-9, 1.0, 1e6):
        cubed = Pointwise(lambda x, unit=unit: x + 0.3 * x**3 / unit**2)
        y = unit * torch.linspace(-1.6, 1.6, 10, dtype=torch.float64).reshape(5, 2)
        with torch.no_grad():
            assert (cubed.points(cubed.inverse().points(y)) - y).abs().max() <= 3e-9 * unit
            assert (cubed.points(cubed.inverse().points(y)) - y).abs().max() > 0


def test_tolerance_allows_for_the_size_of_what_the_map_gives() -> None:
    far = Pointwise(lambda x: x + 0.3 * torch.sin(x) + 1e9)  # rounds to 1e-7
    y = torch.tensor([[0.0, 1.0], [-0.5, 0.2]], dtype=torch.float64)
    assert (far.points(far.inverse().points(y)) - y).abs().max() < 1


def test_grid_of_a_quarter_of_a_million_voxels_is_inverted_in_seconds() -> None:
    grid = SamplingGrid((512, 512))
    transform = DenseTransform(smooth_noise(grid, 20.0), grid)
    start = time.perf_counter()
    with torch.no_grad():
        displacement = transform.inverse().displacement(grid)
    assert time.perf_counter() - start < 10  # 0.3 to 0.5 s on busy cores
    x = grid.world().flatten(0, -2)[::997] + displacement[0].flatten(1).T[::997]
    assert (transform.points(x) - grid.world().flatten(0, -2)[::997]).abs().max() < 1e-6


def test_missing_points_stay_missing_and_do_not_disturb_others() -> None:
    transform = bulge(4.0)
    x = np.array([[3.0, 5.0], [np.nan, np.nan], [11.0, 7.0]])
    half_known = np.array([[2.0, np.nan], [3.0, 4.0]])
    assert np.isnan(transform.inverse().points(half_known)).tolist() == [[True, True], [False, False]]
    back = transform.inverse().points(transform.points(x))
    np.testing.assert_allclose(back, x, rtol=0, atol=1e-4)
    broken = bulge(np.nan).inverse()
    with pytest.raises(ValueError, match="^transform has no inverse at 100.00% of the points"):
        broken.points(x[:1])
