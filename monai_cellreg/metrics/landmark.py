"""Errors of points, as MONAI cumulative metrics."""

from __future__ import annotations

from monai.metrics import CumulativeIterationMetric
from torch import Tensor


class GridError(CumulativeIterationMetric):
    """Mean distance between predicted and true positions of all grid points, in voxels; one value a pair."""

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None) -> Tensor:
        """Voxel fields (B, D, *spatial) to (B, 1)."""
        if y is None or y_pred.shape != y.shape:
            raise ValueError(
                f"y_pred has shape {tuple(y_pred.shape)}, y {None if y is None else tuple(y.shape)}; "
                "expected the same (B, D, *spatial)"
            )
        return (y_pred - y).norm(dim=1).flatten(1).mean(1, keepdim=True)

    def aggregate(self) -> Tensor:
        """Mean over all pairs so far, a scalar."""
        return self.get_buffer().mean()
