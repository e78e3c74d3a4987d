"""Lattices of control points against ITK's mesh."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from monai_cellreg.geometry import SamplingGrid, control_lattice
from monai_cellreg.geometry.bspline_lattice import axis_matrices


@pytest.fixture(params=[1, 2, 3])
def order(request: pytest.FixtureRequest) -> int:
    return request.param


def test_lattice_is_the_mesh_of_itk(fixed_grid: SamplingGrid, order: int) -> None:
    dims, linear = fixed_grid.spatial_dims, fixed_grid.affine[:-1, :-1]
    mesh = (3, 5, 4)[:dims]
    itk = sitk.BSplineTransform(dims, order)
    itk.SetTransformDomainOrigin(fixed_grid.affine[:-1, -1].tolist())
    itk.SetTransformDomainDirection((linear / fixed_grid.spacing).flatten().tolist())
    itk.SetTransformDomainPhysicalDimensions((np.array(fixed_grid.spacing) * (np.array(fixed_grid.shape) - 1)).tolist())
    itk.SetTransformDomainMeshSize(mesh)
    expected = itk.GetCoefficientImages()[0]
    spacing = (np.array(fixed_grid.shape) - 1) / mesh
    by_shape = control_lattice(fixed_grid, control_shape=[m + order for m in mesh], order=order)
    by_spacing = control_lattice(fixed_grid, control_spacing=list(1.01 * spacing), order=order)
    by_exact_spacing = control_lattice(fixed_grid, control_spacing=list(spacing), order=order)
    for lattice in (by_shape, by_spacing, by_exact_spacing):
        assert lattice.shape == expected.GetSize()
        np.testing.assert_allclose(lattice.spacing, expected.GetSpacing(), rtol=1e-12)
        np.testing.assert_allclose(lattice.affine[:-1, -1], expected.GetOrigin(), rtol=0, atol=1e-12)
        direction = lattice.affine[:-1, :-1] / lattice.spacing
        np.testing.assert_allclose(direction.flatten(), expected.GetDirection(), rtol=0, atol=1e-12)


def test_spacing_is_a_number_of_voxels_and_the_largest_distance(order: int) -> None:
    lattice = control_lattice(SamplingGrid((256, 257), frame="RAS", unit="um"), control_spacing=32, order=order)
    assert lattice.shape == (8 + order, 8 + order)
    np.testing.assert_allclose(lattice.spacing, (255 / 8, 32), rtol=1e-12)
    assert (lattice.frame, lattice.unit) == ("RAS", "um")
    assert control_lattice(SamplingGrid((256, 258)), control_spacing=32, order=order).shape == (8 + order, 9 + order)
    fractional = control_lattice(SamplingGrid((22, 22)), control_spacing=1.4, order=order)
    assert fractional.shape == (15 + order, 15 + order)  # although 21 / 1.4 > 15 in floating point


def test_an_axis_of_one_voxel_gets_one_cell(order: int) -> None:
    lattice = control_lattice(SamplingGrid((1, 9)), control_spacing=4, order=order)
    assert lattice.shape == (1 + order, 2 + order)
    np.testing.assert_allclose(lattice.affine[:-1, -1], [-(order - 1) / 2, -4 * (order - 1) / 2], atol=1e-15)


def test_matrices_only_for_parallel_axes(fixed_grid: SamplingGrid, order: int) -> None:
    lattice = control_lattice(fixed_grid, control_spacing=3, order=order)
    matrices = axis_matrices(fixed_grid, lattice, order)
    assert matrices is not None
    assert [m.shape for m in matrices] == list(zip(fixed_grid.shape, lattice.shape, strict=True))
    turned = fixed_grid.affine.copy()
    turned[0, 1] += 1e-6
    assert axis_matrices(SamplingGrid(fixed_grid.shape, turned), lattice, order) is None


def test_what_does_not_fit_is_refused() -> None:
    grid = SamplingGrid((8, 13))
    message = r"^control_spacing is {} and control_shape is {}; expected exactly one of them"
    with pytest.raises(ValueError, match=message.format("None", "None")):
        control_lattice(grid)
    with pytest.raises(ValueError, match=message.format("4", r"\(5, 5\)")):
        control_lattice(grid, control_spacing=4, control_shape=(5, 5))
    with pytest.raises(ValueError, match=r"^control_spacing is \(4, 4, 4\) but the grid has 2 axes; expected one"):
        control_lattice(grid, control_spacing=(4, 4, 4))
    with pytest.raises(ValueError, match=r"^control_spacing is \(4, 0\), expected finite numbers above 0"):
        control_lattice(grid, control_spacing=(4, 0))
    with pytest.raises(ValueError, match=r"^control_shape has 3 spatial axes .* expected 2"):
        control_lattice(grid, control_shape=(5, 5, 5))
    with pytest.raises(ValueError, match=r"^lattice has 5x3 control points; expected at least 4 .* of order 3"):
        control_lattice(grid, control_shape=(5, 3))
    with pytest.raises(ValueError, match=r"^order is 4, expected one of 1, 2, 3"):
        control_lattice(grid, control_spacing=4, order=4)
