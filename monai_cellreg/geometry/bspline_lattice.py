"""Lattices of control points: laid over a grid, refined, and seen from the voxels of a grid."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import numpy as np
import torch
from torch import Tensor

from ..utils import check_choice, check_positive, check_spatial, format_shape
from .bspline_kernel import ORDERS, spline_matrix
from .grid import SamplingGrid


def control_lattice(
    grid: SamplingGrid,
    *,
    control_spacing: float | Sequence[float] | None = None,
    control_shape: Sequence[int] | None = None,
    order: int = 3,
) -> SamplingGrid:
    """The lattice whose valid region is a grid, from its first to its last voxel centre.

    Convention: ITK's mesh. The extent of each axis is cut into equal cells; there are ``cells + order`` control points,
    the first ``(order - 1) / 2`` cells before the first voxel.

    Args:
        grid: where the spline has to be complete, such as the fixed image's.
        control_spacing: largest size of a cell in voxels, for all axes or for each; the extent is cut into as many
            cells as that needs. Divide a length in world units by ``grid.spacing``.
        control_shape: number of control points along each axis, in place of the spacing.
        order: 1, 2 or 3.

    Returns:
        Positions of the control points, in the frame, unit and direction of ``grid``.

    Raises:
        ValueError: when not exactly one of spacing and shape is given, or they do not fit the grid or the order.

    Example:
        >>> control_lattice(SamplingGrid((9, 17)), control_spacing=4).shape
        (5, 7)
    """
    check_choice("order", order, ORDERS)
    extent = np.maximum(np.array(grid.shape) - 1, 1)  # an axis of one voxel keeps one cell
    if control_shape is not None and control_spacing is None:
        check_spatial(control_shape, grid.spatial_dims, "control_shape")
        check_control_shape(control_shape, order)
        cells = np.array(control_shape) - order
    elif control_spacing is not None and control_shape is None:
        check_positive("control_spacing", control_spacing)
        if np.ndim(control_spacing) and np.shape(control_spacing) != extent.shape:
            raise ValueError(
                f"control_spacing is {control_spacing} but the grid has {grid.spatial_dims} axes; "
                "expected one number, or one for each axis"
            )
        cells = np.maximum(np.ceil(extent / np.asarray(control_spacing) - 1e-9).astype(int), 1)
    else:
        raise ValueError(
            f"control_spacing is {control_spacing} and control_shape is {control_shape}; expected exactly one of them"
        )
    to_grid = np.diag([*(extent / cells), 1.0])
    to_grid[:-1, -1] = -(order - 1) / 2 * extent / cells
    return SamplingGrid(tuple(cells + order), grid.affine @ to_grid, grid.frame, grid.unit)


def check_control_shape(shape: Sequence[int], order: int) -> None:
    """Check that a spline has an order known here and the ``order + 1`` control points an axis that a span mixes."""
    check_choice("order", order, ORDERS)
    if min(shape) < order + 1:
        raise ValueError(
            f"lattice has {format_shape(shape)} control points; expected at least {order + 1} along every axis for "
            f"splines of order {order}. Use a finer lattice or a lower order"
        )


def axis_matrices(grid: SamplingGrid, lattice: SamplingGrid, order: int) -> list[Tensor] | None:
    """Matrices from the control points of a lattice to the voxels of a grid, one an axis.

    Returns:
        (voxels, control points) in float64 for each axis; None where the axes of the two are not parallel.
    """
    to_lattice = np.linalg.inv(lattice.affine) @ grid.affine
    scale, origin = to_lattice.diagonal()[:-1], to_lattice[:-1, -1]
    astray = np.abs(to_lattice[:-1, :-1] - np.diag(scale)) @ np.array(grid.shape)  # cells, at the far end of the grid
    if astray.max() > 1e-9:
        return None
    indices = [torch.arange(n, dtype=torch.float64) * s + o for n, s, o in zip(grid.shape, scale, origin, strict=True)]
    return [spline_matrix(index, size, order) for index, size in zip(indices, lattice.shape, strict=True)]


def refined_lattice(lattice: SamplingGrid, order: int) -> tuple[SamplingGrid, list[Tensor]]:
    """The lattice of half the spacing over the same valid region, and how its coefficients follow.

    Returns:
        The lattice, and the matrices (new, old) of its axes, float64, that take coefficients to those of the same map.
    """
    matrices = [_insertion(size, order) for size in lattice.shape]
    dims = lattice.spatial_dims
    to_old = np.diag([*[0.5] * dims, 1.0])
    to_old[:-1, -1] = (order - 1) / 4  # the valid region begins at index (order - 1) / 2 of both
    shape = tuple(m.shape[0] for m in matrices)
    return SamplingGrid(shape, lattice.affine @ to_old, lattice.frame, lattice.unit), matrices


def _insertion(size: int, order: int) -> Tensor:
    """Matrix (2 (size - order) + order, size) that inserts a control point into every cell of one axis."""
    matrix = torch.zeros(2 * (size - order) + order, size, dtype=torch.float64)
    for old in range(size):
        for step in range(order + 2):  # a B-spline is the sum of order + 2 of half its width, binomially weighted
            new = 2 * old - order + step
            if 0 <= new < matrix.shape[0]:
                matrix[new, old] = comb(order + 1, step) / 2**order
    return matrix
