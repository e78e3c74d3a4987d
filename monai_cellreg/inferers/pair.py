"""Registering pairs of images of any size with a network of one size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from monai.transforms import Resize
from torch import Tensor

from ..geometry import Pair, SamplingGrid, SpatialTransform, compose
from ..networks import JointSegmentationRegistration, cube_to_world
from ..transforms import normalise, pseudo_label
from ..utils import plain
from .refining import RefiningInferer
from .sides import SIDES, check_side, grey_side


@dataclass(frozen=True)
class PairPrediction:
    """What a network finds of a pair.

    Args:
        transform: fixed world points to moving world points.
        fixed: (1, 1 or 2, *image_size), the fixed image as the network saw it, and its heat map where there is one.
        moving: likewise.
        fixed_grid: where ``fixed`` lies.
        moving_grid: where ``moving`` lies.
    """

    transform: SpatialTransform
    fixed: Tensor
    moving: Tensor
    fixed_grid: SamplingGrid
    moving_grid: SamplingGrid


class PairInferer:
    """Brings pairs to the network and the network's answer back to the world of each pair.

    Both images become grey by their luminance, are scaled by percentiles to [0, 1] and resized to the network's size,
    whatever their own; the map is given between their world coordinates, in closed form. A network that takes
    segmentations gets the labels of the pair (what is not 0) where both sides have one, else masks made from the images
    (:func:`~monai_cellreg.transforms.pseudo_label`).

    Args:
        passes: see :class:`RefiningInferer`.
    """

    def __init__(self, passes: int = 3) -> None:
        self.refining = RefiningInferer(passes)

    def __call__(self, pair: Pair, network: JointSegmentationRegistration) -> SpatialTransform:
        """The fixed-to-moving map of a pair; see :meth:`batch`."""
        return self.batch([pair], network)[0].transform

    def account(self, pair: Pair, network: JointSegmentationRegistration) -> tuple[str, ...]:
        """Which segmentations were registered, a sentence, where the network takes segmentations."""
        if not network.takes_segmentations:
            return ()
        made = "Segmentations made from the images by thresholds were registered: labels of both were not given."
        return ("The given labels were registered, not the images." if has_labels(pair) else made,)

    def batch(self, pairs: Sequence[Pair], network: JointSegmentationRegistration) -> list[PairPrediction]:
        """What one run of the network finds of pairs, whose images may differ in size.

        Raises:
            ValueError: when images have other dimensions or channels than the network, or cannot be registered because
                one of them is constant, not finite or, for a network that takes segmentations, has none.
        """
        if not pairs:
            return []
        network.eval()
        device = next(network.parameters()).device
        images, grids = [], []
        for pair in pairs:
            for side in SIDES:
                image, grid = _door(pair, side, network)
                images.append(image)
                grids.append(grid)
        fixed, moving = (torch.cat(images[k::2]).to(device) for k in range(2))
        prediction = self.refining(fixed, network, moving)
        sides = ((fixed, prediction["fixed_heat_map"]), (moving, prediction["moving_heat_map"]))
        seen = [torch.cat(side, dim=1).cpu() for side in sides]
        found = []
        for k in range(len(pairs)):
            chain: list[SpatialTransform] = []
            for parameters in prediction["parameters"]:
                chain = network.registration.transforms([p[k : k + 1].cpu() for p in parameters]) + chain
            transform = cube_to_world(compose(chain), grids[2 * k], grids[2 * k + 1])
            found.append(PairPrediction(transform, *(x[k : k + 1] for x in seen), *grids[2 * k : 2 * k + 2]))
        return found


def has_labels(pair: Pair) -> bool:
    """Whether both sides have a label."""
    return pair.fixed_label is not None and pair.moving_label is not None


def _door(pair: Pair, side: str, network: JointSegmentationRegistration) -> tuple[Tensor, SamplingGrid]:
    """One side as the network takes it, (1, 1, *size), and the grid on which it then lies."""
    grid, size = getattr(pair, f"{side}_grid"), network.image_size
    check_side(pair, side, len(size))
    if network.takes_segmentations and has_labels(pair):
        mask = (plain(getattr(pair, f"{side}_label")) != 0).float()
        return _segmented(_resized(mask, size), side), grid.resized(size)
    seen = _resized(normalise(grey_side(pair, side)[None])[0], size)
    if network.takes_segmentations:
        return _segmented(pseudo_label(seen), side), grid.resized(size)
    return seen[None], grid.resized(size)


def _resized(image: Tensor, size: Sequence[int]) -> Tensor:
    """An image (1, *spatial) at another size, smoothed first where it shrinks."""
    if tuple(image.shape[1:]) == tuple(size):
        return image
    resize = Resize(size, mode="bilinear" if len(size) == 2 else "trilinear", anti_aliasing=True)
    return torch.as_tensor(resize(image).as_tensor())


def _segmented(mask: Tensor, side: str) -> Tensor:
    """The segmentation (1, 1, *spatial) of a side, 0 or 1."""
    if not bool((mask > 0.5).any()):
        raise ValueError(
            f"{side} has an empty segmentation; expected something bright on dark, or a label that is not all 0. Give "
            "fixed_label and moving_label, or take a method that compares images, such as 'auto'"
        )
    return (mask > 0.5).float()[None]
