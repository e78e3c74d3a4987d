"""B-spline free-form deformations: as a map of world points, and as a head for networks.

References:
    Rueckert et al., Nonrigid registration using free-form deformations, IEEE TMI 1999.
    Lane, Riesenfeld, A theoretical development for the computer generation and display of piecewise polynomial
    surfaces, IEEE TPAMI 1980 (the refinement of a lattice).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..utils import check_spatial
from .bspline_kernel import read_spline
from .bspline_lattice import axis_matrices, check_control_shape, control_lattice, refined_lattice
from .grid import SamplingGrid
from .separable import SeparableField, apply_separable
from .transform import SpatialTransform

WORST_CONDITION = 1e6  # of the matrix of one axis; about 40 for a lattice laid over its grid


class BSplineTransform(SpatialTransform):
    """A B-spline of displacements at a lattice of control points: ``T(x) = x + sum_k c_k prod_d beta(i_d - k_d)``.

    Convention: as every :class:`SpatialTransform`; ``i = lattice.world_to_index(x)``. The spline is complete in the
    valid region of the lattice, ``(order - 1) / 2 <= i_d <= n_d - 1 - (order - 1) / 2``, where this is ITK's
    ``BSplineTransform``. Outside, the displacement is continued from the border of that region, as by
    :class:`DenseTransform`; ITK takes none there, which tears the image along that border.

    Args:
        coefficients: (B, D, *lattice.shape) in world units, components in the order of the world axes.
        lattice: where the control points lie, with any spacing and direction.
        order: 1 (linear), 2 (quadratic) or 3 (cubic).

    Raises:
        ValueError: when the coefficients do not fit the lattice, an axis of which needs ``order + 1`` control points.

    Example:
        >>> lattice = control_lattice(SamplingGrid((9, 9)), control_spacing=4)
        >>> shift = torch.tensor([1.0, -2.0]).reshape(1, 2, 1, 1).expand(1, 2, *lattice.shape)
        >>> BSplineTransform(shift, lattice).points(np.array([[3.0, 5.0]])).round(6)
        array([[4., 3.]])
    """

    def __init__(self, coefficients: Tensor, lattice: SamplingGrid, *, order: int = 3) -> None:
        check_control_shape(lattice.shape, order)
        lattice.check_fits("coefficients", coefficients, "B", lattice.spatial_dims)
        self.coefficients, self.lattice, self.order = coefficients, lattice, order

    @property
    def spatial_dims(self) -> int:
        return self.lattice.spatial_dims

    def _map(self, points: Tensor) -> Tensor:
        index = self.lattice.world_to_index(points.to(torch.promote_types(points.dtype, torch.float32)))
        return points + read_spline(self.coefficients.to(index), index, self.order).transpose(1, 2)

    def displacement(
        self, grid: SamplingGrid, *, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None
    ) -> Tensor:
        """As :meth:`SpatialTransform.displacement`; by one matrix an axis where the grid is parallel to the lattice."""
        check_spatial(grid.shape, self.spatial_dims, "grid")
        matrices = axis_matrices(grid, self.lattice, self.order)
        if matrices is None:
            return super().displacement(grid, dtype=dtype, device=device)
        coefficients = self.coefficients.to(device or self.device, dtype)
        return apply_separable(coefficients, [m.to(coefficients) for m in matrices])

    def refined(self) -> BSplineTransform:
        """The same map on a lattice of half the spacing, from which a finer level of a registration can go on."""
        lattice, matrices = refined_lattice(self.lattice, self.order)
        coefficients = apply_separable(self.coefficients, [m.to(self.coefficients) for m in matrices])
        return BSplineTransform(coefficients, lattice, order=self.order)


class BSplineField(SeparableField):
    """Displacements of B-spline control points to a voxel displacement field, by one small matrix an axis.

    Convention: displacements on the cube [-1, 1]^D of the image (see :attr:`SamplingGrid.cube_to_world`), components in
    tensor-axis order; zeros are the identity. The lattice is that of :func:`control_lattice`.

    Args:
        spatial_size: image size, D axes.
        control_spacing: distance of control points, in voxels; see :func:`control_lattice`.
        control_shape: number of control points along each axis, in place of the spacing.
        order: 1, 2 or 3.

    Raises:
        ValueError: from :func:`control_lattice`.

    Example:
        >>> BSplineField((256, 256), 32).parameter_shape
        (2, 11, 11)
    """

    def __init__(
        self,
        spatial_size: Sequence[int],
        control_spacing: float | Sequence[float] | None = None,
        *,
        control_shape: Sequence[int] | None = None,
        order: int = 3,
    ) -> None:
        grid = SamplingGrid(tuple(spatial_size))
        lattice = control_lattice(grid, control_spacing=control_spacing, control_shape=control_shape, order=order)
        super().__init__(grid, axis_matrices(grid, lattice, order) or [])
        on_cube = np.linalg.inv(grid.cube_to_world) @ lattice.affine
        self.order, self.lattice = order, SamplingGrid(lattice.shape, on_cube)
        self.parameter_shape = (grid.spatial_dims, *lattice.shape)

    def forward(self, parameters: Tensor) -> Tensor:
        """(B, D, *control_shape) control point displacements to a voxel field (B, D, *spatial_size)."""
        return self.voxel_field(parameters)

    def transform(self, parameters: Tensor) -> BSplineTransform:
        """The map of the cube [-1, 1]^D that the displacements (B, D, *control_shape) mean."""
        return BSplineTransform(parameters.double(), self.lattice, order=self.order)


def fit_bspline(displacement: Tensor, grid: SamplingGrid, lattice: SamplingGrid, *, order: int = 3) -> BSplineTransform:
    """The B-spline closest to a dense displacement in the sense of least squares, solved in float64 axis by axis.

    Args:
        displacement: (B, D, *grid.shape) in world units.
        grid: where the displacements lie.
        lattice: control points, on axes parallel to those of the grid; see :func:`control_lattice`.
        order: 1, 2 or 3.

    Returns:
        The spline, differentiable in ``displacement``.

    Raises:
        ValueError: when the shapes do not fit, the axes are not parallel, or the voxels do not determine the control
            points; the message gives the condition number.
    """
    grid.check_fits("displacement", displacement, "B", grid.spatial_dims)
    check_spatial(lattice.shape, grid.spatial_dims, "lattice")
    check_control_shape(lattice.shape, order)
    matrices = axis_matrices(grid, lattice, order)
    if matrices is None:
        raise ValueError(
            f"lattice has the affine {lattice.affine.tolist()}, whose axes are not parallel to those of the grid, "
            f"{grid.affine.tolist()}; expected parallel axes, as control_lattice(grid, ...) gives them"
        )
    for axis, matrix in enumerate(matrices):
        voxels, control = matrix.shape
        condition = float(torch.linalg.cond(matrix)) if voxels >= control else float("inf")
        if not condition < WORST_CONDITION:
            raise ValueError(
                f"lattice has {control} control points along axis {axis}, which the {voxels} voxels of the grid do not "
                f"determine (condition number {condition:.3g}); expected a coarser lattice, inside the grid"
            )
    inverses = [torch.linalg.pinv(m).to(displacement.device) for m in matrices]
    return BSplineTransform(apply_separable(displacement.double(), inverses), lattice, order=order)
