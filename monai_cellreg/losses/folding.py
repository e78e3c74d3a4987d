"""Penalties on the volume change of a map: folding, and any change at all."""

from __future__ import annotations

from monai.utils import LossReduction
from torch import Tensor, nn

from ..geometry.derivatives import jacobian_determinant
from ..utils import check_choice, check_finite, check_positive
from .ddf import as_field, as_weight, is_finite, shares
from .gradient import spatial_gradient
from .reduction import check_reduction


class _DeterminantLoss(nn.Module):
    """Reduces a penalty on the Jacobian determinant, which a subclass names, to a loss."""

    def __init__(self, reduction: LossReduction | str) -> None:
        super().__init__()
        self.reduction = check_reduction(reduction)

    def forward(self, pred: Tensor, weight: Tensor | None = None) -> Tensor:
        """The penalty of a displacement field.

        Args:
            pred: (B, D, *spatial) in voxels, at least 2 along every axis; float32 or better whatever autocast does.
            weight: (B or 1, 1, *spatial), how much each voxel counts, such as a mask. A voxel of weight 0 is hidden and
                may hold NaN: differences do not read it, as if the field ended there.

        Returns:
            Scalar, or the weighted penalty (B, 1, *spatial) of every voxel for the reduction ``"none"``.

        Raises:
            ValueError: when shapes do not fit, an axis is too thin, a value is not finite, or the weight is all 0.
        """
        field = as_field(pred, smallest=2)
        if weight is None:
            penalty = self._penalty(field_determinant(field))
            loss = penalty.mean() if self.reduction == "mean" else penalty
        else:
            weight = as_weight(weight, field)
            visible = weight > 0
            penalty = self._penalty(field_determinant(field.masked_fill(~visible, 0), visible))
            if self.reduction == "mean":
                loss = (penalty * shares(weight, "every voxel")).sum() / len(field)
            else:
                loss = penalty * weight
        if self.reduction == "sum":
            loss = loss.sum()
        if not is_finite(loss):
            check_finite("pred", field)
        return loss

    def _penalty(self, determinant: Tensor) -> Tensor:
        """The penalty of each voxel, like the determinants (B, 1, *spatial)."""
        raise NotImplementedError


class FoldingLoss(_DeterminantLoss):
    """Penalty on voxels where the map folds: ``max(threshold - det J, 0)**power``, with ``J`` of ``x + u(x)``.

    Zero for maps whose volumes shrink to no less than ``threshold`` of theirs. The determinants are those that
    :class:`~monai_cellreg.metrics.FoldingFraction` counts, by central differences, one-sided at the border. They are
    ratios of volumes and need no spacing: units cancel.

    Args:
        threshold: determinant below which a voxel is penalised; above 0 it keeps a margin from folding.
        power: 1 or 2; 2 is smooth and grows with the depth of the fold.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: for another power or reduction.

    References:
        Mok, Chung, Fast symmetric diffeomorphic image registration with convolutional neural networks, CVPR 2020, local
        orientation consistency (threshold 0, power 1).

    Example:
        >>> import torch
        >>> rows = torch.arange(4.0).reshape(1, 1, 4, 1).expand(1, 1, 4, 5)
        >>> FoldingLoss(power=1)(torch.cat([-1.5 * rows, 0 * rows], dim=1))  # turns the rows round: det J = -0.5
        tensor(0.5000)
    """

    def __init__(
        self, threshold: float = 0.0, power: int = 2, *, reduction: LossReduction | str = LossReduction.MEAN
    ) -> None:
        super().__init__(reduction)
        check_choice("power", power, (1, 2))
        self.threshold, self.power = float(threshold), power

    def _penalty(self, determinant: Tensor) -> Tensor:
        depth = (self.threshold - determinant).clamp_min(0)
        return depth if self.power == 1 else depth.square()


class VolumeChangeLoss(_DeterminantLoss):
    """Penalty on any change of volume: ``(log det J)**2``, with ``J`` of ``x + u(x)``.

    Growth by a factor costs as much as shrinking by it. Below ``floor`` the logarithm goes on as a straight line, so
    that folded voxels cost more still and have a gradient that unfolds them. Determinants as in :class:`FoldingLoss`.

    Args:
        floor: determinant below which the logarithm is continued.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: for a floor that is not positive, or an unknown reduction.

    References:
        Rohlfing et al., Volume-preserving nonrigid registration of MR breast images using free-form deformation with
        an incompressibility constraint, IEEE TMI 22, 2003 (there the absolute value of the logarithm).

    Example:
        >>> import torch
        >>> rows = torch.arange(4.0).reshape(1, 1, 4, 1).expand(1, 1, 4, 5)
        >>> VolumeChangeLoss()(torch.cat([rows, 0 * rows], dim=1))  # twice the volume: log(2)**2
        tensor(0.4805)
    """

    def __init__(self, floor: float = 0.05, *, reduction: LossReduction | str = LossReduction.MEAN) -> None:
        super().__init__(reduction)
        check_positive("floor", floor)
        self.floor = float(floor)

    def _penalty(self, determinant: Tensor) -> Tensor:
        above = determinant.clamp_min(self.floor)
        return (above.log() + (determinant - above) / self.floor).square()


def field_determinant(field: Tensor, visible: Tensor | None = None) -> Tensor:
    """Jacobian determinant (B, 1, *spatial) of ``x + field(x)`` in voxels; see :func:`spatial_gradient`.

    Args:
        field: (B, D, *spatial) in voxels.
        visible: (B or 1, 1, *spatial) boolean; all voxels when None.
    """
    return jacobian_determinant([column.split(1, dim=1) for column in spatial_gradient(field, visible)])
