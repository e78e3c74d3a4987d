"""The two images of a pair as any network takes them."""

from __future__ import annotations

import torch
from torch import Tensor

from ..geometry import Pair
from ..transforms import to_grey
from ..utils import plain

SIDES = ("fixed", "moving")


def check_side(pair: Pair, side: str, dims: int) -> None:
    """Check that a side of a pair has the dimensions of a network, and channels that can be made grey."""
    image, grid = getattr(pair, side), getattr(pair, f"{side}_grid")
    if grid.spatial_dims != dims or image.shape[0] not in (1, 3):
        raise ValueError(
            f"{side} has shape {tuple(image.shape)}; expected one or three channels and {dims} axes (1, "
            f"{', '.join('HW' if dims == 2 else 'DHW')}). Choose channels; take a slice of a volume"
        )


def grey_side(pair: Pair, side: str) -> Tensor:
    """The luminance (1, *spatial) of a side, which has something to align.

    Raises:
        ValueError: when the image is constant or has values that are not finite.
    """
    grey = to_grey(plain(getattr(pair, side)))
    if not bool(torch.isfinite(grey).all()):
        raise ValueError(f"{side} has values that are not finite; expected numbers. Replace NaN and infinity first")
    if float(grey.max()) == float(grey.min()):
        raise ValueError(f"{side} is constant ({float(grey.max()):g}); expected an image with something to align")
    return grey
