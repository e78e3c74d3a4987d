"""Normalised cross-correlation of whole images."""

from __future__ import annotations

from monai.utils import LossReduction
from torch import Tensor

from ..utils import check_positive
from .image_pair import ImageLoss, ImagePair


class NCCLoss(ImageLoss):
    """Negative correlation coefficient of two images, for one modality with another brightness and contrast.

    ``L = -cov(pred, target) / sqrt(max(var(pred), smooth_dr) * max(var(target), smooth_dr))``, with weighted means
    over the voxels. -1 is reached by ``pred = a * target + b`` with ``a > 0`` and 1 with ``a < 0``; a constant image
    gives 0. Every channel of every image has its own coefficient; ``reduction="none"`` gives them as (B, C).

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        smooth_dr: smallest variance that is divided by.

    References:
        Hill et al., Medical image registration, Physics in Medicine and Biology 46, 2001 (correlation coefficient).

    Example:
        >>> import torch
        >>> image = torch.tensor([[[1.0, 2.0, 4.0]]])
        >>> torch.testing.assert_close(NCCLoss()(3 * image + 5, image), torch.tensor(-1.0))
    """

    def __init__(self, reduction: LossReduction | str = LossReduction.MEAN, *, smooth_dr: float = 1e-8) -> None:
        super().__init__(reduction)
        check_positive("smooth_dr", smooth_dr)
        self.smooth_dr = float(smooth_dr)

    def unlikeness(self, images: ImagePair) -> Tensor:
        """Negative coefficients (B, C)."""
        pred, target = (image - _mean(image, images.weight) for image in images[:2])
        covariance = _mean(pred * target, images.weight)
        variances = [_mean(image.square(), images.weight).clamp_min(self.smooth_dr) for image in (pred, target)]
        # Each root by itself: the product of two small variances would leave the range of float32.
        return (-covariance / (variances[0].sqrt() * variances[1].sqrt())).flatten(1)


def _mean(values: Tensor, weight: Tensor | None) -> Tensor:
    """Weighted mean over the voxels, (B, C, 1, ...)."""
    axes = tuple(range(2, values.ndim))
    if weight is None:
        return values.mean(axes, keepdim=True)
    return (values * weight).sum(axes, keepdim=True) / weight.sum(axes, keepdim=True)
