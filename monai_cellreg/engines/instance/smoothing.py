"""Gaussian smoothing of images and fields that continues them beyond their border."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import ceil

import torch
from torch import Tensor
from torch.nn import functional


def smooth(values: Tensor, sigma: float | Sequence[float]) -> Tensor:
    """A tensor (B, C, *spatial) smoothed along its spatial axes.

    Args:
        values: float tensor.
        sigma: standard deviation in voxels, one for all axes or one each; 0 leaves an axis as it is.
    """
    sigmas = [float(sigma)] * (values.ndim - 2) if isinstance(sigma, (int, float)) else sigma
    for axis, width in enumerate(sigmas, 2):
        size = values.shape[axis]
        if width > 0 and size > 1:
            taps = gaussian(width, min(ceil(3 * width), size - 1)).to(values)
            rows = values.movedim(axis, -1)
            padded = functional.pad(rows.reshape(-1, 1, size), [len(taps) // 2] * 2, mode="replicate")
            values = functional.conv1d(padded, taps[None, None]).reshape(rows.shape).movedim(-1, axis)
    return values


@cache
def gaussian(sigma: float, radius: int) -> Tensor:
    """Weights of the ``2 radius + 1`` voxels around a voxel, which sum to 1."""
    taps = torch.exp(-torch.arange(-radius, radius + 1, dtype=torch.float64).square() / (2 * sigma**2))
    return taps / taps.sum()
