"""Sums over sliding windows along the spatial axes of images (B, C, *spatial)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def window_sum(image: Tensor, taps: Sequence[float]) -> Tensor:
    """Sums over the windows that lie inside the image, weighted by the outer product of one window for all axes.

    Sums are built by adding shifted images, pairs first, so that rounding does not grow with the image, as it does in
    differences of cumulative sums.

    Args:
        image: (B, C, *spatial), at least as long as the window along every spatial axis.
        taps: weights of the window along an axis.

    Returns:
        (B, C, *shorter), every spatial axis shorter by ``len(taps) - 1``.

    Example:
        >>> import torch
        >>> window_sum(torch.tensor([[[1.0, 2.0, 3.0, 4.0]]]), [1.0, 1.0, 1.0])
        tensor([[[6., 9.]]])
    """
    for axis in range(2, image.ndim):
        image = _run_sum(image, len(taps), axis) if set(taps) == {1.0} else _tap_sum(image, taps, axis)
    return image


def _run_sum(image: Tensor, width: int, axis: int) -> Tensor:
    """Sum of ``width`` neighbours, from sums of 1, 2, 4 ... neighbours, one for each bit of ``width``."""
    length = image.shape[axis] - width + 1
    runs = image  # sums of ``run`` neighbours
    parts, start, run = [], 0, 1
    while run <= width:
        if width & run:
            parts.append(runs.narrow(axis, start, length))
            start += run
        run *= 2
        if run <= width:
            shorter = runs.shape[axis] - run // 2
            runs = runs.narrow(axis, 0, shorter) + runs.narrow(axis, run // 2, shorter)
    return sum(parts[1:], parts[0])


def _tap_sum(image: Tensor, taps: Sequence[float], axis: int) -> Tensor:
    """Weighted sum of neighbours, one shifted image a tap."""
    length = image.shape[axis] - len(taps) + 1
    total = image.narrow(axis, 0, length) * taps[0]
    for start, tap in enumerate(taps[1:], start=1):
        total = total.add_(image.narrow(axis, start, length), alpha=tap)
    return total
