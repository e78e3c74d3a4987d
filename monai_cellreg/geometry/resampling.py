"""Reading a moving image on the fixed grid through any map, once."""

from __future__ import annotations

import torch
from torch import Tensor

from ..utils import check_spatial
from .grid import SamplingGrid
from .sampling import sample
from .transform import SpatialTransform


def resample(
    moving: Tensor,
    transform: SpatialTransform,
    fixed_grid: SamplingGrid,
    moving_grid: SamplingGrid,
    *,
    mode: str = "linear",
    padding: str = "border",
) -> Tensor:
    """``warped(x) = moving(T(x))`` at every voxel centre of the fixed grid.

    Args:
        moving: (B or 1, C, *moving_grid.shape).
        transform: fixed world points to moving world points.
        fixed_grid: grid of the result.
        moving_grid: grid of ``moving``.
        mode: ``"linear"`` or ``"nearest"`` (labels).
        padding: value outside the moving image, see :func:`~monai_cellreg.geometry.sampling.sample`.

    Returns:
        (B, C, *fixed_grid.shape) in the dtype of ``moving``.

    Raises:
        ValueError: when ``moving`` does not fit its grid, dimensions differ, or for an unknown mode or padding.
    """
    moving_grid.check_fits("moving", moving, "B", "C")
    check_spatial(fixed_grid.shape, transform.spatial_dims, "fixed_grid")
    world = fixed_grid.world(dtype=torch.float64, device=moving.device).reshape(1, -1, fixed_grid.spatial_dims)
    index = moving_grid.world_to_index(transform._map(world))
    index = index.reshape(index.shape[0], *fixed_grid.shape, fixed_grid.spatial_dims)
    exact = moving.dtype == torch.float64
    return sample(moving, index if exact else index.float(), mode=mode, padding=padding)
