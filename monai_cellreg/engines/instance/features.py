"""What of two images is compared: grey, bright structure on dark ground, in [0, 1]."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ...geometry import Pair
from ...transforms import normalise, to_grey
from ...utils import plain
from .pyramid import Images
from .search import candidates

RIM = 0.05  # share of an axis that counts as the border of an image
BRIGHT = 0.5  # brightness of the rim, as a share of the range, from which the ground is taken to be bright


def comparable(pair: Pair, *, device: torch.device | str = "cpu") -> tuple[Images, list[str]]:
    """The images of a pair as they are compared.

    Args:
        pair: the pair; one or three channels a side.
        device: where the result lies.

    Returns:
        The images, and what was done to them, a sentence each.

    Raises:
        ValueError: for an image that is constant or not finite, or has another number of channels.
    """
    masks = [None if m is None else plain(m).to(device) > 0 for m in (pair.fixed_mask, pair.moving_mask)]
    account, sides = [], []
    for name, mask in zip(("fixed", "moving"), masks, strict=True):
        image = plain(getattr(pair, name))
        if image.shape[0] == 3:
            account.append(f"The {name} image is compared by its brightness.")
        grey = checked(name, hidden(to_grey(image).to(device), mask))[None]
        sides.append(normalise(grey))
    fixed_weight, moving_weight = (None if mask is None else mask[None].float() for mask in masks)
    images = Images(sides[0], sides[1], pair.fixed_grid, pair.moving_grid, fixed_weight, moving_weight)
    fixed_bright, moving_bright = (is_bright(side) for side in sides)
    if fixed_bright != moving_bright and not are_opposite(images):
        moving_bright = fixed_bright  # a dark structure at the rim of one of them
    if fixed_bright:
        images = replace(images, fixed=1 - images.fixed)
        account.append("The fixed image has a bright ground and is inverted for the comparison.")
    if moving_bright:
        images = replace(images, moving=1 - images.moving)
        account.append("The moving image has a bright ground and is inverted for the comparison.")
    return images, account


def are_opposite(images: Images) -> bool:
    """Whether one image, brought onto the other by a search, looks more like its negative."""
    as_is, turned = (candidates(part)[0].correlation for part in (images, replace(images, moving=1 - images.moving)))
    return turned > as_is


def hidden(image: Tensor, mask: Tensor | None) -> Tensor:
    """The image with the median of what its mask counts where that does not, so that nothing there has a say."""
    return image if mask is None or not bool(mask.any()) else torch.where(mask, image, image[mask].median())


def checked(name: str, image: Tensor) -> Tensor:
    """The image, unless nothing can be aligned in it."""
    if not bool(torch.isfinite(image).all()):
        raise ValueError(f"{name} has values that are not finite; expected numbers. Replace NaN and infinity first")
    low, high = float(image.min()), float(image.max())
    if low == high:
        raise ValueError(f"{name} is constant ({low:g}); expected an image with something to align")
    return image


def is_bright(values: Tensor) -> bool:
    """Whether the ground of an image (1, 1, *spatial) in [0, 1] is bright, judged by its rim."""
    inner = torch.zeros_like(values, dtype=torch.bool)
    rim = [max(round(RIM * size), 1) for size in values.shape[2:]]
    inner[(..., *[slice(width, -width) for width in rim])] = True
    return float(values[~inner].median()) > max(BRIGHT, float(values.median()) - 0.1)
