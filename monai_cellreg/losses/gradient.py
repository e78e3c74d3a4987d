"""First derivatives of images and fields that end at a border, or at what is hidden."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def spatial_gradient(
    image: Tensor, visible: Tensor | None = None, spacing: Sequence[float] | None = None
) -> list[Tensor]:
    """Central differences; one-sided where one of the two neighbours is missing, and 0 where both are.

    Outside the image and at hidden voxels there is no neighbour, so that a box of visible voxels has the derivatives of
    the cropped image.

    Args:
        image: (B, C, *spatial), finite also where hidden.
        visible: (B or 1, 1 or C, *spatial) boolean; all voxels when None.
        spacing: distance of voxels along each axis; 1 when None.

    Returns:
        The derivative along each spatial axis, each like ``image``.

    Example:
        >>> spatial_gradient(torch.tensor([[[0.0, 1.0, 4.0, 9.0]]]))[0]
        tensor([[[1., 2., 4., 5.]]])
    """
    return [
        _derivative(image, visible, axis, 1.0 if spacing is None else float(spacing[axis - 2]))
        for axis in range(2, image.ndim)
    ]


def _derivative(image: Tensor, visible: Tensor | None, axis: int, length: float) -> Tensor:
    size = image.shape[axis]
    if visible is None:
        along_axis = [size if a == axis else 1 for a in range(image.ndim)]
        visible = torch.ones(along_axis, dtype=torch.bool, device=image.device)
    both = visible.narrow(axis, 1, size - 1) & visible.narrow(axis, 0, size - 1)
    both = both.to(image.dtype)
    count = _beside(both, axis).clamp_min(1)
    return _beside(image.diff(dim=axis) * both, axis) / (count * length)


def _beside(steps: Tensor, axis: int) -> Tensor:
    """Sum of the steps before and after each voxel, none beyond the ends."""
    unused = (0, 0) * (steps.ndim - 1 - axis)
    return functional.pad(steps, (*unused, 1, 0)) + functional.pad(steps, (*unused, 0, 1))
