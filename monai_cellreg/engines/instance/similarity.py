"""How alike two images are: what the affine stage climbs and what every stage is judged by."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...losses import (
    GlobalMutualInformationLoss,
    LocalNormalizedCrossCorrelationLoss,
    NormalizedGradientFieldsLoss,
)


def correlation_loss(warped: Tensor, fixed: Tensor, weight: Tensor) -> Tensor:
    """Minus the normalised correlation of two images (1, C, *spatial) over a weight (1, 1, *spatial)."""
    axes = tuple(range(2, fixed.ndim))
    count = weight.sum(axes, keepdim=True).clamp_min(1.0)
    a = (warped - (warped * weight).sum(axes, keepdim=True) / count) * weight.sqrt()
    b = (fixed - (fixed * weight).sum(axes, keepdim=True) / count) * weight.sqrt()
    power = (a.square().sum(axes) * b.square().sum(axes)).clamp_min(1e-12).sqrt()
    return -((a * b).sum(axes) / power).mean()


class LocalAndGlobalCorrelation(nn.Module):
    """Local squared correlation and, for images that share their intensities, global correlation on top.

    The local part follows the details whatever the brightness; the global one keeps bright on bright, which draws
    structures together that lie further apart than a window.

    Args:
        spatial_dims: 2 or 3.
        window: voxels along an axis.
        share: weight of the global part; 0 for images of different modalities.
    """

    def __init__(self, spatial_dims: int, window: int, share: float) -> None:
        super().__init__()
        self.local, self.share = LocalNormalizedCrossCorrelationLoss(spatial_dims, window), share

    def forward(self, pred: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The loss of two images (1, C, *spatial), at least ``-1 - share``."""
        value = self.local(pred, target, weight)
        if self.share == 0:
            return value
        seen = torch.ones_like(target[:, :1]) if weight is None else weight
        return value + self.share * correlation_loss(pred, target, seen)


class EdgesAndInformation(nn.Module):
    """Parallel edges and mutual information, for images whose intensities mean different things."""

    def __init__(self) -> None:
        super().__init__()
        self.edges, self.information = NormalizedGradientFieldsLoss(), GlobalMutualInformationLoss(num_bins=32)

    def forward(self, pred: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The loss of two images (1, C, *spatial) in [0, 1]."""
        return self.edges(pred, target, weight) + self.information(pred, target, weight)


def mutual_information_loss(warped: Tensor, fixed: Tensor, weight: Tensor) -> Tensor:
    """Minus the mutual information of two images (1, C, *spatial) in [0, 1] over a weight (1, 1, *spatial), or 0.

    The bins are as many as the voxels fill: with too many for few voxels, any two images seem to tell of each other.
    """
    if not bool(weight.any()):
        return 0 * warped.sum()  # nothing is seen, as after a step that leaves the image
    bins = int(min(max(round(fixed.numel() ** (1 / 3)), 8), 32))
    return GlobalMutualInformationLoss(num_bins=bins)(warped, fixed, weight)


@torch.no_grad()
def local_agreement(
    warped: Tensor, fixed: Tensor, weight: Tensor | None = None, *, window: int = 9, least: float = 1e-3
) -> float:
    """Mean squared local correlation of two images (1, C, *spatial) over the windows in which the fixed one varies.

    Args:
        warped: moving image on the fixed grid.
        fixed: image with intensities in about [0, 1].
        weight: (1, 1, *spatial); what is not above one half is taken out of both images. All counts when omitted.
        window: voxels along an axis.
        least: smallest variance of a window that counts.
    """
    seen = None if weight is None else (weight > 0.5).to(fixed)
    if seen is not None and not bool(seen.any()):
        return 0.0
    agreement = -LocalNormalizedCrossCorrelationLoss(fixed.ndim - 2, window, reduction="none")(warped, fixed, seen)
    pool = functional.avg_pool2d if fixed.ndim == 4 else functional.avg_pool3d
    padded = functional.pad(fixed, [window // 2] * 2 * (fixed.ndim - 2))  # beforehand, for axes shorter than a window
    textured = pool(padded.square(), window, 1) - pool(padded, window, 1).square() > least
    counted = textured if seen is None else textured & (seen > 0)
    return float(agreement[counted].mean()) if bool(counted.any()) else 0.0
