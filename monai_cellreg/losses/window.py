"""Sums over sliding windows along the spatial axes of images (B, C, *spatial)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor


def window_sum(image: Tensor, taps: Sequence[float]) -> Tensor:
    """Sums over the windows that lie inside the image, weighted by the outer product of one window for all axes.

    Sums are built by adding shifted images, so that rounding does not grow along the image, as it does in differences
    of cumulative sums.

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
    for axis in reversed(range(2, image.ndim)):
        image = _run_sum(image, len(taps), axis) if set(taps) == {1.0} else _tap_sum(image, taps, axis)
    return image


def _run_sum(image: Tensor, width: int, axis: int) -> Tensor:
    """Sum of ``width`` neighbours, prime by prime: nine are three threes, four additions instead of eight."""
    run = 1  # neighbours that ``image`` holds the sums of
    for factor in _prime_factors(width):
        length = image.shape[axis] - (factor - 1) * run
        parts = [image.narrow(axis, k * run, length) for k in range(factor)]
        image = parts[0] + parts[1]
        for part in parts[2:]:
            image.add_(part)  # in place, since a fresh image costs more than the addition
        run *= factor
    return image


def _prime_factors(number: int) -> Iterator[int]:
    factor = 2
    while number > 1:
        if number % factor:
            factor += 1
        else:
            yield factor
            number //= factor


def _tap_sum(image: Tensor, taps: Sequence[float], axis: int) -> Tensor:
    """Weighted sum of neighbours, one shifted image a tap."""
    length = image.shape[axis] - len(taps) + 1
    total = image.narrow(axis, 0, length) * taps[0]
    for start, tap in enumerate(taps[1:], start=1):
        total = total.add_(image.narrow(axis, start, length), alpha=tap)
    return total
