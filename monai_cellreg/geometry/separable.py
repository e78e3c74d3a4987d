"""Tensor products: one small matrix an axis in place of one huge matrix for all voxels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..utils import format_shape
from .grid import SamplingGrid


def apply_separable(values: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Contracts each spatial axis of ``values`` with its own matrix.

    Convention: ``result[b, c, i, j] = sum_kl M0[i, k] M1[j, l] values[b, c, k, l]`` in 2D, likewise in 3D. The axes are
    contracted in the cheapest order; the result is the same for every order. Autocast does not round it.

    Args:
        values: (B, C, *control), such as coefficients on a control grid.
        matrices: one an axis, in the order of the axes: (size, control), of one dtype.

    Returns:
        (B, C, *sizes), contiguous, in the better of the two precisions.

    Raises:
        ValueError: when the matrices do not fit the axes.

    Example:
        >>> apply_separable(torch.ones(1, 1, 2, 3), [torch.ones(4, 2), torch.ones(5, 3)]).shape
        torch.Size([1, 1, 4, 5])
    """
    shapes = [tuple(m.shape) for m in matrices]
    if [s[-1] for s in shapes] != list(values.shape[2:]) or any(len(s) != 2 for s in shapes):
        raise ValueError(
            f"matrices have shapes {', '.join(map(format_shape, shapes))} but values has shape "
            f"{format_shape(values.shape)}; expected one (size, control) matrix for each axis of (B, C, *control)"
        )
    dtype = torch.promote_types(values.dtype, matrices[0].dtype)
    with torch.autocast(values.device.type, enabled=False):
        result = values.to(dtype)
        # fewest products first; among equals the last axis, whose product runs over contiguous memory
        for axis in sorted(reversed(range(len(shapes))), key=lambda a: 1 / shapes[a][1] - 1 / shapes[a][0]):
            result = _contract(result, matrices[axis].to(dtype), axis + 2)
    return result


def _contract(values: Tensor, matrix: Tensor, axis: int) -> Tensor:
    """``values`` with one axis contracted by a matrix, as a product that neither copies nor reorders the others."""
    if axis == values.ndim - 1:
        return values @ matrix.T
    shape = (*values.shape[:axis], matrix.shape[0], *values.shape[axis + 1 :])
    return (matrix @ values.flatten(axis + 1)).reshape(shape)


class SeparableField(nn.Module):
    """What heads share whose voxel field is a tensor product of their parameters.

    Args:
        grid: of the image.
        matrices: one an axis, (voxels, control points).
    """

    voxels_per_unit: Tensor

    def __init__(self, grid: SamplingGrid, matrices: Sequence[Tensor]) -> None:
        super().__init__()
        for axis, matrix in enumerate(matrices):
            self.register_buffer(f"matrix_{axis}", matrix.float(), persistent=False)
        half = torch.as_tensor(grid.cube_to_world.diagonal()[:-1].copy()).float()  # a unit of the cube in voxels
        self.register_buffer("voxels_per_unit", half.reshape(-1, *[1] * grid.spatial_dims), persistent=False)

    def voxel_field(self, parameters: Tensor) -> Tensor:
        """Displacements of control points (B, D, *control) on the cube to a voxel field (B, D, *grid.shape)."""
        matrices = [self.get_buffer(f"matrix_{axis}") for axis in range(parameters.shape[1])]
        with torch.autocast(parameters.device.type, enabled=False):
            return apply_separable(parameters.float() * self.voxels_per_unit, matrices)
