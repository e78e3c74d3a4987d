"""Local normalised cross-correlation, with its gradient in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from monai.losses.image_dissimilarity import kernel_dict
from monai.utils import LossReduction
from torch import Tensor
from torch.nn import functional

from ..utils import check_choice, check_positive
from .image_pair import ImageLoss, ImagePair
from .window import window_sum


class LocalNormalizedCrossCorrelationLoss(ImageLoss):
    """Negative squared correlation of two images within sliding windows, for brightness that varies in space.

    ``L = -mean_x (cov_x**2 + smooth_nr) / (max(var_x(pred), smooth_dr) * max(var_x(target), smooth_dr))``, where
    ``cov_x`` and ``var_x`` are sums over the window around voxel ``x``, weighted by its kernel, of the (co)deviations
    from the window's mean. -1 is a perfect match up to scale, sign and offset in every window, 0 none; constant windows
    count 0.

    Same name, arguments and value as MONAI's, with a weight, in a fraction of its time and memory. As there, windows
    reach beyond the border, where images are zero. The same holds for what the weight hides, so that a box as weight
    gives the loss of the cropped images. Subtract a background that is not zero beforehand: both images would fall to
    zero at the same border, which reads as a match. Weights above 0 only weigh the windows, by their centre.
    ``reduction="none"`` gives (B, C, *spatial), times the weight.

    Args:
        spatial_dims: 1, 2 or 3.
        kernel_size: odd length of the window in voxels, along every axis.
        kernel_type: ``"rectangular"``, ``"triangular"`` or ``"gaussian"`` (standard deviation ``kernel_size / 3``).
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        smooth_nr: added to the squared covariance.
        smooth_dr: smallest variance that is divided by.

    Raises:
        ValueError: for another value of an argument; see also :meth:`ImageLoss.forward`.

    References:
        Avants et al., Symmetric diffeomorphic image registration with cross-correlation, Medical Image Analysis 12,
        2008; as a loss: Balakrishnan et al., VoxelMorph, IEEE Transactions on Medical Imaging 38, 2019. The zeros
        beyond the border and the two smoothing terms are MONAI's.

    Example:
        >>> image = torch.rand(1, 1, 16, 12, generator=torch.Generator().manual_seed(0))
        >>> loss = LocalNormalizedCrossCorrelationLoss(spatial_dims=2, kernel_size=5)
        >>> torch.testing.assert_close(loss(2 * image, image), torch.tensor(-1.0))
    """

    def __init__(
        self,
        spatial_dims: int = 3,
        kernel_size: int = 3,
        kernel_type: str = "rectangular",
        reduction: LossReduction | str = LossReduction.MEAN,
        smooth_nr: float = 0.0,
        smooth_dr: float = 1e-5,
    ) -> None:
        check_choice("spatial_dims", spatial_dims, (1, 2, 3))
        check_choice("kernel_type", kernel_type, kernel_dict)
        check_positive("smooth_dr", smooth_dr)
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size is {kernel_size}, expected an odd number of voxels, so that it has a centre")
        if not smooth_nr >= 0:
            raise ValueError(f"smooth_nr is {smooth_nr}, expected 0 or more")
        taps = tuple(kernel_dict[kernel_type](kernel_size).tolist())
        if sum(tap > 0 for tap in taps) == 1:
            raise ValueError(
                f"kernel_size is {kernel_size}, which leaves a single voxel in a {kernel_type!r} window, expected some "
                f"that can vary; take {kernel_size + 2} or more"
            )
        super().__init__(reduction, spatial_dims=spatial_dims)
        self.window = _Window(taps, sum(taps) ** spatial_dims, float(smooth_nr), float(smooth_dr))

    def unlikeness(self, images: ImagePair) -> Tensor:
        """Negative squared correlations (B, C, *spatial)."""
        offsets = [_mean_visible(image, images.weight) for image in images[:2]]
        return _LocalUnlikeness.apply(images.pred, images.target, *offsets, self.window)


@dataclass(frozen=True)
class _Window:
    """Weights along an axis, sum of their outer product, and the two smoothing terms."""

    taps: Sequence[float]
    volume: float
    smooth_nr: float
    smooth_dr: float

    def sum(self, image: Tensor) -> Tensor:
        """Over the window around every voxel, with zeros beyond the border."""
        return window_sum(self.padded(image), self.taps)

    def padded(self, image: Tensor) -> Tensor:
        return functional.pad(image, [len(self.taps) // 2] * (2 * (image.ndim - 2)))


class _Moments(NamedTuple):
    """Sums over the window around every voxel (B, C, *spatial): of the images, and of their (co)deviations."""

    pred_sum: Tensor
    target_sum: Tensor
    covariance: Tensor
    pred_variance: Tensor
    target_variance: Tensor


def _mean_visible(image: Tensor, weight: Tensor | None) -> Tensor:
    """Mean of the voxels that are not hidden, (B, C, 1, ...)."""
    axes = tuple(range(2, image.ndim))
    count = image[0, 0].numel() if weight is None else (weight > 0).sum(axes, keepdim=True)
    return image.detach().sum(axes, keepdim=True) / count


def _moments(images: Sequence[Tensor], offsets: Sequence[Tensor], window: _Window) -> _Moments:
    """The offsets cancel; without them a small variance would drown in the rounding of large squares."""
    pred, target = (window.padded(image).sub_(offset) for image, offset in zip(images, offsets, strict=True))
    pred_sum, target_sum = window_sum(pred, window.taps), window_sum(target, window.taps)

    def deviations(product: Tensor, first: Tensor, second: Tensor) -> Tensor:
        return window_sum(product, window.taps).addcmul_(first, second, value=-1 / window.volume)

    return _Moments(
        pred_sum,
        target_sum,
        deviations(pred * target, pred_sum, target_sum),
        deviations(pred * pred, pred_sum, pred_sum).clamp_min_(window.smooth_dr),
        deviations(target * target, target_sum, target_sum).clamp_min_(window.smooth_dr),
    )


def _unlikeness(moments: _Moments, denominator: Tensor, window: _Window) -> Tensor:
    """Negative squared correlation around every voxel."""
    offset = denominator.new_tensor(-window.smooth_nr)
    return torch.addcmul(offset, moments.covariance, moments.covariance, value=-1) / denominator


class _LocalUnlikeness(torch.autograd.Function):
    """Negative squared correlation around every voxel.

    With window sums ``S``, volume ``N`` and the value ``r = -(cov**2 + nr) / (var_p var_t)`` of images ``p, t``, the
    gradient of ``sum g r`` in ``p`` is ``2 / N S(a S(t) + b S(p)) - 2 t S(a) - 2 p S(b)``, where
    ``a = g cov / (var_p var_t)`` and ``b = g r / var_p``, or 0 where the variance is below ``smooth_dr``.
    """

    @staticmethod
    def forward(
        ctx: Any, pred: Tensor, target: Tensor, pred_offset: Tensor, target_offset: Tensor, window: _Window
    ) -> Tensor:
        offsets = (pred_offset, target_offset)
        moments = _moments((pred, target), offsets, window)
        denominator = moments.pred_variance * moments.target_variance
        unlikeness = _unlikeness(moments, denominator, window)
        ctx.window = window
        if any(ctx.needs_input_grad):
            factors = [
                (unlikeness / variance).masked_fill_(variance <= window.smooth_dr, 0) if needed else None
                for variance, needed in zip(moments[3:], ctx.needs_input_grad, strict=False)
            ]
            slope = moments.covariance / denominator
            ctx.save_for_backward(pred, target, *offsets, *moments[:2], *factors, slope)
        return unlikeness

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        window, saved = ctx.window, ctx.saved_tensors
        images, offsets, sums, factors, slope = saved[:2], saved[2:4], saved[4:6], saved[6:8], saved[8]
        if torch.is_grad_enabled():  # the gradient is to be differentiated in turn
            moments = _moments(images, offsets, window)
            unlikeness = _unlikeness(moments, moments.pred_variance * moments.target_variance, window)
            needed = [image for image in images if image.requires_grad]
            found = iter(torch.autograd.grad(unlikeness, needed, scale, create_graph=True))
            return *(next(found) if image.requires_grad else None for image in images), None, None, None
        a = scale * slope
        sum_a = window.sum(a)
        centred = [image - offset for image, offset in zip(images, offsets, strict=True)]
        gradients: list[Tensor | None] = [None, None]
        for own, factor in enumerate(factors):
            if factor is None:
                continue
            b = scale * factor
            through_means = window.sum((a * sums[1 - own]).addcmul_(b, sums[own])).mul_(2 / window.volume)
            direct = through_means.addcmul_(sum_a, centred[1 - own], value=-2)
            gradients[own] = direct.addcmul_(window.sum(b), centred[own], value=-2)
        return *gradients, None, None, None
