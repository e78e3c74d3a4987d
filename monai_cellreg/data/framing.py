"""Images of one pixel size and one frame, as a network takes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from ..geometry import SamplingGrid, sample
from ..geometry.grid import DECIMALS
from ..utils import Spacing, axis_spacing, check_spatial

__all__ = ["frame_image", "pixel_steps"]


def pixel_steps(grid: SamplingGrid, spacing: Spacing) -> tuple[float, ...]:
    """How many voxels of a grid one step of another spacing spans along each axis.

    Args:
        grid: where the image lies.
        spacing: wanted distance of voxel centres in mm; none leaves the voxels as they are.

    Returns:
        One number for each axis; ones without a spacing, and where the grid's unit is not one of length.

    Raises:
        ValueError: for a spacing that is not positive or does not fit the number of axes.

    Example:
        >>> pixel_steps(SamplingGrid((4, 6), np.diag([700.0, 350.0, 1.0]), unit="µm"), 1.4)
        (2.0, 4.0)
    """
    wanted = axis_spacing(spacing, grid.spatial_dims)
    if spacing is None or grid.unit not in DECIMALS:
        return (1.0,) * grid.spatial_dims
    stored = grid.in_unit("mm").spacing
    return tuple(round(w / s, 6) for w, s in zip(wanted, stored, strict=True))  # files round their spacing


def frame_image(image: Tensor, image_size: Sequence[int], steps: Sequence[float], *, label: bool = False) -> Tensor:
    """The middle of an image, resampled to another pixel size and cropped or continued from its border, in one reading.

    Both frames have their middle in common. Along an axis whose pixels stay as they are, it is rounded to a whole
    pixel, as MONAI's ``SpatialPad`` does, so that values are kept exactly. What shrinks is smoothed first, by the
    Gaussian of scikit-image's ``resize``.

    Args:
        image: (C, *spatial).
        image_size: size of the result along each axis.
        steps: pixels of the image that one pixel of the result spans, see :func:`pixel_steps`.
        label: read with the nearest neighbour instead of linearly, and never smoothed.

    Returns:
        (C, *image_size) in the dtype of the image; the image itself where nothing changes.

    Raises:
        ValueError: when ``image_size`` has another number of axes than the image.

    Example:
        >>> frame_image(torch.arange(5.0)[None, None], (1, 3), (1, 1))
        tensor([[[1., 2., 3.]]])
    """
    check_spatial(image_size, image.ndim - 1, "image_size")
    if tuple(image.shape[1:]) == tuple(image_size) and set(steps) == {1}:
        return image
    if not label and max(steps) > 1:
        sigmas = [max(0.0, (step - 1) / 2) for step in steps]
        image = torch.from_numpy(gaussian_filter(image.numpy(), (0, *sigmas), mode="nearest"))
    axes = [_positions(*sizes) for sizes in zip(image.shape[1:], image_size, steps, strict=True)]
    index = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    return sample(image[None], index[None], mode="nearest" if label else "linear")[0]


def _positions(size: int, new_size: int, step: float) -> Tensor:
    """Where along an axis the image is read, in its pixels; float64 (new_size,)."""
    first = (size - 1) / 2 - step * (new_size - 1) / 2
    if step == 1:
        first = float(np.ceil(first))
    return first + step * torch.arange(new_size, dtype=torch.float64)
