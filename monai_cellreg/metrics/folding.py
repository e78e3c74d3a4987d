"""How much of a map folds, as a MONAI cumulative metric."""

from __future__ import annotations

from monai.metrics import CumulativeIterationMetric
from torch import Tensor

from ..geometry import voxel_jacobian_determinant


class FoldingFraction(CumulativeIterationMetric):
    """Share of voxels where the Jacobian determinant of ``x + displacement(x)`` is not positive; one value a pair."""

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None) -> Tensor:
        """Voxel field (B, D, *spatial) to (B, 1); ``y`` is not used."""
        return (voxel_jacobian_determinant(y_pred) <= 0).to(y_pred.dtype).flatten(1).mean(1, keepdim=True)

    def aggregate(self) -> Tensor:
        """Mean over all pairs so far, a scalar."""
        return self.get_buffer().mean()
