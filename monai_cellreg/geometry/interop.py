"""Fields inside networks (MONAI voxel DDFs) to maps of world points and back: the only converter."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..utils import check_spatial
from .grid import SamplingGrid
from .transform import SpatialTransform


def cube_to_voxel_ddf(displacement: Tensor, spatial_size: Sequence[int]) -> Tensor:
    """Displacements (B, D, voxels) on the cube [-1, 1]^D to a voxel field (B, D, *spatial_size)."""
    half = displacement.new_tensor([(s - 1) / 2 if s > 1 else 0.5 for s in spatial_size])
    return (displacement * half[:, None]).reshape(displacement.shape[0], len(spatial_size), *spatial_size)


def voxel_to_cube_ddf(displacement_vox: Tensor) -> Tensor:
    """A voxel field (B, D, *spatial) in units of the cube [-1, 1]^D, same shape."""
    size = displacement_vox.shape[2:]
    scale = displacement_vox.new_tensor([2 / (s - 1) if s > 1 else 2.0 for s in size])
    return displacement_vox * scale.reshape(1, -1, *([1] * len(size)))


def to_voxel_ddf(transform: SpatialTransform, fixed_grid: SamplingGrid, moving_grid: SamplingGrid) -> Tensor:
    """The MONAI voxel DDF (B, D, *fixed_grid.shape), float32, on the map's device: moving index = fixed index + ddf."""
    check_spatial(fixed_grid.shape, transform.spatial_dims, "fixed_grid")
    start = fixed_grid.index(device=transform.device)
    world = fixed_grid.index_to_world(start).reshape(1, -1, fixed_grid.spatial_dims)
    index = moving_grid.world_to_index(transform._map(world))
    index = index.transpose(1, 2).reshape(index.shape[0], fixed_grid.spatial_dims, *fixed_grid.shape)
    return (index - start.movedim(-1, 0)).float()


def voxel_ddf_to_world(displacement_vox: Tensor, fixed_grid: SamplingGrid, moving_grid: SamplingGrid) -> Tensor:
    """World displacement (B, D, *fixed_grid.shape), float64, of a MONAI voxel DDF of that shape, on its device."""
    fixed_grid.check_fits("displacement_vox", displacement_vox, "B", fixed_grid.spatial_dims)
    start = fixed_grid.index(device=displacement_vox.device)
    index = start + displacement_vox.double().movedim(1, -1)
    return (moving_grid.index_to_world(index) - fixed_grid.index_to_world(start)).movedim(-1, 1)
