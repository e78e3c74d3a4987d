"""Derivatives of maps of points and of voxel displacement fields."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

PointMap = Callable[[Tensor], Tensor]
"""A map of points (B, N, D) in which no point's value depends on another point."""

BLOCK = 1 << 16  # points that are worked on at once: bounds the memory of a map, and stays in the cache


def map_jacobian(mapping: PointMap, points: Tensor) -> Tensor:
    """Jacobian of a map at points (B, N, D): (B, N, D, D), detached, ``J[..., i, j] = d mapping_i / d x_j``."""
    return torch.cat([_block_jacobian(mapping, block) for block in points.detach().split(BLOCK, dim=1)], dim=1)


@torch.no_grad()
def symmetric_jacobian(mapping: PointMap, points: Tensor, step: float) -> Tensor:
    """Jacobian (B, N, D, D) as :func:`map_jacobian`, by the difference over ``step`` to both sides.

    Where a map has a kink, as linear interpolation has at voxels, this is the mean of both sides, whichever way its
    voxels are stored; there autograd gives that of one side.
    """
    ways = step * torch.eye(points.shape[-1], dtype=points.dtype, device=points.device)
    blocks = [
        torch.stack([(mapping(x + way) - mapping(x - way)) / (2 * step) for way in ways], dim=-1)
        for x in points.split(BLOCK, dim=1)
    ]
    return torch.cat(blocks, dim=1)


def _block_jacobian(mapping: PointMap, points: Tensor) -> Tensor:
    with torch.enable_grad():
        x = points.clone().requires_grad_()
        y = mapping(x)
        rows = [
            torch.autograd.grad(y[..., i].sum(), x, retain_graph=i + 1 < y.shape[-1])[0] for i in range(y.shape[-1])
        ]
    return torch.stack(rows, dim=-2)


def voxel_jacobian(displacement_vox: Tensor) -> Tensor:
    """Jacobian of ``x + displacement(x)`` in index coordinates by central differences (one-sided at the border).

    Args:
        displacement_vox: (B, D, *spatial) in voxels; it is taken to be constant along an axis of one voxel.

    Returns:
        (B, *spatial, D, D) with ``J[..., i, j] = d T_i / d x_j``.
    """
    dims = displacement_vox.shape[1]
    columns = _differences(displacement_vox)
    jacobian = torch.stack([c.movedim(1, -1) for c in columns], dim=-1)
    return jacobian + torch.eye(dims, dtype=jacobian.dtype, device=jacobian.device)


def voxel_jacobian_determinant(displacement_vox: Tensor) -> Tensor:
    """Determinant (B, *spatial) of :func:`voxel_jacobian`; at most zero where the map folds."""
    return jacobian_determinant([column.unbind(1) for column in _differences(displacement_vox)])


def _differences(displacement_vox: Tensor) -> list[Tensor]:
    """Derivatives (B, D, *spatial) of a field along each spatial axis."""
    return [
        torch.gradient(displacement_vox, dim=axis)[0] if size > 1 else torch.zeros_like(displacement_vox)
        for axis, size in enumerate(displacement_vox.shape[2:], 2)
    ]


def jacobian_determinant(columns: Sequence[Sequence[Tensor]]) -> Tensor:
    """Determinant of ``I + du/dx``, exact and differentiable also where it is singular, voxel by voxel.

    Args:
        columns: ``columns[j][i] = d u_i / d x_j``, tensors of one shape.

    Returns:
        A tensor of that shape.
    """
    rows = zip(*columns, strict=True)
    return _determinant([[x + 1 if i == j else x for j, x in enumerate(row)] for i, row in enumerate(rows)])


def _determinant(matrix: Sequence[Sequence[Tensor]]) -> Tensor:
    """By Laplace's rule."""
    first, *others = matrix
    if not others:
        return first[0]
    parts = [x * _determinant([[*row[:j], *row[j + 1 :]] for row in others]) for j, x in enumerate(first)]
    return sum(parts[2::2], parts[0]) - sum(parts[3::2], parts[1])
