"""Overlap of masks and labels, as MONAI cumulative metrics."""

from __future__ import annotations

from monai.metrics import compute_dice, compute_iou
from torch import Tensor

from ..geometry import warp
from ..utils import check_finite
from .labels import LabelMetric
from .pairwise import PairMetric, check_pair


class MaskIoU(PairMetric):
    """Intersection over union (MONAI's) of heat maps or masks thresholded at 0.5; one an image, 1 if both are empty."""

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None) -> Tensor:
        """(B, 1, *spatial) both, to (B, 1)."""
        y = check_pair(y_pred, y, "true mask (B, 1, *spatial)")
        check_finite("y_pred", y_pred)
        return compute_iou((y_pred > 0.5).float(), (y > 0.5).float(), ignore_empty=False)


class LabelDice(LabelMetric):
    """Dice coefficient ``2 |A & B| / (|A| + |B|)`` (MONAI's) of each label of two label maps, in [0, 1].

    0 for a label that only one map has; NaN, and left out of the mean, for one that neither has.

    Args:
        labels: the labels to measure; a column of ``get_buffer`` each.

    Example:
        >>> import torch
        >>> LabelDice([1, 2])(torch.tensor([[[[0, 1, 1, 2]]]]), torch.tensor([[[[0, 0, 1, 2]]]]))
        tensor([[0.6667, 1.0000]])
    """

    def _measured(self, predicted: Tensor, true: Tensor) -> Tensor:
        return compute_dice(predicted, true, ignore_empty=False)


class LabelIoU(LabelMetric):
    """Intersection over union ``|A & B| / |A | B|`` (MONAI's) of each label of two label maps, in [0, 1].

    0 for a label that only one map has; NaN, and left out of the mean, for one that neither has (where
    :class:`MaskIoU`, of a single mask, gives 1).

    Args:
        labels: the labels to measure; a column of ``get_buffer`` each.
    """

    def _measured(self, predicted: Tensor, true: Tensor) -> Tensor:
        return compute_iou(predicted, true, ignore_empty=False)


def registration_iou(fixed_label: Tensor, moving_label: Tensor, fixed_to_moving_vox: Tensor | None = None) -> Tensor:
    """IoU (B, 1) of the fixed labels and the moving labels, warped without mixing when a field is given.

    Args:
        fixed_label: (B, 1, *spatial).
        moving_label: (B, 1, *spatial).
        fixed_to_moving_vox: (B, D, *spatial) voxel field; ``None`` for the unregistered pair.
    """
    if fixed_to_moving_vox is not None:
        moving_label = warp(moving_label, fixed_to_moving_vox, mode="nearest")
    return compute_iou((moving_label > 0.5).float(), (fixed_label > 0.5).float(), ignore_empty=False)
