"""Losses on segmentations."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class PairSegmentationLoss(nn.Module):
    """Binary cross entropy of the heat maps of both images, summed over the two.

    References:
        Deep learning for non-rigid registration of cell nuclei in temporal microscopy images, SPIE 2022, eq. 1;
        computed on logits for numerical stability.
    """

    def forward(self, fixed_logits: Tensor, fixed_label: Tensor, moving_logits: Tensor, moving_label: Tensor) -> Tensor:
        """All (B, 1, *spatial), labels in [0, 1]; gives a scalar."""
        fixed = functional.binary_cross_entropy_with_logits(fixed_logits, fixed_label)
        return fixed + functional.binary_cross_entropy_with_logits(moving_logits, moving_label)
