"""Derivatives of voxel displacement fields."""

from __future__ import annotations

import torch
from torch import Tensor


def voxel_jacobian(displacement_vox: Tensor) -> Tensor:
    """Jacobian of ``x + displacement(x)`` in index coordinates by central differences (one-sided at the border).

    Args:
        displacement_vox: (B, D, *spatial) in voxels, at least two voxels along every axis.

    Returns:
        (B, *spatial, D, D) with ``J[..., i, j] = d T_i / d x_j``.
    """
    dims = displacement_vox.shape[1]
    columns = torch.gradient(displacement_vox, dim=list(range(2, 2 + dims)))
    jacobian = torch.stack([c.movedim(1, -1) for c in columns], dim=-1)
    return jacobian + torch.eye(dims, dtype=jacobian.dtype, device=jacobian.device)


def voxel_jacobian_determinant(displacement_vox: Tensor) -> Tensor:
    """Determinant (B, *spatial) of :func:`voxel_jacobian`; at most zero where the map folds."""
    return torch.linalg.det(voxel_jacobian(displacement_vox))
