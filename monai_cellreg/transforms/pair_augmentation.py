"""Batches of image pairs in other poses and other contrast, the same for both images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from ..geometry import SamplingGrid, sample
from ..utils import check_not_negative, check_same_shape

__all__ = ["AugmentationRange", "PairAugmentation"]


LABEL = "_label"


@dataclass(frozen=True)
class AugmentationRange:
    """Largest changes of a pair, each drawn between none and this.

    Args:
        flips: mirror each axis half of the time.
        turns: exchange axes of equal size half of the time; with ``flips`` these are all turns by 90 degrees.
        rotation_deg: turn either way, about each axis in 3D.
        zoom: of the logarithm of the factor by which the scene is enlarged or reduced.
        shift: along each axis, as a share of its size.
        gamma: of the logarithm of the exponent of intensities.
        contrast: of the logarithm of the factor of intensities about one half.
        independent: share of gamma and contrast that each image of a pair gets on its own, on top of what both get.

    Raises:
        ValueError: for a negative or infinite range.
    """

    flips: bool = True
    turns: bool = True
    rotation_deg: float = 10.0
    zoom: float = 0.1
    shift: float = 0.05
    gamma: float = 0.3
    contrast: float = 0.2
    independent: float = 0.2

    def __post_init__(self) -> None:
        for name in ("rotation_deg", "zoom", "shift", "gamma", "contrast", "independent"):
            check_not_negative(name, getattr(self, name))


class PairAugmentation:
    """Gives both images of a pair, and their labels, one random pose; then changes the intensities of the images.

    The pose is a small turn, zoom and shift about the middle, in pixels, read linearly (labels: nearest neighbour) and
    continued from the border; it is left out where its ranges are 0. Mirrored and exchanged axes follow, exactly.

    Args:
        generator: source of all randomness, on the CPU.
        settings: the largest changes.
    """

    def __init__(self, generator: torch.Generator, *, settings: AugmentationRange | None = None) -> None:
        self.generator = generator
        self.settings = settings or AugmentationRange()

    def __call__(self, pair: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Changes each pair of a batch on its own.

        Args:
            pair: ``fixed``, ``moving`` (B, 1, *spatial) in [0, 1], and perhaps ``fixed_label``, ``moving_label`` of the
                same shape and of one dtype.

        Returns:
            New tensors under the same keys, of the same shape, dtype and device; images in [0, 1].

        Raises:
            ValueError: when shapes differ.
        """
        shape = pair["fixed"].shape
        for name, image in pair.items():
            check_same_shape(name, image.shape, "fixed", shape)
        sides = [name for name in pair if not name.endswith(LABEL)]
        labels = [name for name in pair if name.endswith(LABEL)]
        index = self._posed_index(shape)
        swaps = self._swaps(shape)
        new: dict[str, Tensor] = {}
        for names, mode in ((sides, "linear"), (labels, "nearest")):
            if names:
                stack = torch.cat([pair[name] for name in names], dim=1)
                if index is not None:
                    stack = sample(stack, index.to(stack.device), mode=mode)
                new |= dict(zip(names, _swapped(stack, swaps).split(1, dim=1), strict=True))
        return new | self._recoloured({name: new[name] for name in sides})

    def _posed_index(self, shape: torch.Size) -> Tensor | None:
        """Where each image is read, in voxels: (B, *spatial, D); None where its voxels are taken as they are."""
        s, dims = self.settings, len(shape) - 2
        if not (s.rotation_deg or s.zoom or s.shift):
            return None
        skew = torch.zeros(shape[0], dims, dims)
        for first, second in combinations(range(dims), 2):
            angle_rad = self._uniform(shape[0]) * s.rotation_deg * torch.pi / 180
            skew[:, second, first], skew[:, first, second] = angle_rad, -angle_rad
        matrix = torch.matrix_exp(skew) * torch.exp(self._uniform(shape[0], 1, 1) * s.zoom)
        size = torch.tensor(shape[2:]).double()
        middle = (size - 1) / 2
        grid = SamplingGrid(tuple(shape[2:])).index() - middle
        turned = torch.einsum("...j,bij->b...i", grid, matrix.double())  # float64 products are safe from autocast
        shift = self._uniform(shape[0], *[1] * dims, dims) * s.shift * size
        return (turned + middle + shift).float()

    def _swaps(self, shape: torch.Size) -> list[tuple[tuple[int, ...], Tensor]]:
        """Axes to mirror (one) or exchange (two), and in which pairs of the batch to do so (B,)."""
        axes = range(2, len(shape))
        chosen: list[tuple[int, ...]] = [(axis,) for axis in axes] if self.settings.flips else []
        if self.settings.turns:
            chosen += [pair for pair in combinations(axes, 2) if shape[pair[0]] == shape[pair[1]]]
        return [(axes, torch.rand(shape[0], generator=self.generator) < 0.5) for axes in chosen]

    def _recoloured(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The images of each pair with another gamma and contrast."""
        s, new = self.settings, dict(images)
        for largest, change in ((s.gamma, _with_gamma), (s.contrast, _with_contrast)):
            if largest:
                count = next(iter(images.values())).shape[0]
                common = self._uniform(count)
                for name, image in new.items():
                    amount = largest * (common + s.independent * self._uniform(count))
                    new[name] = change(image, amount.reshape(-1, *[1] * (image.ndim - 1)).to(image))
        return new

    def _uniform(self, *shape: int) -> Tensor:
        return 2 * torch.rand(shape, generator=self.generator) - 1


def _swapped(images: Tensor, swaps: Sequence[tuple[tuple[int, ...], Tensor]]) -> Tensor:
    for axes, chosen in swaps:
        other = images.flip(axes) if len(axes) == 1 else images.transpose(*axes)
        images = torch.where(chosen.to(images.device).reshape(-1, *[1] * (images.ndim - 1)), other, images)
    return images


def _with_gamma(image: Tensor, amount: Tensor) -> Tensor:
    return image.clamp(0, 1) ** amount.exp()


def _with_contrast(image: Tensor, amount: Tensor) -> Tensor:
    return (0.5 + (image - 0.5) * amount.exp()).clamp(0, 1)
