"""Registering a pair of images of any size with a network of one size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.transforms import Resize
from torch import Tensor

from ..geometry import Pair, SamplingGrid, SpatialTransform, compose
from ..networks import JointSegmentationRegistration, cube_to_world
from ..transforms import normalise, to_grey
from ..utils import plain
from .refining import RefiningInferer


class PairInferer:
    """Brings a pair to the network and the network's answer back to the pair's world.

    Both images become grey by their luminance, are scaled by percentiles to [0, 1] and resized to the network's size,
    whatever their own; the map is given between their world coordinates, in closed form.

    Args:
        passes: see :class:`RefiningInferer`.
    """

    def __init__(self, passes: int = 3) -> None:
        self.refining = RefiningInferer(passes)

    def __call__(self, pair: Pair, network: JointSegmentationRegistration) -> SpatialTransform:
        """The fixed-to-moving map of a pair.

        Raises:
            ValueError: when the images have other dimensions or channels than the network, or cannot be registered
                because one of them is constant or not finite.
        """
        network.eval()
        device = next(network.parameters()).device
        (fixed, fixed_grid), (moving, moving_grid) = (
            self._door(pair, side, network.image_size) for side in ("fixed", "moving")
        )
        chain = self.refining(fixed.to(device), network, moving.to(device))["parameters"].cpu()
        return cube_to_world(compose([network.field.transform(p) for p in chain]), fixed_grid, moving_grid)

    @staticmethod
    def _door(pair: Pair, side: str, size: Sequence[int]) -> tuple[Tensor, SamplingGrid]:
        """One side as the network takes it, (1, 1, *size), and the grid on which it then lies."""
        image, grid = getattr(pair, side), getattr(pair, f"{side}_grid")
        if grid.spatial_dims != len(size) or image.shape[0] not in (1, 3):
            raise ValueError(
                f"{side} has shape {tuple(image.shape)}; expected one or three channels and {len(size)} axes (1, "
                f"{', '.join('HW' if len(size) == 2 else 'DHW')}). Choose channels; take a slice of a volume"
            )
        grey = to_grey(plain(image))
        if not bool(torch.isfinite(grey).all()):
            raise ValueError(f"{side} has values that are not finite; expected numbers. Replace NaN and infinity first")
        if float(grey.max()) == float(grey.min()):
            raise ValueError(f"{side} is constant ({float(grey.max()):g}); expected an image with something to align")
        if grid.shape == tuple(size):
            return normalise(grey[None]), grid
        mode = "bilinear" if len(size) == 2 else "trilinear"
        resize = Resize(size, mode=mode, anti_aliasing=True)
        resized = resize(normalise(grey[None])[0])
        return torch.as_tensor(resized.as_tensor())[None], grid.resized(size)
