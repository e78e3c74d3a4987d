"""Distances of label surfaces, as MONAI cumulative metrics.

MONAI measures the distances; these add label maps, a spacing that is kept, and one answer to empty labels: MONAI's
percentile is NaN for an empty prediction, which its mean then leaves out, and infinite for an empty truth.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance
from torch import Tensor

from ..utils import Spacing, axis_spacing, check_spacing
from .labels import LabelMetric


class SurfaceMetric(LabelMetric):
    """A distance of the surfaces of each label of two label maps.

    The surface of a label are the centres of its voxels that have a face neighbour outside it, or lie at the edge of
    the image. Infinite for a label that only one map has; NaN, and left out of the mean, for one that neither has.

    Args:
        labels: the labels to measure; a column of ``get_buffer`` each.
        spacing: distance of neighbouring voxels, one number or one for each axis, the unit of the result; none for
            voxels.
    """

    def __init__(self, labels: Sequence[int] = (1,), *, spacing: Spacing = None) -> None:
        super().__init__(labels)
        check_spacing(spacing)
        self.spacing = spacing

    @abstractmethod
    def _distance(self, predicted: Tensor, true: Tensor, spacing: tuple[float, ...]) -> Tensor:
        """Distance (1, 1) of two masks (1, 1, *spatial), neither of them empty."""

    def _measured(self, predicted: Tensor, true: Tensor) -> Tensor:
        spacing = axis_spacing(self.spacing, predicted.ndim - 2)
        values = torch.full(predicted.shape[:2], torch.inf, device=predicted.device)
        both = predicted.flatten(2).any(2) & true.flatten(2).any(2)
        for b, c in both.nonzero().tolist():
            one = slice(b, b + 1), slice(c, c + 1)
            values[b, c] = self._distance(predicted[one], true[one], spacing)
        return values


class HausdorffDistance(SurfaceMetric):
    """Percentile of the Hausdorff distance (MONAI's) of each label of two label maps; HD95 as it comes.

    The larger of two percentiles: that of the distances of A's surface points to their nearest point of B, and that of
    B's to A. (Others take one percentile of both together, which is at most as large.)

    Args:
        labels: the labels to measure; a column of ``get_buffer`` each.
        spacing: distance of neighbouring voxels, one number or one for each axis, the unit of the result; none for
            voxels.
        percentile: above 0; 100 is the Hausdorff distance itself.

    References:
        Huttenlocher et al., Comparing images using the Hausdorff distance, IEEE TPAMI 1993.
    """

    def __init__(self, labels: Sequence[int] = (1,), *, spacing: Spacing = None, percentile: float = 95.0) -> None:
        super().__init__(labels, spacing=spacing)
        if not 0 < percentile <= 100:
            raise ValueError(f"percentile is {percentile}, expected a number above 0 and up to 100")
        self.percentile = percentile

    def _distance(self, predicted: Tensor, true: Tensor, spacing: tuple[float, ...]) -> Tensor:
        return compute_hausdorff_distance(
            predicted, true, include_background=True, percentile=self.percentile, spacing=spacing
        )


class MeanSurfaceDistance(SurfaceMetric):
    """Average symmetric surface distance (MONAI's) of each label of two label maps.

    The mean over the surface points of both, together, of the distance to the nearest surface point of the other.

    Args:
        labels: the labels to measure; a column of ``get_buffer`` each.
        spacing: distance of neighbouring voxels, one number or one for each axis, the unit of the result; none for
            voxels.

    References:
        Heimann et al., Comparison and evaluation of methods for liver segmentation from CT datasets, IEEE TMI 2009.
    """

    def _distance(self, predicted: Tensor, true: Tensor, spacing: tuple[float, ...]) -> Tensor:
        return compute_average_surface_distance(
            predicted, true, include_background=True, symmetric=True, spacing=spacing
        )
