"""From what a network predicts to a map of world points."""

from __future__ import annotations

from ..geometry import AffineTransform, SamplingGrid, SpatialTransform, compose


def cube_to_world(transform: SpatialTransform, fixed_grid: SamplingGrid, moving_grid: SamplingGrid) -> SpatialTransform:
    """A map between the cubes [-1, 1]^D of two images as a map of their world points.

    Args:
        transform: from the cube of the fixed image to that of the moving one, as a network's field gives it.
        fixed_grid: grid of the image that the network saw as fixed.
        moving_grid: grid of the image that the network saw as moving.

    Returns:
        Fixed world points to moving world points.
    """
    to_cube = AffineTransform(fixed_grid.cube_to_world).inverse()
    return compose([to_cube, transform, AffineTransform(moving_grid.cube_to_world)])
