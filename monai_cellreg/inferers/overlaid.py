"""Registering pairs with a network that sees both images on the fixed one's grid."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from math import ceil

import numpy as np
import torch
from monai.networks.layers import GaussianFilter
from torch import Tensor
from torch.nn import functional

from ..geometry import AffineTransform, Pair, SamplingGrid, SpatialTransform, compose, resample
from ..networks import DIRNet, cube_to_world
from ..transforms import normalise
from ..utils import check_positive
from .pair import PairPrediction
from .sides import SIDES, check_side, grey_side


class OverlaidInferer:
    """Brings pairs to a :class:`~monai_cellreg.networks.DIRNet` and its answer back to the world of each pair.

    Both images become grey by their luminance and are scaled by percentiles to [0, 1]. They are read on one grid: that
    of the fixed image, continued beyond its border until the network's control points divide it. So images of any size
    are seen at their own resolution, and the moving image where its coordinates say. A network with a size of its own
    sees the fixed image's extent resized to it.

    Args:
        pixel_size: at which images with a unit of length are seen, in that unit, as the network was trained; their own
            when omitted. Images in pixels are always seen as they are.

    Raises:
        ValueError: for a pixel size that is not positive.
    """

    def __init__(self, *, pixel_size: float | None = None) -> None:
        if pixel_size is not None:
            check_positive("pixel_size", pixel_size)
        self.pixel_size = pixel_size
        self._network: DIRNet | None = None
        self._sizes: dict[tuple[int, ...], DIRNet] = {}

    def __call__(self, pair: Pair, network: DIRNet) -> SpatialTransform:
        """The fixed-to-moving map of a pair; see :meth:`batch`."""
        return self.batch([pair], network)[0].transform

    def account(self, pair: Pair, network: DIRNet) -> tuple[str, ...]:
        """What a user should know of how a pair was registered: nothing here."""
        return ()

    @torch.no_grad()
    def batch(self, pairs: Sequence[Pair], network: DIRNet) -> list[PairPrediction]:
        """What the network finds of pairs; those of one size are registered together.

        Raises:
            ValueError: when images have other dimensions or channels than the network, or one of them is constant or
                not finite.
        """
        device = next(network.parameters()).device
        together = defaultdict(list)
        for number, pair in enumerate(pairs):
            for side in SIDES:
                check_side(pair, side, len(network.image_size))
            grid = self._seen_grid(pair.fixed_grid, network)
            together[grid.shape].append((number, grid, *(seen_on(pair, side, grid) for side in SIDES)))
        found: dict[int, PairPrediction] = {}
        for size, members in together.items():
            fitting = self._at(network, size)
            fixed, moving = (torch.cat([member[k] for member in members]).to(device) for k in (2, 3))
            parameters = fitting.registration.parameters_of(fixed, moving)
            for k, (number, grid, *seen) in enumerate(members):
                chain = fitting.registration.transforms([p[k : k + 1].cpu() for p in parameters])
                found[number] = PairPrediction(cube_to_world(compose(chain), grid, grid), *seen, grid, grid)
        return [found[number] for number in range(len(pairs))]

    def _at(self, network: DIRNet, size: tuple[int, ...]) -> DIRNet:
        """The network for images of a size, made once for each size of the network that was asked for last."""
        if network is not self._network:
            self._network, self._sizes = network, {}
        if size not in self._sizes:
            self._sizes[size] = network.at(size)
        chosen = self._sizes[size]
        return chosen.eval() if chosen.training else chosen

    def _seen_grid(self, fixed: SamplingGrid, network: DIRNet) -> SamplingGrid:
        """Where the network sees a pair."""
        if not network.fits_any_size:
            return fixed.resized(network.image_size)
        if self.pixel_size is not None and fixed.unit != "px":
            sizes = zip(fixed.shape, fixed.spacing, strict=True)
            fixed = fixed.resized([max(1, round(n * spacing / self.pixel_size)) for n, spacing in sizes])
        return continued(fixed, network.divisor)


def continued(grid: SamplingGrid, divisor: int) -> SamplingGrid:
    """A grid with as many voxels more on each side as make its axes divisible by a number.

    Example:
        >>> continued(SamplingGrid((5, 8)), 4).shape
        (8, 8)
    """
    shape = tuple(ceil(n / divisor) * divisor for n in grid.shape)
    return replace(grid, shape=shape, affine=grid.affine @ _added(grid.shape, shape))


def seen_on(pair: Pair, side: str, grid: SamplingGrid) -> Tensor:
    """One side of a pair on a grid, (1, 1, *grid.shape) in [0, 1], smoothed first where it shrinks."""
    image, own = normalise(grey_side(pair, side)[None]), getattr(pair, f"{side}_grid")
    shrinks = [new / old for new, old in zip(grid.spacing, own.spacing, strict=True)]
    if max(shrinks) > 1.01:
        sigmas = [max((factor - 1) / 2, 1e-3) for factor in shrinks]
        image = GaussianFilter(grid.spatial_dims, sigmas)(image)
    longer = all(new >= old for old, new in zip(own.shape, grid.shape, strict=True))
    if longer and grid.matches(replace(own, shape=grid.shape, affine=own.affine @ _added(own.shape, grid.shape))):
        more = [new - old for old, new in zip(own.shape, grid.shape, strict=True)]
        pads = [n for added in reversed(more) for n in (added // 2, added - added // 2)]  # last axis first
        return functional.pad(image, pads, mode="replicate")  # as resample would, at a fraction of its cost
    return resample(image, AffineTransform(np.eye(grid.spatial_dims + 1)), grid, own)


def _added(old: Sequence[int], new: Sequence[int]) -> np.ndarray:
    """Index coordinates of the longer axes to those of the shorter ones in their middle, (D+1, D+1)."""
    matrix = np.eye(len(old) + 1)
    matrix[:-1, -1] = [-((m - n) // 2) for n, m in zip(old, new, strict=True)]
    return matrix
