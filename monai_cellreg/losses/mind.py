"""Modality independent neighbourhood descriptors: how the surroundings of a voxel resemble each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import torch
from monai.utils import LossReduction
from torch import Tensor
from torch.nn import functional

from .image_pair import ImageLoss, ImagePair
from .window import window_sum

NOISE = 1e-3  # least variance of a voxel, relative to the mean of its image: keeps flat regions from amplifying noise
FLAT = 1e-20  # least variance of all, which a constant image has


class MINDSSCLoss(ImageLoss):
    """Mean squared difference of self-similarity descriptors, for images of different modalities.

    The descriptor of a voxel compares the patches around its neighbours with each other, all but those opposite each
    other: 4 pairs in 2D, 12 in 3D (see :func:`mind_ssc`). It does not change when the intensities of an image are
    scaled or shifted. Patches are compared as far as they lie inside the image and are not hidden, so that a box as
    weight gives the loss of the cropped images. ``reduction="none"`` gives (B, C, *spatial), times the weight.

    Args:
        radius: of the patches in voxels: a patch is ``2 * radius + 1`` wide.
        dilation: distance of the neighbours from the voxel.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: for a radius below 0 or a dilation below 1; for images of one axis.

    References:
        Heinrich et al., MIND: modality independent neighbourhood descriptor for multi-modal deformable registration,
        Medical Image Analysis 16, 2012, eq. 4 (descriptor); Heinrich et al., Towards realtime multimodal fusion for
        image-guided interventions using self-similarities, MICCAI 2013 (pairs of neighbours). Both let an image go on
        beyond its border; the loss there is the mean absolute difference of the descriptors.

    Example:
        >>> image = torch.rand(1, 1, 16, 12, generator=torch.Generator().manual_seed(0))
        >>> bool(MINDSSCLoss()(5 - 2 * image, image) < 1e-9)
        True
    """

    def __init__(
        self, radius: int = 2, dilation: int = 2, *, reduction: LossReduction | str = LossReduction.MEAN
    ) -> None:
        super().__init__(reduction)
        for name, value, least in (("radius", radius, 0), ("dilation", dilation, 1)):
            if value != int(value) or value < least:
                raise ValueError(f"{name} is {value}, expected a whole number of voxels of at least {least}")
        self.radius, self.dilation = int(radius), int(dilation)

    def unlikeness(self, images: ImagePair) -> Tensor:
        """Squared differences of the descriptors (B, C, *spatial), averaged over the pairs of neighbours."""
        descriptors = [
            mind_ssc(image, radius=self.radius, dilation=self.dilation, weight=images.weight) for image in images[:2]
        ]
        return (descriptors[0] - descriptors[1]).square().mean(2)


def mind_ssc(image: Tensor, *, radius: int, dilation: int, weight: Tensor | None = None) -> Tensor:
    """Self-similarity descriptor ``exp(-(d_k - min d) / v)`` of the distances ``d_k`` of pairs of patches.

    A distance is the mean squared difference of the two patches around two neighbours of the voxel, and ``v`` the mean
    of the voxel's distances, at least a thousandth of the mean of ``v`` over the image. A distance of which no voxel is
    seen, at the border or beside hidden voxels, is taken to be ``v``.

    Args:
        image: (B, C, *spatial), two or three spatial axes, finite also where hidden.
        radius: of the patches in voxels.
        dilation: distance of the patches' centres from the voxel.
        weight: (B or 1, 1 or C, *spatial); 0 where the image is hidden.

    Returns:
        (B, C, pairs, *spatial), from 0 to 1, which the most similar pair has.

    Raises:
        ValueError: for an image of another number of axes.
    """
    dims = image.ndim - 2
    if dims not in (2, 3):
        raise ValueError(f"the image has {dims} spatial axes, expected 2 or 3; on one axis no neighbours form a pair")
    visible = torch.ones_like(image[:1, :1]) if weight is None else (weight > 0).to(image.dtype)
    maps = _patch_differences(image, visible, radius, dilation)
    sums, counts = (torch.stack(parts, dim=2) for parts in zip(*maps, strict=True))
    distances, seen = sums * (1 / counts.clamp_min(1)), counts > 0
    variance = distances.sum(2) / seen.sum(2).clamp_min(1)
    distances = torch.where(seen, distances, variance[:, :, None])
    axes = tuple(range(2, variance.ndim))
    if weight is None:
        mean = variance.mean(axes, keepdim=True)
    else:
        mean = (variance * weight).sum(axes, keepdim=True) / weight.sum(axes, keepdim=True)
    variance = torch.maximum(variance, NOISE * mean).clamp_min(FLAT)
    return torch.exp((distances - distances.amin(2, keepdim=True)) * (-1 / variance)[:, :, None])


def _patch_differences(image: Tensor, visible: Tensor, radius: int, dilation: int) -> Iterator[tuple[Tensor, Tensor]]:
    """For each pair of neighbours the summed squared differences of their patches, and the number of voxels seen.

    Both are like ``image`` and ``visible`` (1 or 0); voxels outside the image are not seen.
    """
    dims, size, width = image.ndim - 2, image.shape[2:], 2 * radius + 1
    image, visible = (functional.pad(x, (radius + dilation,) * (2 * dims)) for x in (image, visible))
    for i, j in combinations(range(dims), 2):
        for step in (dilation, -dilation):
            a, b = ([length * (axis == along) for axis in range(dims)] for length, along in ((dilation, i), (step, j)))
            # The pair (-b, -a) is as far apart as (a, b), so one map serves both, read at x and at x + back.
            back = [-p - q for p, q in zip(a, b, strict=True)]
            begin = [min(0, shift) for shift in back]
            extent = [n + abs(shift) + width - 1 for n, shift in zip(size, back, strict=True)]
            starts = [[dilation + x + y for x, y in zip(begin, end, strict=True)] for end in (a, b)]
            seen = _cropped(visible, starts[0], extent) * _cropped(visible, starts[1], extent)
            difference = _cropped(image, starts[0], extent) - _cropped(image, starts[1], extent)
            sums = [window_sum(x, [1.0] * width) for x in (difference.square() * seen, seen)]
            for shift in ([0] * dims, back):
                at = [y - x for x, y in zip(begin, shift, strict=True)]
                yield _cropped(sums[0], at, size), _cropped(sums[1], at, size)


def _cropped(image: Tensor, starts: Sequence[int], size: Sequence[int]) -> Tensor:
    for axis, (start, length) in enumerate(zip(starts, size, strict=True), start=2):
        image = image.narrow(axis, start, length)
    return image
