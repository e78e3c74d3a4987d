"""Similarity of images, as a MONAI cumulative metric."""

from __future__ import annotations

import torch
from torch import Tensor

from ..utils import check_finite
from .pairwise import PairMetric, check_pair


class Correlation(PairMetric):
    """Pearson's correlation coefficient of two images, one a channel, in [-1, 1]; 0 beside a constant image.

    Example:
        >>> Correlation()(torch.tensor([[[1.0, 2.0, 4.0]]]), torch.tensor([[[5.0, 7.0, 11.0]]]))
        tensor([[1.]])
    """

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None) -> Tensor:
        """(B, C, *spatial) both, to (B, C)."""
        y = check_pair(y_pred, y, "image (B, C, *spatial)")
        check_finite("y_pred", y_pred)
        return correlation(y_pred, y).float()


def correlation(one: Tensor, other: Tensor) -> Tensor:
    """Pearson's coefficients (B, C) of images (B, C, *spatial), in float64; 0 where one is constant."""
    first, second = (x.double().flatten(2) - x.double().flatten(2).mean(2, keepdim=True) for x in (one, other))
    spreads = first.square().sum(2).sqrt() * second.square().sum(2).sqrt()
    return torch.where(spreads > 0, (first * second).sum(2) / spreads, 0.0).clamp(-1, 1)
