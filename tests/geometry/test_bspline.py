"""B-spline deformations against SimpleITK, in every order; refinement, fits, and the head for networks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from nibabel.affines import apply_affine

from monai_cellreg.geometry import (
    BSplineField,
    BSplineTransform,
    SamplingGrid,
    SpatialTransform,
    control_lattice,
    fit_bspline,
)


@pytest.fixture(params=[1, 2, 3])
def order(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture
def lattice(fixed_grid: SamplingGrid, order: int) -> SamplingGrid:
    return control_lattice(fixed_grid, control_spacing=(3, 4, 5)[: fixed_grid.spatial_dims], order=order)


def drawn(lattice: SamplingGrid, *, batch: int = 1, seed: int = 0) -> torch.Tensor:
    """Coefficients (batch, D, *lattice.shape)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, lattice.spatial_dims, *lattice.shape, generator=generator, dtype=torch.float64)


def itk_spline(coefficients: torch.Tensor, lattice: SamplingGrid, order: int) -> sitk.BSplineTransform:
    """The same map in SimpleITK, whose images count axes backwards in NumPy."""
    images = []
    for component in coefficients.numpy():
        image = sitk.GetImageFromArray(np.ascontiguousarray(component.T))
        image.SetOrigin(lattice.affine[:-1, -1].tolist())
        image.SetSpacing(lattice.spacing)
        image.SetDirection((lattice.affine[:-1, :-1] / lattice.spacing).flatten().tolist())
        images.append(image)
    return sitk.BSplineTransform(images, order)


def test_agrees_with_simpleitk(fixed_grid: SamplingGrid, lattice: SamplingGrid, order: int) -> None:
    coefficients = drawn(lattice)
    itk = itk_spline(coefficients[0], lattice, order)
    index = np.random.default_rng(0).uniform(0, np.array(fixed_grid.shape) - 1, (1000, fixed_grid.spatial_dims))
    x = apply_affine(fixed_grid.affine, index)
    expected = np.array([itk.TransformPoint(point) for point in x.tolist()])
    assert np.abs(expected - x).max(axis=0).min() > 0.5
    moved = BSplineTransform(coefficients, lattice, order=order).points(x)
    np.testing.assert_allclose(moved, expected, rtol=0, atol=1e-9)


