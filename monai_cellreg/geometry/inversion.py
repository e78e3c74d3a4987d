"""Numerical inversion of a smooth map, point by point."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

PointMap = Callable[[Tensor], Tensor]


def map_jacobian(mapping: PointMap, points: Tensor) -> Tensor:
    """Jacobian of a pointwise map at points (B, N, D): (B, N, D, D), ``J[..., i, j] = d mapping_i / d x_j``."""
    with torch.enable_grad():
        x = points.detach().requires_grad_(True)
        y = mapping(x)
        rows = [
            torch.autograd.grad(y[..., i].sum(), x, retain_graph=i + 1 < y.shape[-1])[0] for i in range(y.shape[-1])
        ]
    return torch.stack(rows, dim=-2)


@torch.no_grad()
def invert_points(
    mapping: PointMap, points: Tensor, *, tolerance: float = 1e-6, iterations: int = 50
) -> tuple[Tensor, Tensor]:
    """Solves ``mapping(x) = points`` for x by damped Newton steps from ``x = points``.

    Args:
        mapping: pointwise differentiable map of (B, N, D) points.
        points: (B, N, D) values to reach, in world units; NaN gives NaN.
        tolerance: stops when every residual is below it, in world units.
        iterations: largest number of steps.

    Returns:
        The solution (B, N, D) and the residual ``|mapping(x) - points|`` (B, N), in world units.
    """
    x = points.clone()
    error = mapping(x) - points
    residual = torch.where(points.isfinite().all(dim=-1), error.norm(dim=-1), 0.0)
    for _ in range(iterations):
        if bool((residual <= tolerance).all()):
            break
        start, unsettled = x, residual > tolerance
        jacobian = map_jacobian(mapping, start).nan_to_num()
        step = (torch.linalg.pinv(jacobian) @ error[..., None])[..., 0]
        for damping in (1.0, 0.5, 0.25, 0.125):  # each point takes the longest step that brings it closer
            trial = start - damping * step
            trial_error = mapping(trial) - points
            trial_residual = trial_error.norm(dim=-1)
            better = unsettled & (trial_residual < residual)
            x = torch.where(better[..., None], trial, x)
            error = torch.where(better[..., None], trial_error, error)
            residual = torch.where(better, trial_residual, residual)
            unsettled = unsettled & ~better
            if not bool(unsettled.any()):
                break
    return x, residual
