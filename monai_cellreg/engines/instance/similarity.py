"""How alike two images are: what the affine stage climbs and what every stage is judged by."""

from __future__ import annotations

import torch
from torch import Tensor

from ...losses import LocalNormalizedCrossCorrelationLoss


def correlation_loss(warped: Tensor, fixed: Tensor, weight: Tensor) -> Tensor:
    """Minus the normalised correlation of two images (1, C, *spatial) over a weight (1, 1, *spatial)."""
    axes = tuple(range(2, fixed.ndim))
    count = weight.sum(axes, keepdim=True).clamp_min(1.0)
    a = (warped - (warped * weight).sum(axes, keepdim=True) / count) * weight.sqrt()
    b = (fixed - (fixed * weight).sum(axes, keepdim=True) / count) * weight.sqrt()
    power = (a.square().sum(axes) * b.square().sum(axes)).clamp_min(1e-12).sqrt()
    return -((a * b).sum(axes) / power).mean()


@torch.no_grad()
def local_agreement(warped: Tensor, fixed: Tensor, *, window: int = 9, least: float = 1e-3) -> float:
    """Mean squared local correlation of two images (1, C, *spatial) over the windows in which the fixed one varies.

    Args:
        warped: moving image on the fixed grid.
        fixed: image with intensities in about [0, 1].
        window: voxels along an axis.
        least: smallest variance of a window that counts.
    """
    loss = LocalNormalizedCrossCorrelationLoss(fixed.ndim - 2, window, reduction="none")
    agreement = -loss(warped, fixed)
    pool = torch.nn.functional.avg_pool2d if fixed.ndim == 4 else torch.nn.functional.avg_pool3d
    mean = pool(fixed, window, 1, window // 2)
    textured = pool(fixed.square(), window, 1, window // 2) - mean.square() > least
    return float(agreement[textured].mean()) if bool(textured.any()) else 0.0
