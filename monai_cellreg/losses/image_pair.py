"""What every image loss shares: the two images and their weight made ready, and the reduction of what was measured."""

from __future__ import annotations

from typing import NamedTuple

import torch
from monai.utils import LossReduction
from torch import Tensor, nn

from ..utils import check_finite, check_same_shape, check_spatial, format_shape
from .reduction import check_reduction
from .tensors import may_look, plain


class ImagePair(NamedTuple):
    """Two images that are compared where the weight is not zero.

    Attributes:
        pred: (B, C, *spatial), zero where hidden.
        target: (B, C, *spatial), zero where hidden.
        weight: (B or 1, 1 or C, *spatial), at least 0 everywhere and above 0 somewhere in every channel, or None.
    """

    pred: Tensor
    target: Tensor
    weight: Tensor | None


class ImageLoss(nn.Module):
    """A loss of two images, with an optional weight of their voxels; a subclass says how unlike they are.

    Values are computed in float32, or in float64 when an image is, whatever autocast does. A voxel of weight 0 is
    hidden: it changes neither the value nor the gradient, and may hold NaN.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        spatial_dims: number of spatial axes that the images must have; any if None.
    """

    def __init__(self, reduction: LossReduction | str = LossReduction.MEAN, *, spatial_dims: int | None = None) -> None:
        super().__init__()
        self.reduction = check_reduction(reduction)
        self.spatial_dims = spatial_dims

    def forward(self, pred: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The loss of two images.

        Args:
            pred: (B, C, *spatial), such as the warped moving image.
            target: as ``pred``, such as the fixed image.
            weight: (B or 1, 1 or C, *spatial), how much each voxel counts, such as a mask.

        Returns:
            Scalar, or what was measured when ``reduction`` is ``"none"``.

        Raises:
            TypeError: if an image is not a tensor.
            ValueError: if the shapes do not fit, a value that is not hidden is not finite, or a weight is negative, not
                finite or zero in a whole channel. Values are not looked at while a graph is traced or compiled.
        """
        for name, given in (("pred", pred), ("target", target)):
            if not isinstance(given, Tensor):
                raise TypeError(f"{name} is a {type(given).__name__}, expected a tensor; use torch.as_tensor")
        with torch.autocast(pred.device.type, enabled=False):
            images = prepare(pred, target, weight, spatial_dims=self.spatial_dims)
            return self.reduce(self.unlikeness(images), images.weight)

    def unlikeness(self, images: ImagePair) -> Tensor:
        """What is reduced: (B, C, *spatial) for each voxel, or (B, ...) for each image."""
        raise NotImplementedError

    def reduce(self, values: Tensor, weight: Tensor | None) -> Tensor:
        """The values of :meth:`unlikeness` as ``reduction`` says; a map of voxels is weighted."""
        if weight is not None and values.ndim == weight.ndim:
            values = values * weight
            if self.reduction == "mean":
                axes = tuple(range(1, values.ndim))
                values = values.sum(axes) / weight.expand_as(values).sum(axes)  # (B,)
        if self.reduction == "none":
            return values
        return values.mean() if self.reduction == "mean" else values.sum()


def prepare(pred: Tensor, target: Tensor, weight: Tensor | None, *, spatial_dims: int | None = None) -> ImagePair:
    """The images as plain tensors of one floating type, hidden voxels zero; see :meth:`ImageLoss.forward`."""
    if pred.ndim < 3:
        raise ValueError(
            f"pred has shape {format_shape(pred.shape)}, expected (B, C, *spatial); add the batch and the channel axis"
        )
    if 0 in pred.shape[:2]:
        raise ValueError(f"pred has shape {format_shape(pred.shape)}, expected at least one image of one channel")
    check_spatial(pred.shape[2:], pred.ndim - 2 if spatial_dims is None else spatial_dims, "pred")
    check_same_shape("target", target.shape, "pred", pred.shape)
    dtype = torch.promote_types(torch.promote_types(pred.dtype, target.dtype), torch.float32)
    pred, target = plain(pred, dtype), plain(target, dtype)
    if weight is not None:
        _check_weight_shape(weight, pred)
        weight = plain(weight, dtype)
        pred, target = (image.masked_fill(weight == 0, 0) for image in (pred, target))
    images = ImagePair(pred, target, weight)
    if may_look():
        _check_values(images)
    return images


def _check_weight_shape(weight: Tensor, image: Tensor) -> None:
    batch, channels, *spatial = image.shape
    fits = weight.ndim == image.ndim and list(weight.shape[2:]) == spatial
    if not (fits and weight.shape[0] in (1, batch) and weight.shape[1] in (1, channels)):
        raise ValueError(
            f"weight has shape {format_shape(weight.shape)} but pred has shape {format_shape(image.shape)}, expected "
            f"({batch} or 1, {channels} or 1, {', '.join(map(str, spatial))}); crop or resize the weight to the images"
        )


def _check_values(images: ImagePair) -> None:
    """Look at sums first, one wait for the device, and for the culprit only when they are not fine."""
    pred, target, weight = images.pred.detach(), images.target.detach(), images.weight
    fine = torch.isfinite(pred.sum() + target.sum())
    if weight is not None:
        weight = weight.detach()
        totals = weight.flatten(2).sum(2)
        fine = fine & torch.isfinite(totals).all() & (totals > 0).all() & (weight.amin() >= 0)
    if bool(fine):
        return
    check_finite("pred", pred)
    check_finite("target", target)
    if weight is not None:
        check_finite("weight", weight)
        _check_weight(weight)


def _check_weight(weight: Tensor) -> None:
    if bool((weight < 0).any()):
        raise ValueError(
            f"weight has a value of {float(weight.min()):.3g}, expected 0 (hidden) or more; clip it at 0 first"
        )
    empty = (weight.flatten(2).sum(2) == 0).nonzero().tolist()
    if empty:
        image, channel = empty[0]
        raise ValueError(
            f"weight is 0 everywhere in channel {channel} of image {image}, expected some voxel above 0 in each; "
            "leave the image out of the batch, or check that the mask lies inside it"
        )
