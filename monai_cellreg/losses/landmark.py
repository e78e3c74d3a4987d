"""Losses on corresponding points."""

from __future__ import annotations

import torch
from monai.utils import LossReduction
from torch import Tensor, nn

from ..geometry import sample, voxel_to_cube_ddf
from ..utils import Spacing, check_finite, check_positive, check_same_shape, check_spacing, format_shape, in_units
from .ddf import as_field, as_weight
from .image_pair import ImageLoss, ImagePair
from .reduction import check_reduction


class TransformationLoss(ImageLoss):
    """Mean squared distance between predicted and true positions of the grid points.

    Distances are on the cube [-1, 1]^D, so that the value does not depend on the image size and is comparable with the
    other terms.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``, which gives (B, 1, *spatial).

    References:
        Deep learning for non-rigid registration of cell nuclei in temporal microscopy images, SPIE 2022, eq. 2, with
        every voxel centre as a grid point.
    """

    def forward(self, pred: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The loss of a predicted and the true voxel field, both (B, D, *spatial).

        Args:
            pred: predicted displacements in voxels.
            target: true displacements in voxels.
            weight: (B or 1, 1, *spatial), how much each point counts; at a weight of 0 the fields may hold NaN.

        Returns:
            Scalar, or (B, 1, *spatial) for ``reduction="none"``.

        Raises:
            ValueError: for shapes that do not fit, a value that counts and is not finite, or a weight that is negative
                or all 0 in an item.
        """
        field = as_field(pred, smallest=1)
        return super().forward(field, target, None if weight is None else as_weight(weight, field))

    def unlikeness(self, images: ImagePair) -> Tensor:
        """Squared distances (B, 1, *spatial) on the cube."""
        return voxel_to_cube_ddf(images.pred - images.target).square().sum(1, keepdim=True)


class LandmarkDistanceLoss(nn.Module):
    r"""Distance between mapped fixed landmarks and moving landmarks, differentiable in the field.

    .. math:: L = \frac{\sum_n w_n \rho(|h (p_n + u(p_n) - q_n)|)}{\sum_n w_n}

    for fixed landmarks p, moving landmarks q, the voxel field u from fixed to moving, read linearly (outside the image
    as at its border), and the spacing h of the moving image. :math:`\rho` is the square, or with ``huber_delta`` the
    Huber function: :math:`r^2 / 2` up to delta, :math:`\delta (r - \delta / 2)` beyond, which follows outliers less.
    The mean is taken over the landmarks of a pair, then over pairs, so that a batch is the mean of its pairs.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``, which gives (B, N), 0 for a missing landmark.
        spacing: distance of neighbouring voxels of the moving image, one number or one for each axis, the unit of
            distances; none for voxels.
        huber_delta: distance at which the square turns into a straight line, in the same unit; none for the square.

    References:
        Huber, Robust estimation of a location parameter, Annals of Mathematical Statistics 35, 1964.

    Example:
        >>> field, fixed, moving = torch.ones(1, 2, 4, 5), torch.tensor([[[1.0, 1.5]]]), torch.tensor([[[2.0, 4.5]]])
        >>> LandmarkDistanceLoss()(field, fixed, moving), LandmarkDistanceLoss(huber_delta=1.0)(field, fixed, moving)
        (tensor(4.), tensor(1.5000))
    """

    def __init__(
        self,
        reduction: LossReduction | str = LossReduction.MEAN,
        *,
        spacing: Spacing = None,
        huber_delta: float | None = None,
    ) -> None:
        super().__init__()
        if huber_delta is not None:
            check_positive("huber_delta", huber_delta)
        check_spacing(spacing)
        self.reduction, self.spacing = check_reduction(reduction), spacing
        self.huber_delta = huber_delta

    def forward(
        self, displacement_vox: Tensor, fixed_landmarks: Tensor, moving_landmarks: Tensor, weight: Tensor | None = None
    ) -> Tensor:
        """The loss of a voxel field and landmarks.

        Args:
            displacement_vox: (B, D, *spatial) voxel field from fixed to moving.
            fixed_landmarks: (B, N, D) in voxels of the fixed image (``grid.world_to_index``); NaN for a missing one.
            moving_landmarks: (B, N, D) in voxels of the moving image; row n corresponds to row n of the fixed ones; NaN
                for a missing one.
            weight: (B, N), how much each landmark counts, at least 0.

        Returns:
            Scalar, or (B, N) for ``reduction="none"``. A pair whose landmarks are all missing costs 0.

        Raises:
            ValueError: for shapes that do not fit, a field or weight that is not finite, an infinite landmark, or a
                negative weight.
        """
        self._check(displacement_vox, fixed_landmarks, moving_landmarks, weight)
        with torch.autocast(displacement_vox.device.type, enabled=False):
            field = as_field(displacement_vox, smallest=1)
            known = ~(fixed_landmarks + moving_landmarks).isnan().any(-1)  # (B, N)
            fixed, moving = (
                points.to(field).where(known[..., None], 0) for points in (fixed_landmarks, moving_landmarks)
            )
            error = fixed + sample(field, fixed).transpose(1, 2) - moving  # (B, N, D)
            distance = in_units(error, self.spacing, axis=-1)
            share = known.to(field) if weight is None else weight.to(field) * known
            return self._reduced(self._penalty(distance), share)

    def _penalty(self, vectors: Tensor) -> Tensor:
        """(B, N) of error vectors (B, N, D); smooth at 0."""
        square, delta = vectors.square().sum(-1), self.huber_delta
        if delta is None:
            return square
        far = square > delta**2
        length = square.where(far, delta**2).sqrt()
        return torch.where(far, delta * (length - delta / 2), square / 2)

    def _reduced(self, values: Tensor, share: Tensor) -> Tensor:
        """Of values and their weights (B, N)."""
        weighted = values * share
        if self.reduction != "mean":
            return weighted if self.reduction == "none" else weighted.sum()
        total = share.sum(1)
        return (weighted.sum(1) / total.where(total > 0, 1)).mean()

    @staticmethod
    def _check(field: Tensor, fixed: Tensor, moving: Tensor, weight: Tensor | None) -> None:
        check_same_shape("moving_landmarks", moving.shape, "fixed_landmarks", fixed.shape)
        if fixed.ndim != 3 or fixed.shape[::2] != field.shape[:2]:
            raise ValueError(
                f"displacement_vox has shape {format_shape(field.shape)}, the landmarks {format_shape(fixed.shape)}; "
                "expected a voxel field (B, D, *spatial) and landmarks (B, N, D)"
            )
        check_finite("displacement_vox", field)
        for name, points in (("fixed_landmarks", fixed), ("moving_landmarks", moving)):
            if bool(points.isinf().any()):
                raise ValueError(f"{name} holds infinite values, expected voxels, and NaN for a missing landmark")
        if weight is not None:
            check_same_shape("weight", weight.shape, "the landmarks' (B, N)", fixed.shape[:2])
            check_finite("weight", weight)
            if bool((weight < 0).any()):
                raise ValueError(f"weight has a value of {float(weight.min()):.3g}, expected none below 0")
