"""Overlap of masks, as a MONAI cumulative metric."""

from __future__ import annotations

from monai.metrics import CumulativeIterationMetric, compute_iou
from torch import Tensor

from ..geometry import warp


class MaskIoU(CumulativeIterationMetric):
    """Intersection over union (MONAI's) of heat maps or masks thresholded at 0.5; one an image, 1 if both are empty."""

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None) -> Tensor:
        """(B, 1, *spatial) both, to (B, 1)."""
        if y is None or y_pred.shape != y.shape:
            raise ValueError(
                f"y_pred has shape {tuple(y_pred.shape)}, y {None if y is None else tuple(y.shape)}; "
                "expected the same (B, 1, *spatial)"
            )
        return compute_iou((y_pred > 0.5).float(), (y > 0.5).float(), ignore_empty=False)

    def aggregate(self) -> Tensor:
        """Mean over all images so far, a scalar."""
        return self.get_buffer().mean()


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
