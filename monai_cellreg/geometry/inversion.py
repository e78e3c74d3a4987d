"""Numerical inversion of a map, point by point.

References:
    Broyden, A class of methods for solving nonlinear simultaneous equations, Mathematics of Computation 1965: the
    first method. We start it from the identity, so that its first step is that of the fixed-point iteration, and leave
    what it does not settle to damped Newton steps, then to following the solution from the identity to the map.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .derivatives import BLOCK, PointMap, map_jacobian

BROYDEN_STEPS = 12
NEWTON_STEPS = 30
DAMPING = (1.0, 0.5, 0.25, 0.125, 0.0625)
FOLLOWING_STAGES = 8

Solver = Callable[[PointMap, Tensor, Tensor, float], tuple[Tensor, Tensor]]
"""Map, target (B, N, D), start (B, N, D), tolerance to the closest points found and their residual (B, N)."""


@dataclass(frozen=True)
class InversionReport:
    """How well an inverse does at the voxel centres of a grid; made by :meth:`SpatialTransform.inversion_report`.

    Args:
        largest: largest residual ``|T(x) - y|``, in world units.
        rms: root mean square of the residuals, in world units.
        unreached: share of the points that a numerical inverse, or one in a chain, does not reach within its tolerance:
            there it refuses to map. 0 where all inverses have a closed form.
        folded: share of the points at whose solution the Jacobian determinant of the map is at or below 0: there the
            map folds and the solution is one of several (or the map mirrors as a whole, which makes the share 1).
    """

    largest: float
    rms: float
    unreached: float
    folded: float


@torch.no_grad()
def invert_points(mapping: PointMap, points: Tensor, *, tolerance: float = 1e-9) -> tuple[Tensor, Tensor]:
    """Solves ``mapping(x) = points`` for x, starting from ``x = points``.

    Args:
        mapping: pointwise differentiable map of (B, N, D) points.
        points: (B, N, D) values to reach, in world units; NaN gives NaN.
        tolerance: residual at which a point is settled, in world units.

    Returns:
        The solution (B, N, D) and the residual ``|mapping(x) - points|`` (B, N), in world units; where the tolerance is
        not met, the closest that was found.
    """
    blocks = [_inverted(mapping, block, tolerance) for block in points.split(BLOCK, dim=1)]
    solutions, residuals = zip(*blocks, strict=True)
    return torch.cat(solutions, dim=1), torch.cat(residuals, dim=1)


@torch.no_grad()
def folds_near(mapping: PointMap, points: Tensor, target: Tensor) -> Tensor:
    """Whether a map folds where a search for ``mapping(x) = target`` has ended.

    Args:
        mapping: as for :func:`invert_points`.
        points: (B, N, D) where the search ended.
        target: (B, N, D) values that were not reached.

    Returns:
        (B, N), true where the Jacobian determinant is at or below 0 at the point, on the way that is left to go, or at
        the target, where the search began.
    """
    left = target - mapping(points)
    places = [target, *(points + share * left for share in (0.0, 0.25, 0.5, 1.0))]
    return torch.stack([torch.linalg.det(map_jacobian(mapping, place)) <= 0 for place in places]).any(dim=0)


def _inverted(mapping: PointMap, points: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """What :func:`invert_points` gives, at once for all points."""
    missing = points.isnan().any(dim=-1)
    x = points.masked_fill(missing[..., None], torch.nan)
    residual = torch.full_like(points[..., 0], torch.inf).masked_fill(missing, 0.0)
    solvers: tuple[Solver, ...] = (_broyden, _newton, _following)
    for solver in solvers:
        unsettled = _columns(residual > tolerance)
        if len(unsettled) == 0:
            break
        found, missed = solver(mapping, points[:, unsettled], x[:, unsettled], tolerance)
        better = missed < residual[:, unsettled]
        x[:, unsettled] = torch.where(better[..., None], found, x[:, unsettled])
        residual[:, unsettled] = torch.where(better, missed, residual[:, unsettled])
    return x, residual


def _broyden(mapping: PointMap, target: Tensor, x: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """Steps by an inverse Jacobian that starts as the identity and learns from each step; one evaluation a step."""
    best, error = x.clone(), mapping(x) - target
    residual = error.norm(dim=-1)
    now, column = residual, torch.arange(x.shape[1], device=x.device)  # the points that are still worked on
    inverse = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device).expand(*x.shape, -1)
    for _ in range(BROYDEN_STEPS):
        keep = _columns((now > tolerance) & (now <= 4 * residual[:, column]))
        if len(keep) == 0:
            break
        if len(keep) < 0.8 * len(column):  # copying pays only when it spares enough work
            target, x, error, inverse = (v[:, keep] for v in (target, x, error, inverse))
            column = column[keep]
        step = -(inverse @ error[..., None])  # (B, n, D, 1)
        x = x + step[..., 0]
        before, error = error, mapping(x) - target
        change = inverse @ (error - before)[..., None]
        length = (step * change).sum(dim=-2, keepdim=True)
        length = torch.where(length == 0, 1.0, length)
        inverse = inverse + (step - change) @ (step.mT @ inverse) / length
        now = error.norm(dim=-1)
        better = now < residual[:, column]
        best[:, column] = torch.where(better[..., None], x, best[:, column])
        residual[:, column] = torch.where(better, now, residual[:, column])
    return best, residual


def _newton(mapping: PointMap, target: Tensor, x: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """Newton steps, each shortened until it brings its point closer."""
    best, error = x.clone(), mapping(x) - target
    residual = error.norm(dim=-1)
    column = torch.arange(x.shape[1], device=x.device)
    for _ in range(NEWTON_STEPS):
        start, now = x, error.norm(dim=-1)
        step = torch.linalg.solve_ex(map_jacobian(mapping, start), error[..., None])[0][..., 0]
        searching, moved = now > tolerance, torch.zeros_like(now, dtype=torch.bool)
        for damping in DAMPING:
            trial = start - damping * step
            trial_error = mapping(trial) - target
            better = searching & (trial_error.norm(dim=-1) < now)
            x = torch.where(better[..., None], trial, x)
            error = torch.where(better[..., None], trial_error, error)
            searching, moved = searching & ~better, moved | better
            if not bool(searching.any()):
                break
        best[:, column], residual[:, column] = x, error.norm(dim=-1)
        keep = _columns(moved & (residual[:, column] > tolerance))
        if len(keep) == 0:
            break
        column, target, x, error = column[keep], target[:, keep], x[:, keep], error[:, keep]
    return best, residual


def _following(mapping: PointMap, target: Tensor, x: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """Newton steps for maps that lead in stages from the identity, whose solution is known, to the map."""
    x = target
    residual = torch.full_like(x[..., 0], torch.inf)
    for stage in range(1, FOLLOWING_STAGES + 1):

        def partway(p: Tensor, share: float = stage / FOLLOWING_STAGES) -> Tensor:
            return p + share * (mapping(p) - p)

        x, residual = _newton(partway, target, x, tolerance)
    return x, residual


def _columns(chosen: Tensor) -> Tensor:
    """Positions of the points that are chosen in any of the B maps."""
    return chosen.any(dim=0).nonzero()[:, 0]
