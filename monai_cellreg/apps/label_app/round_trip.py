"""How well a label survives being carried to another image and back, which says how well it was carried there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor

from ...data import read_image
from ...engines.instance.pyramid import shrink
from ...geometry import AffineTransform, SamplingGrid, resample, resample_image
from ...methods import Method, Registration, register
from ...metrics.similarity import correlation
from ...utils import plain
from .labels import label_on

__all__ = ["alikeness", "read_labelled", "read_small", "round_trip_dice", "small_grid", "thumbnail"]

LARGEST_SIDE = {2: 128, 3: 64}  # at which images are registered for a score: seconds for any size
SMALLEST_SIDE = 16  # to which an axis is not shrunk, so that a stack of a few slices stays one
THUMBNAIL = 24  # voxels along each axis


def small_grid(grid: SamplingGrid) -> SamplingGrid:
    """A grid over the same extent, with no side longer than what is registered for a score."""
    factor = max(1.0, max(grid.shape) / LARGEST_SIDE[grid.spatial_dims])
    return grid.resized([max(min(size, SMALLEST_SIDE), round(size / factor)) for size in grid.shape])


def read_small(path: Path) -> MetaTensor:
    """An image file in grey (1, *spatial), on the grid on which it is registered for a score.

    Raises:
        ImageReadError: when it cannot be used.
    """
    image = read_image(path)
    grid = small_grid(SamplingGrid.from_image(image))
    return grid.to_image(shrink(plain(image)[None], grid.shape)[0])


def read_labelled(path: Path, label: Path) -> tuple[MetaTensor, MetaTensor]:
    """An image as :func:`read_small` gives it, and its label (1, *spatial) int32 on the same grid.

    Where the label has nothing that is seen at that size, both are as large as they are stored.

    Raises:
        ValueError: when a file cannot be used, or the label is empty.
    """
    image = read_image(path)
    stored = label_on(label, SamplingGrid.from_image(image))
    if not bool(plain(stored).any()):
        raise ValueError(f"label {str(label)!r} is 0 everywhere; expected the numbers of objects. Annotate the image")
    small = read_small(path)
    still = AffineTransform(np.eye(image.ndim))
    shown = resample_image(stored, still, SamplingGrid.from_image(small), mode="nearest")
    return (small, shown) if bool(plain(shown).any()) else (image, stored)


def round_trip_dice(image: Tensor, reference: Tensor, label: Tensor, method: str | Method) -> float:
    """Mean Dice coefficient of the labels of a reference and the same after they were carried to an image and back.

    Both ways are registered on their own, so that labels only come back where the two registrations agree on where
    they belong. It needs no truth, and ranks images by how well labels really fit them: see BENCHMARKS.md.

    Args:
        image: (C, *spatial).
        reference: (C, *spatial).
        label: of the reference, (1, *spatial) whole numbers.
        method: as for :func:`~monai_cellreg.methods.register`.

    Returns:
        From 0 to 1; every label that the reference has counts the same.

    References:
        Valindria et al. 2017, Reverse classification accuracy, who train on a prediction and test on known images.
    """
    there, back = register(image, reference, method=method), register(reference, image, method=method)
    given = plain(label)
    returned = _carried(_carried(given, there), back)
    values = [int(value) for value in torch.unique(given) if value]
    return float(np.mean([_dice(given == value, returned == value) for value in values]))


def _carried(label: Tensor, found: Registration) -> Tensor:
    pair = found.pair
    return resample(label[None], found.transform, pair.fixed_grid, pair.moving_grid, mode="nearest", padding="zeros")[0]


def _dice(one: Tensor, other: Tensor) -> float:
    return 2 * float((one & other).sum()) / max(1.0, float(one.sum() + other.sum()))


def thumbnail(image: Tensor) -> Tensor:
    """An image (1, *spatial) as (1, 24, 24(, 24)), by which it is compared with many others."""
    return shrink(plain(image)[None].float(), [THUMBNAIL] * (image.ndim - 1))[0]


def alikeness(one: Tensor, others: Sequence[Tensor]) -> list[float]:
    """Correlation of a thumbnail with each of others; -1 with those of another dimension."""
    return [float(correlation(one[None], other[None]).mean()) if other.shape == one.shape else -1.0 for other in others]
