"""Errors of points, as MONAI cumulative metrics, and the figures of the ANHIR challenge."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..utils import Spacing, axis_spacing, check_positive, check_spacing, format_shape, in_units
from .pairwise import (
    STATISTICS,
    PairMetric,
    PairStatistics,
    check_pair,
    checked_field,
    known_mean,
)


class GridError(PairMetric):
    """Mean distance between predicted and true positions of all grid points; one value a pair.

    ``mean_x |spacing * (u(x) - u_true(x))|``, in voxels, or in the unit of ``spacing``.

    Args:
        spacing: distance of neighbouring voxels of the *moving* image, one number or one for each axis; none for
            voxels.
    """

    def __init__(self, *, spacing: Spacing = None) -> None:
        super().__init__()
        check_spacing(spacing)
        self.spacing = spacing

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None) -> Tensor:
        """Voxel fields (B, D, *spatial) to (B, 1)."""
        y = checked_field("y", check_pair(y_pred, y, "true field (B, D, *spatial)"))
        error = in_units(checked_field("y_pred", y_pred) - y, self.spacing, axis=1)
        return error.norm(dim=1).flatten(1).mean(1, keepdim=True)


class TargetRegistrationError(PairStatistics):
    """Median, mean and largest distance of each pair between its mapped and its true landmarks (TRE, or rTRE).

    ``TRE_n = |T(x_n) - y_n|`` for fixed landmarks x and moving landmarks y, in the unit of the points; with a
    ``diagonal`` divided by it (rTRE, a share of the image's diagonal). In an ``IgniteMetricHandler``, which hands on
    two tensors only, divide both by the diagonal beforehand.

    :meth:`statistics` names the figures of the ANHIR challenge ``mean_median`` (its average median rTRE),
    ``median_median``, ``mean_max``, ``median_max`` and so on; robustness is :class:`LandmarkRobustness`, the average
    rank :func:`average_rank` of the medians of several methods.

    Args:
        of_pair: what :meth:`aggregate` follows: ``"median"``, ``"mean"`` or ``"max"`` of a pair's landmarks.
        over_pairs: how it reduces the pairs: ``"mean"``, ``"median"`` or ``"max"``.

    References:
        Borovec et al., ANHIR: automatic non-rigid histological image registration challenge, IEEE TMI 2020.

    Example:
        >>> error, mapped = TargetRegistrationError(), torch.tensor([[[3.0, 4.0], [0.0, 1.0], [0.0, 0.0]]])
        >>> error(mapped, torch.tensor([[[0.0, 0.0], [0.0, 0.0], [torch.nan, torch.nan]]])).tolist()
        [[3.0, 3.0, 5.0]]
    """

    columns = ("median", "mean", "max")

    def __init__(self, *, of_pair: str = "median", over_pairs: str = "mean") -> None:
        super().__init__(of_pair=of_pair, over_pairs=over_pairs)

    def _compute_tensor(
        self, y_pred: Tensor, y: Tensor | None = None, diagonal: float | Tensor | None = None
    ) -> Tensor:
        """Mapped fixed landmarks and moving landmarks (B, N, D), see :func:`landmark_errors`, to (B, 3)."""
        if y is None:
            raise ValueError("y is None, expected the moving landmarks (B, N, D) that y_pred is compared with")
        errors = landmark_errors(y_pred, y, diagonal=diagonal)
        return torch.stack([STATISTICS[name](errors) for name in self.columns], dim=1)


class LandmarkRobustness(PairMetric):
    """Share of the landmarks of a pair that the registration brought closer; one value a pair in [0, 1].

    ``R = #{n: TRE_n < TRE_n before} / #n``; :meth:`aggregate` is the average robustness of the ANHIR challenge.

    References:
        Borovec et al., ANHIR: automatic non-rigid histological image registration challenge, IEEE TMI 2020.
    """

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None) -> Tensor:
        """Errors (B, N) after and before registration, of :func:`landmark_errors`, to (B, 1).

        Raises:
            ValueError: for another shape, or when not the same landmarks are missing (NaN) in both.
        """
        before = check_pair(y_pred, y, "errors (B, N) before registration")
        if y_pred.ndim != 2:
            raise ValueError(
                f"y_pred has shape {format_shape(y_pred.shape)}, expected errors (B, N); landmark_errors gives them of "
                "landmarks"
            )
        if not torch.equal(y_pred.isnan(), before.isnan()):
            raise ValueError(
                f"y_pred lacks {int(y_pred.isnan().sum())} errors and y {int(before.isnan().sum())} (NaN), not of the "
                "same landmarks; expected both of landmark_errors with the same moving landmarks"
            )
        closer = torch.where(before.isnan(), torch.nan, (y_pred < before).double())
        return known_mean(closer)[:, None]


def landmark_errors(mapped: Tensor, moving: Tensor, *, diagonal: float | Tensor | None = None) -> Tensor:
    """Distance of each mapped fixed landmark to the moving landmark it corresponds to.

    Convention: fixed landmarks go through the fixed-to-moving map and are compared on the moving side, in the unit of
    the points (world units of :meth:`SpatialTransform.points`). The error before registration is that of the fixed
    landmarks themselves.

    Args:
        mapped: (B, N, D) mapped fixed landmarks.
        moving: (B, N, D) moving landmarks; NaN for one that is missing.
        diagonal: of the image, in the same unit (:func:`image_diagonal`): one number, or (B,); none for TRE.

    Returns:
        (B, N) float64, NaN for a missing landmark; a share of the diagonal where one is given.

    Raises:
        ValueError: for other shapes, a diagonal that is not above 0, or a mapped landmark that is NaN though the moving
            one is known: a failed registration must not pass for a missing landmark.
    """
    check_pair(mapped, moving, "moving landmarks (B, N, D)")
    if mapped.ndim != 3:
        raise ValueError(f"landmarks have shape {format_shape(mapped.shape)}, expected (B, N, D); add the batch axis")
    missing = moving.isnan().any(-1)
    lost = mapped.isnan().any(-1) & ~missing
    if bool(lost.any()):
        raise ValueError(
            f"{int(lost.sum())} of {int((~missing).sum())} mapped landmarks are NaN though the moving one is known, "
            "expected numbers; the registration failed there. Mark a landmark that is missing on either side by NaN in "
            "the moving landmarks"
        )
    errors = (mapped.double() - moving.double()).norm(dim=-1)
    if diagonal is not None:
        length = torch.as_tensor(diagonal, dtype=torch.float64, device=errors.device)
        check_positive("diagonal", length.flatten().tolist())
        if length.numel() not in (1, errors.shape[0]):
            raise ValueError(
                f"diagonal holds {length.numel()} numbers for {errors.shape[0]} pairs, expected one a pair"
            )
        errors = errors / length.reshape(-1, 1)
    return torch.where(missing, torch.nan, errors)


def image_diagonal(size: Sequence[int], spacing: Spacing = None) -> float:
    """Length of an image's diagonal, by which rTRE is relative.

    Args:
        size: number of voxels along each axis.
        spacing: distance of neighbouring voxels, one number or one for each axis; none for a diagonal in voxels.

    Returns:
        ``sqrt(sum((size * spacing)^2))``, as in the ANHIR challenge (width and height, not the distance of the corner
        voxels' centres).

    Example:
        >>> image_diagonal((300, 400))
        500.0
    """
    check_positive("size", [float(s) for s in size])
    return sum((n * s) ** 2 for n, s in zip(size, axis_spacing(spacing, len(size)), strict=True)) ** 0.5


def average_rank(errors: Tensor) -> Tensor:
    """Mean rank of each method over pairs, 1 for the best: the main criterion of the ANHIR challenge.

    Args:
        errors: (methods, pairs), such as median rTRE; the smallest of a pair ranks first, equal ones share the mean of
            their ranks, and a method without a result (NaN or infinite) ranks last.

    Returns:
        (methods,) float64.

    Raises:
        ValueError: for another shape, or no method or pair.

    Example:
        >>> average_rank(torch.tensor([[0.1, 0.3], [0.2, 0.2], [torch.nan, 0.4]])).tolist()
        [1.5, 1.5, 3.0]
    """
    if errors.ndim != 2 or errors.numel() == 0:
        raise ValueError(f"errors has shape {format_shape(errors.shape)}, expected (methods, pairs) with one of each")
    score = errors.double().nan_to_num(nan=torch.inf, posinf=torch.inf)
    mine, others = score[:, None], score[None]
    ranks = 1 + (others < mine).sum(1) + ((others == mine).sum(1) - 1) / 2
    return ranks.double().mean(1)
