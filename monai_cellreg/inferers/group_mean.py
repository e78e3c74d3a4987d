"""The mean of the maps of a group of images, and the frame in which it is the identity."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..geometry import AffineTransform, DenseTransform, SamplingGrid, SpatialTransform, compose
from .frame import at_voxels
from .preimages import preimages

TOLERANCE = 1e-4  # of the spacing, to which the mean map is inverted


@torch.no_grad()
def mean_map(maps: Sequence[SpatialTransform], grid: SamplingGrid) -> SpatialTransform:
    """``x -> mean of T(x)`` over the maps: an affine map of affine ones, otherwise displacements at the grid's voxels.

    Raises:
        ValueError: for no map.
    """
    if not maps:
        raise ValueError("maps is empty; expected at least one map to take the mean of")
    matrices = [each.matrix for each in maps if isinstance(each, AffineTransform)]
    if len(matrices) == len(maps):
        return AffineTransform(torch.cat(matrices).mean(0))
    total = maps[0].displacement(grid, device="cpu")
    for each in maps[1:]:
        total += each.displacement(grid, device="cpu")
    return DenseTransform(total / len(maps), grid)


@torch.no_grad()
def centred(maps: Sequence[SpatialTransform], trusted: Sequence[bool], grid: SamplingGrid) -> list[SpatialTransform]:
    """The maps seen from the mean shape: the mean displacement of the trusted ones becomes zero.

    With M the mean of the maps T, a point x of the old reference lies at M(x) in the mean shape, so that T' = T after
    the inverse of M maps the mean shape to each frame, and the mean of all T' is the identity.

    Args:
        maps: old reference world points to world points of each frame.
        trusted: which of the maps count for the mean.
        grid: where the reference lies.

    Returns:
        The maps of the mean shape, in the same order.

    References:
        Guimond, Meunier, Thirion, Average brain models, Computer Vision and Image Understanding 2000: the mean image
        read through the inverse of the mean map. We recentre the maps themselves, so that every frame is read once.
    """
    mean = mean_map([each for each, counts in zip(maps, trusted, strict=True) if counts], grid)
    back = mean.inverse() if isinstance(mean, AffineTransform) else _inverse_at_voxels(mean, grid)
    return [at_voxels(compose([back, each]), grid) for each in maps]


@torch.no_grad()
def rms_change(before: Sequence[SpatialTransform], after: Sequence[SpatialTransform], grid: SamplingGrid) -> float:
    """Root mean square distance of the points that two lists of maps give, over maps and voxels, in world units."""
    squares = [
        (a.displacement(grid, device="cpu") - b.displacement(grid, device="cpu")).square().sum(1).mean()
        for a, b in zip(before, after, strict=True)
    ]
    return float(torch.stack(squares).mean().sqrt())


def _inverse_at_voxels(transform: SpatialTransform, grid: SamplingGrid) -> DenseTransform:
    """The inverse as displacements; where maps of opposite directions fold their mean, the closest there is."""
    y = grid.world().reshape(-1, grid.spatial_dims)
    x, _ = preimages(transform, y, tolerance=TOLERANCE * min(grid.spacing))
    return DenseTransform((x - y).T.reshape(1, grid.spatial_dims, *grid.shape), grid)
