"""Points of a frame, back on the reference."""

from __future__ import annotations

import torch
from torch import Tensor

from ..geometry import AffineTransform, SpatialTransform
from ..geometry.inversion import invert_points


@torch.no_grad()
def preimages(transform: SpatialTransform, points: Tensor, *, tolerance: float) -> tuple[Tensor, Tensor]:
    """Fixed points of moving points, also where a map has no inverse: there the closest that is found.

    A movie is worth more than the few points near which the map of a frame folds: these are told apart, not refused as
    by :meth:`~monai_cellreg.geometry.SpatialTransform.inverse`.

    Convention: world points; ``transform`` takes the fixed ones, which are wanted, to the moving ones, which are given.

    Args:
        transform: reference world points to world points of the frame; one map.
        points: (N, D) world points of the frame; NaN gives NaN.
        tolerance: distance, in world units, at which a point counts as reached.

    Returns:
        World points (N, D) of the reference, float64 on the CPU, and which of them (N,) the map takes to the given
        points within the tolerance.
    """
    wanted = points.double().to(transform.device)[None]
    if isinstance(transform, AffineTransform):
        found = transform.inverse()._map(wanted)[0].cpu()
        return found, torch.ones(len(found), dtype=torch.bool)
    solution, residual = invert_points(transform._map, wanted, tolerance=tolerance)
    return solution[0].cpu(), (residual[0] <= tolerance).cpu()
