"""The images of a pair at coarser resolutions, as the optimisation reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ...geometry import SamplingGrid
from .smoothing import smooth

COARSEST = 24  # voxels along the shortest axis of the coarsest level; a quarter of the image where that is less
THIN = 4  # voxels along an axis below which it does not limit the number of levels, as that of a single slice
MODES = {2: "bilinear", 3: "trilinear"}


@dataclass(frozen=True)
class Images:
    """The features of a pair and where they are valid.

    Args:
        fixed: (1, C, *spatial) float32.
        moving: (1, C, *spatial) float32, as many channels.
        fixed_grid: where ``fixed`` lies.
        moving_grid: where ``moving`` lies.
        fixed_mask: (1, 1, *spatial) weights of the fixed voxels, or None.
        moving_mask: (1, 1, *spatial) weights of the moving voxels, or None.
    """

    fixed: Tensor
    moving: Tensor
    fixed_grid: SamplingGrid
    moving_grid: SamplingGrid
    fixed_mask: Tensor | None = None
    moving_mask: Tensor | None = None

    @property
    def dims(self) -> int:
        """Number of spatial axes."""
        return self.fixed_grid.spatial_dims

    @cached_property
    def index(self) -> Tensor:
        """Index coordinates of the fixed voxels, (1, D, *spatial)."""
        return self.fixed_grid.index(dtype=torch.float32, device=self.fixed.device).movedim(-1, 0)[None]

    def to_moving(self, linear: np.ndarray) -> Tensor:
        """A linear map of world vectors (D, D) as one from fixed to moving voxels."""
        voxels = np.linalg.inv(self.moving_grid.affine[:-1, :-1]) @ linear @ self.fixed_grid.affine[:-1, :-1]
        return torch.tensor(voxels, dtype=torch.float32, device=self.fixed.device)

    def coarser(self, size: float) -> Images:
        """The pair smoothed and sampled at voxels of about that edge, in world units; never finer than it is."""
        fixed_shape, moving_shape = (shape_at(grid, size) for grid in (self.fixed_grid, self.moving_grid))
        return Images(
            shrink(self.fixed, fixed_shape),
            shrink(self.moving, moving_shape),
            self.fixed_grid.resized(fixed_shape),
            self.moving_grid.resized(moving_shape),
            None if self.fixed_mask is None else shrink(self.fixed_mask, fixed_shape),
            None if self.moving_mask is None else shrink(self.moving_mask, moving_shape),
        )


def shape_at(grid: SamplingGrid, size: float) -> tuple[int, ...]:
    """Shape of a grid over the same extent whose voxels have about the edge ``size``, in world units."""
    return tuple(min(n, max(round(n * spacing / size), 1)) for n, spacing in zip(grid.shape, grid.spacing, strict=True))


def voxel_sizes(grid: SamplingGrid, most_voxels: int) -> list[float]:
    """Edges of the voxels of every level, coarse to fine, each half of the one before, in world units.

    Args:
        grid: of the fixed image.
        most_voxels: at the finest level.
    """
    finest = min(grid.spacing)
    while prod(shape_at(grid, finest)) > most_voxels:
        finest *= 1.02
    wide = [axis for axis, n in enumerate(grid.shape) if n >= THIN] or list(range(grid.spatial_dims))
    least = min(COARSEST, min(grid.shape[axis] for axis in wide) / 4)
    sizes = [finest]
    while min(shape_at(grid, 2 * sizes[-1])[axis] for axis in wide) >= least:
        if shape_at(grid, 2 * sizes[-1]) == shape_at(grid, sizes[-1]):
            break
        sizes.append(2 * sizes[-1])
    return sizes[::-1]


def shrink(image: Tensor, shape: Sequence[int]) -> Tensor:
    """An image (B, C, *spatial) smoothed against aliasing and sampled at ``shape``, over the same extent."""
    factors = [old / new for old, new in zip(image.shape[2:], shape, strict=True)]
    if max(factors) == 1:
        return image
    smoothed = smooth(image, [0.45 * factor if factor > 1.2 else 0.0 for factor in factors])
    return functional.interpolate(smoothed, size=tuple(shape), mode=MODES[len(shape)])


def resize_field(field_vox: Tensor, shape: Sequence[int]) -> Tensor:
    """A displacement (B, D, *spatial) in voxels as one of another shape over the same extent, in its voxels."""
    resized = functional.interpolate(field_vox, size=tuple(shape), mode=MODES[len(shape)])
    scale = [new / old for old, new in zip(field_vox.shape[2:], shape, strict=True)]
    return resized * resized.new_tensor(scale).reshape(1, -1, *[1] * len(shape))