def test_displacement_goes_on_outside(fixed_grid: SamplingGrid, lattice: SamplingGrid, order: int) -> None:
    transform = BSplineTransform(drawn(lattice), lattice, order=order)
    size = np.array(fixed_grid.shape)
    index = np.random.default_rng(0).uniform(-size, 2 * size, (50, fixed_grid.spatial_dims))
    outside, border = (apply_affine(fixed_grid.affine, i) for i in (index, index.clip(0, size - 1)))
    moved = transform.points(outside) - outside
    np.testing.assert_allclose(moved, transform.points(border) - border, rtol=0, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_grids_with_parallel_axes_give_what_points_give(
    fixed_grid: SamplingGrid, moving_grid: SamplingGrid, lattice: SamplingGrid, order: int, dtype: torch.dtype
) -> None:
    transform = BSplineTransform(drawn(lattice, batch=2), lattice, order=order)
    flipped = fixed_grid.affine @ np.diag([-0.7, *[1.3] * (fixed_grid.spatial_dims - 1), 1.0])
    flipped[:-1, -1] += 5.0
    for grid in (fixed_grid, SamplingGrid(fixed_grid.shape[::-1], flipped), moving_grid):
        displacement = transform.displacement(grid, dtype=dtype)
        assert displacement.dtype == dtype
        expected = SpatialTransform.displacement(transform, grid)
        torch.testing.assert_close(
            displacement.double(), expected, rtol=0, atol=1e-4 if dtype == torch.float32 else 1e-11
        )


def test_refined_lattice_gives_the_same_map(fixed_grid: SamplingGrid, lattice: SamplingGrid, order: int) -> None:
    coefficients = drawn(lattice, batch=2).requires_grad_()
    coarse = BSplineTransform(coefficients, lattice, order=order)
    fine = coarse.refined()
    np.testing.assert_allclose(fine.lattice.spacing, np.array(lattice.spacing) / 2, rtol=1e-12)
    assert fine.lattice.shape == tuple(2 * size - order for size in lattice.shape)
    assert (fine.order, fine.coefficients.requires_grad) == (order, True)
    assert (fine.lattice.frame, fine.lattice.unit) == (lattice.frame, lattice.unit)
    size = np.array(fixed_grid.shape)
    index = np.random.default_rng(0).uniform(-3, size + 2, (200, fixed_grid.spatial_dims))
    x = apply_affine(fixed_grid.affine, index)
    np.testing.assert_allclose(fine.refined().points(x), coarse.points(x), rtol=0, atol=1e-11)


def test_refined_lattice_keeps_the_frame() -> None:
    lattice = SamplingGrid((5, 6), frame="RAS", unit="um")
    fine = BSplineTransform(drawn(lattice), lattice).refined().lattice
    assert (fine.frame, fine.unit) == ("RAS", "um")


def test_fit_finds_the_spline_that_made_the_field(fixed_grid: SamplingGrid, lattice: SamplingGrid, order: int) -> None:
    coefficients = drawn(lattice, batch=2)
    field = SpatialTransform.displacement(BSplineTransform(coefficients, lattice, order=order), fixed_grid)
    fitted = fit_bspline(field.float(), fixed_grid, lattice, order=order)
    assert (fitted.lattice, fitted.order, fitted.coefficients.dtype) == (lattice, order, torch.float64)
    torch.testing.assert_close(fitted.displacement(fixed_grid), field, rtol=0, atol=1e-5)
    fitted = fit_bspline(field, fixed_grid, lattice, order=order)
    torch.testing.assert_close(fitted.coefficients, coefficients, rtol=0, atol=1e-8)


def test_fit_is_that_of_least_squares() -> None:
    grid = SamplingGrid((9, 12), np.diag([2.0, 0.5, 1.0]))
    lattice = control_lattice(grid, control_shape=(5, 6))
    field = drawn(grid)
    units = torch.eye(30, dtype=torch.float64).reshape(30, 1, 5, 6).expand(-1, 2, -1, -1)
    design = SpatialTransform.displacement(BSplineTransform(units, lattice), grid)[:, 0].flatten(1).T
    expected = np.linalg.lstsq(design.numpy(), field[0].flatten(1).T.numpy(), rcond=None)[0]
    fitted = fit_bspline(field, grid, lattice)
    np.testing.assert_allclose(fitted.coefficients[0].flatten(1).T, expected, rtol=1e-9)


def test_fit_refuses_what_the_voxels_do_not_determine(spatial_dims: int, rotation: np.ndarray) -> None:
    grid = SamplingGrid((9, 12, 10)[:spatial_dims])
    field = drawn(grid)
    fine = control_lattice(grid, control_shape=(5, 13, 5)[:spatial_dims])
    with pytest.raises(ValueError, match=r"13 control points along axis 1, which the 12 voxels .*number inf\); expect"):
        fit_bspline(field, grid, fine)
    barely = np.diag([8 / 3.001, *[3.0] * (spatial_dims - 1), 1.0])  # the last control point sees 2e-10 of one voxel
    barely[:-1, -1] = -barely.diagonal()[:-1]
    with pytest.raises(
        ValueError, match=r"7 control points along axis 0, .*condition number (?!inf)\S+\); expected a c"
    ):
        fit_bspline(field, grid, SamplingGrid((7, 6, 6)[:spatial_dims], barely))
    turned = np.eye(spatial_dims + 1)
    turned[:-1, :-1] = 3 * rotation
    with pytest.raises(ValueError, match=r"^lattice has the affine .* not parallel to those of the grid"):
        fit_bspline(field, grid, SamplingGrid(fine.shape, turned))
    with pytest.raises(ValueError, match=r"^displacement has shape .* but its grid is"):
        fit_bspline(field[:, :1], grid, fine)
    with pytest.raises(ValueError, match=rf"^lattice has {5 - spatial_dims} spatial axes .* expected {spatial_dims}"):
        fit_bspline(field, grid, SamplingGrid((5, 5, 5)[: 5 - spatial_dims]))


def test_coefficients_must_fit_lattice_and_order() -> None:
    lattice = SamplingGrid((4, 5))
    with pytest.raises(
        ValueError, match=r"^coefficients has shape 1x2x5x4 but its grid is 4x5; expected \(B, 2, 4, 5\)"
    ):
        BSplineTransform(torch.zeros(1, 2, 5, 4), lattice)
    with pytest.raises(ValueError, match=r"^lattice has 3x5 control points; expected at least 4 along every axis"):
        BSplineTransform(torch.zeros(1, 2, 3, 5), SamplingGrid((3, 5)))
    with pytest.raises(ValueError, match=r"^order is 0, expected one of 1, 2, 3"):
        BSplineTransform(torch.zeros(1, 2, 4, 5), lattice, order=0)


@pytest.mark.parametrize(("size", "spacing"), [((8, 13), (3, 5)), ((1, 9), 4), ((5, 6, 7), (3, 4, 2))], ids=str)
def test_field_by_spacing_is_that_by_shape(
    size: tuple[int, ...], spacing: float | tuple[float, ...], order: int
) -> None:
    head = BSplineField(size, spacing, order=order)
    lattice = control_lattice(SamplingGrid(size), control_spacing=spacing, order=order)
    assert head.parameter_shape == (len(size), *lattice.shape)
    parameters = 0.1 * drawn(lattice, batch=2).float()
    by_shape = BSplineField(size, control_shape=lattice.shape, order=order)
    torch.testing.assert_close(by_shape(parameters), head(parameters), rtol=0, atol=1e-6)
    ones = torch.ones(1, *head.parameter_shape)  # on the cube: half the image's width
    half = torch.tensor([(s - 1) / 2 if s > 1 else 0.5 for s in size])
    torch.testing.assert_close(head(ones).flatten(2), half[None, :, None].expand(1, -1, math.prod(size)))


def test_one_control_point_moves_its_own_surroundings() -> None:
    parameters = torch.zeros(1, 2, 7, 9)
    parameters[0, :, 2, 5] = torch.tensor([2 / 16, -2 / 24])  # down by 1 and left by 1, on a lattice of every 4th voxel
    field = BSplineField((17, 25), 4)(parameters)
    torch.testing.assert_close(field[0, :, 4, 16], torch.tensor([4 / 9, -4 / 9]), rtol=0, atol=1e-6)  # voxel 4 (k - 1)
    for row, column in ((12, 16), (4, 8), (4, 24)):
        assert field[0, :, row, column].abs().max() < 1e-6
