"""How much a map folds and how unevenly it stretches, as MONAI cumulative metrics."""

from __future__ import annotations

from torch import Tensor

from ..geometry import voxel_jacobian_determinant
from ..utils import format_shape
from .pairwise import PairMetric, checked_field


class FoldingFraction(PairMetric):
    """Share of voxels where the Jacobian determinant of ``x + displacement(x)`` is not positive; one value a pair."""

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None) -> Tensor:
        """Voxel field (B, D, *spatial) to (B, 1); ``y`` is not used."""
        folded = _determinant(y_pred) <= 0
        return folded.float().flatten(1).mean(1, keepdim=True)


class LogJacobianSpread(PairMetric):
    """Standard deviation of the logarithm of the Jacobian determinant J of ``x + displacement(x)``; one value a pair.

    ``std(log(clip(J + offset, 1e-9, 1e9)))`` over the voxels that lie ``border`` or more from the edge of the image,
    without unit; 0 where the map stretches evenly. The defaults are those of the Learn2Reg challenge, whose published
    figures (SDlogJ) are thus comparable: its offset keeps the logarithm away from folded voxels, at the price of
    damping: near J = 1 the value is a quarter of that without. ``offset=0`` is the spread of log J itself, in which one
    folded voxel counts as J = 1e-9.

    Args:
        offset: added to J before the logarithm.
        border: number of voxels left out along each edge of the image.

    References:
        Hering et al., Learn2Reg: comprehensive multi-task medical image registration challenge, IEEE TMI 2023; offset,
        limits and border as in the challenge's published evaluation.
    """

    def __init__(self, *, offset: float = 3.0, border: int = 2) -> None:
        super().__init__()
        if not 0 <= offset < float("inf") or border < 0:
            raise ValueError(f"offset is {offset} and border {border}, expected finite numbers of at least 0")
        self.offset, self.border = float(offset), int(border)

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None) -> Tensor:
        """Voxel field (B, D, *spatial) to (B, 1); ``y`` is not used."""
        if min(y_pred.shape[2:]) <= 2 * self.border:
            raise ValueError(
                f"y_pred has shape {format_shape(y_pred.shape)}, which a border of {self.border} voxels uses up; "
                f"expected more than {2 * self.border} along every axis. Set a smaller border"
            )
        inner = (slice(None), *[slice(self.border, size - self.border) for size in y_pred.shape[2:]])
        determinant = _determinant(y_pred)[inner]
        logarithm = (determinant + self.offset).clamp(1e-9, 1e9).log()
        return logarithm.flatten(1).std(1, correction=0, keepdim=True)


def _determinant(field: Tensor) -> Tensor:
    """Jacobian determinant (B, *spatial) of a voxel field (B, D, *spatial)."""
    field = checked_field("y_pred", field)
    if min(field.shape[2:]) < 2:
        raise ValueError(
            f"y_pred has shape {format_shape(field.shape)}, which is one voxel thick and has no derivative there; "
            "expected two voxels or more along every axis. Give the field of the plane in 2D"
        )
    return voxel_jacobian_determinant(field)
