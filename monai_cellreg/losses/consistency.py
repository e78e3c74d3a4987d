"""Losses that hold the two directions together."""

from __future__ import annotations

import torch
from monai.utils import LossReduction
from torch import Tensor, nn
from torch.nn import functional

from ..geometry import warp
from ..utils import Spacing, check_finite, check_spacing, format_shape, in_units
from .ddf import as_field, as_weight
from .image_pair import ImageLoss, prepare


class CycleConsistencyLoss(nn.Module):
    """Mean squared difference of each heat map and image to the other side warped onto it, summed over both directions.

    Args:
        alpha: weight of the image intensities against the heat maps.

    References:
        Deep learning for non-rigid registration of cell nuclei in temporal microscopy images, SPIE 2022, eq. 3.
        ``alpha`` is not given there; BENCHMARKS.md has the values tried.
    """

    def __init__(self, alpha: float = 0.1) -> None:
        super().__init__()
        if not alpha >= 0:
            raise ValueError(f"alpha is {alpha}; expected a weight of at least 0")
        self.alpha = alpha

    def forward(
        self,
        heat_maps: tuple[Tensor, Tensor],
        warped_heat_maps: tuple[Tensor, Tensor],
        images: tuple[Tensor, Tensor],
        warped_images: tuple[Tensor, Tensor],
    ) -> Tensor:
        """Pairs of (B, C, *spatial): the fixed side with the warped moving one, then the moving with the warped fixed.

        Returns:
            Scalar.

        Raises:
            ValueError: when a side (``target``) and what is warped onto it (``pred``) differ in shape, or hold NaN.
        """
        overlap = _both(heat_maps, warped_heat_maps)
        return overlap if self.alpha == 0 else overlap + self.alpha * _both(images, warped_images)


def _both(pair: tuple[Tensor, Tensor], warped: tuple[Tensor, Tensor]) -> Tensor:
    """Mean squared difference, summed over the two directions."""
    fixed, moving = (prepare(*sides, None) for sides in zip(warped, pair, strict=True))
    return functional.mse_loss(fixed.pred, fixed.target) + functional.mse_loss(moving.pred, moving.target)


class InverseConsistencyLoss(ImageLoss):
    r"""Mean squared distance between the grid points and where both maps, in turn, bring them.

    .. math:: L = \frac{\sum_x w(x) |h (u(x) + v(x + u(x)))|^2}{\sum_x w(x)}

    for the voxel field u from fixed to moving, v from moving to fixed and the spacing h; in voxels squared, or in the
    squared unit of the spacing. 0 where v undoes u. The gradient reaches both fields, u also through the places at
    which v is read. Outside the moving image v goes on as at its border: to leave these points out would reward maps
    that lead outside. A second term with the fields exchanged holds the other order.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``, which gives (B, 1, *spatial).
        spacing: distance of neighbouring voxels of the fixed image, one number or one for each axis; none for voxels.

    References:
        Christensen and Johnson, Consistent image registration, IEEE TMI 2001; the maps are composed here, where they
        are inverted there.

    Example:
        >>> import torch
        >>> there = torch.full((1, 2, 4, 5), 1.5)
        >>> InverseConsistencyLoss()(there, -there), InverseConsistencyLoss()(there, 0 * there)
        (tensor(0.), tensor(4.5000))
    """

    def __init__(self, reduction: LossReduction | str = LossReduction.MEAN, *, spacing: Spacing = None) -> None:
        super().__init__(reduction)
        check_spacing(spacing)
        self.spacing = spacing

    def forward(self, pred: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The loss of two voxel fields.

        Args:
            pred: (B, D, *fixed size), from fixed to moving.
            target: (B, D, *moving size), from moving to fixed.
            weight: (B or 1, 1, *fixed size), how much each point of the fixed image counts; at a weight of 0 ``pred``
                may hold NaN.

        Returns:
            Scalar, or (B, 1, *fixed size) for ``reduction="none"``.

        Raises:
            ValueError: for shapes that do not fit, a value that counts and is not finite, or a weight that is negative
                or all 0 in an item.
        """
        there, back = as_field(pred, smallest=1), as_field(target, smallest=1)
        if there.shape[:2] != back.shape[:2]:
            raise ValueError(
                f"pred has shape {format_shape(there.shape)}, target {format_shape(back.shape)}; expected fields of "
                "one batch and dimension, (B, D, *fixed size) and (B, D, *moving size)"
            )
        check_finite("target", back)
        counted = None if weight is None else as_weight(weight, there)
        with torch.autocast(pred.device.type, enabled=False):
            there = prepare(there, there, counted).pred
            missed = in_units(there + warp(back, there), self.spacing, axis=1)
            return self.reduce(missed.square().sum(1, keepdim=True), counted)
