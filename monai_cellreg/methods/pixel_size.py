"""Images of which only one knows the size of its pixels."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from ..geometry import Pair, SamplingGrid
from ..geometry.grid import DECIMALS

LARGEST_RATIO = 2.0  # of the sizes along an axis, up to which two images may well have the same pixels


def in_one_unit(
    fixed: SamplingGrid, moving: SamplingGrid, *, names: tuple[str, str] = ("fixed", "moving")
) -> tuple[SamplingGrid, SamplingGrid, str]:
    """Two grids in one unit: where one has no pixel size and the images are of about one size, it takes the other's.

    Args:
        fixed: where an image lies.
        moving: where the other one lies.
        names: what the caller calls them.

    Returns:
        Both grids, and a sentence on what was assumed; empty for nothing. Grids that differ otherwise are not changed.

    Raises:
        ValueError: when one has no pixel size and is more than twice as long or short as the other along an axis.

    Example:
        >>> sized, plain = SamplingGrid((8, 6), np.diag([0.5, 0.5, 1]), unit="µm"), SamplingGrid((7, 6))
        >>> in_one_unit(sized, plain)[2]
        'The moving image has no pixel size; it is taken to be that of the fixed image, 0.5 x 0.5 µm.'
    """
    if (
        fixed.frame != moving.frame
        or fixed.spatial_dims != moving.spatial_dims
        or _has_size(fixed) == _has_size(moving)
    ):
        return fixed, moving, ""
    if _has_size(moving):
        moving, fixed, said = in_one_unit(moving, fixed, names=(names[1], names[0]))
        return fixed, moving, said
    if not np.array_equal(moving.affine, np.eye(moving.spatial_dims + 1)):
        return fixed, moving, ""  # pixels of several sizes, in an unknown unit
    ratio = np.array(fixed.shape) / moving.shape
    size = " x ".join(f"{s:g}" for s in fixed.spacing) + f" {fixed.unit}"
    if max(ratio.max(), (1 / ratio).max()) > LARGEST_RATIO:
        shapes = [" x ".join(map(str, grid.shape)) for grid in (moving, fixed)]
        raise ValueError(
            f"{names[1]} has no pixel size ({shapes[0]} pixels) but {names[0]} has pixels of {size} ({shapes[1]} of "
            f"them); expected the size of both, since their numbers differ too much to assume the same. Write that of "
            f"{names[1]} into its file (in ImageJ: Image, Properties), or give a MetaTensor with affine and unit"
        )
    taken = SamplingGrid(moving.shape, fixed.affine, fixed.frame, fixed.unit)
    return (
        fixed,
        taken,
        (f"The {names[1]} image has no pixel size; it is taken to be that of the {names[0]} image, {size}."),
    )


def pair_in_one_unit(fixed: Tensor, moving: Tensor) -> tuple[Pair, tuple[str, ...]]:
    """The pair of two images (C, *spatial), and what was assumed of their pixel sizes; see :func:`in_one_unit`."""
    own = SamplingGrid.from_image(fixed), SamplingGrid.from_image(moving)
    *grids, said = in_one_unit(*own)
    images = [
        image if grid is before else grid.to_image(image)
        for image, grid, before in zip((fixed, moving), grids, own, strict=True)
    ]
    return Pair(*images, *grids), (said,) if said else ()


def _has_size(grid: SamplingGrid) -> bool:
    return grid.unit in DECIMALS
