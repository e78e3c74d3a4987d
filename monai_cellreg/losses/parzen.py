"""Joint histograms of two images by Parzen windows, differentiable in the intensities."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

CHUNK = 1 << 14  # voxels at a time on a CPU: their weights of all bins fit the cache
DEVICE_CHUNK = 1 << 20  # elsewhere, where few large steps are faster

ParzenWindow = Callable[[Tensor], Tensor]
"""From distances (B, bins, N) of intensities to bin centres, in bins, to weights of the bins, which sum to 1."""


def gaussian_window(sigma_bins: float) -> ParzenWindow:
    """A Gaussian, normalised over the bins.

    Args:
        sigma_bins: standard deviation in bins.
    """
    return lambda distance: torch.softmax(distance.square() * (-0.5 / sigma_bins**2), dim=1)


def cubic_window(distance: Tensor) -> Tensor:
    """The cubic B-spline; it sums to 1 for intensities at least one bin from the outermost centres."""
    outer, inner = (2 - distance.abs()).relu(), (1 - distance.abs()).relu()
    return (outer * outer * outer - 4 * inner * inner * inner) / 6


def box_window(distance: Tensor) -> Tensor:
    """One bin, or half of each of two when the intensity lies between them."""
    distance = distance.abs()
    return ((distance < 0.5).to(distance) + (distance <= 0.5).to(distance)) / 2


def joint_histogram(
    pred: Tensor,
    target: Tensor,
    weight: Tensor | None,
    *,
    num_bins: int,
    windows: tuple[ParzenWindow, ParzenWindow],
) -> Tensor:
    """Share of voxels in every pair of bins, where each voxel counts for the bins around its intensity.

    Weights of bins are made anew in the backward pass instead of being kept: there are ``2 * num_bins`` a voxel.

    Args:
        pred: (B, N) intensities in bins; bin ``k`` is centred on ``k``.
        target: as ``pred``.
        weight: (B, N), how much each voxel counts; all alike if None.
        num_bins: number of bins of each image.
        windows: how ``pred`` and ``target`` count for their bins.

    Returns:
        (B, num_bins, num_bins), ``pred`` along the rows, with sum 1.

    Example:
        >>> half = torch.tensor([[0.0, 1.0]])
        >>> joint_histogram(half, half, None, num_bins=2, windows=(box_window, box_window))
        tensor([[[0.5000, 0.0000],
                 [0.0000, 0.5000]]])
    """
    centres = torch.arange(num_bins, device=pred.device)[:, None]

    def counted(pred: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        rows, columns = (window(x[:, None] - centres) for window, x in zip(windows, (pred, target), strict=True))
        return (rows if weight is None else rows * weight[:, None]) @ columns.mT

    chunk = max(1, (CHUNK if pred.device.type == "cpu" else DEVICE_CHUNK) // pred.shape[0])
    parts = [x.split(chunk, dim=1) for x in (pred, target)]
    weights = [None] * len(parts[0]) if weight is None else weight.split(chunk, dim=1)
    total = pred.new_zeros(pred.shape[0], num_bins, num_bins)
    for part in zip(*parts, weights, strict=True):
        total = total + checkpoint(counted, *part, use_reentrant=False, preserve_rng_state=False)
    return total / (pred.shape[1] if weight is None else weight.sum(1)[:, None, None])
