"""How good a registration is, by labels, by landmarks and by the map itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..geometry import SamplingGrid, SpatialTransform, to_voxel_ddf
from ..metrics import (
    FoldingFraction,
    HausdorffDistance,
    LabelDice,
    LabelIoU,
    LandmarkRobustness,
    LogJacobianSpread,
    MeanSurfaceDistance,
    TargetRegistrationError,
    landmark_errors,
)
from ..utils import check_same_shape, plain

__all__ = ["Evaluation", "label_scores", "landmark_scores", "map_scores"]

LABEL_SCORES = ("dice", "iou", "hd95", "msd")


@dataclass(frozen=True)
class Evaluation:
    """Scores of one registration; empty where nothing was given to measure them by.

    Args:
        labels: label to its ``dice`` and ``iou``, and its ``hd95`` and ``msd`` in world units.
        landmarks: see :func:`landmark_scores`.
        transform: see :func:`map_scores`.
    """

    labels: dict[int, dict[str, float]] = field(default_factory=dict)
    landmarks: dict[str, float] = field(default_factory=dict)
    transform: dict[str, float] = field(default_factory=dict)

    @property
    def mean(self) -> dict[str, float]:
        """Each score of the labels, as the mean over the labels; empty without labels."""
        rows = list(self.labels.values())
        return {name: sum(row[name] for row in rows) / len(rows) for name in LABEL_SCORES} if rows else {}


def label_scores(
    fixed_label: Tensor,
    warped_label: Tensor,
    *,
    labels: Sequence[int] | None = None,
    spacing: Sequence[float] | None = None,
) -> dict[int, dict[str, float]]:
    """Overlap and surface distance of each label of two label maps on one grid.

    Args:
        fixed_label: (1, *spatial) whole numbers; 0 is background.
        warped_label: (1, *spatial), of the same shape.
        labels: what to measure; every label of the fixed map when omitted, so that what was never there to be found
            does not count.
        spacing: distance of neighbouring voxels along each axis; none for voxels.

    Returns:
        Label to ``dice`` and ``iou`` in [0, 1], and ``hd95`` (95th percentile of the Hausdorff distance) and ``msd``
        (mean surface distance) in the unit of the spacing: infinite for a label that only one map has, NaN for one
        that neither has.

    Raises:
        ValueError: when the shapes differ, or the fixed map has no label.

    Example:
        >>> fixed = torch.zeros(1, 8, 8)
        >>> fixed[0, 2:5, 2:5] = 3
        >>> {name: round(value, 3) for name, value in label_scores(fixed, fixed.roll(1, 1))[3].items()}
        {'dice': 0.667, 'iou': 0.5, 'hd95': 1.0, 'msd': 0.5}
    """
    fixed, warped = (plain(label)[None] for label in (fixed_label, warped_label))
    check_same_shape("warped_label", warped.shape[1:], "fixed_label", fixed.shape[1:])
    wanted = [int(label) for label in fixed.unique().tolist() if label] if labels is None else list(labels)
    if not wanted:
        raise ValueError(
            "fixed_label holds nothing but background (0), expected one label or more; check that it is the label map "
            "and not the image"
        )
    metrics = {
        "dice": LabelDice(wanted),
        "iou": LabelIoU(wanted),
        "hd95": HausdorffDistance(wanted, spacing=spacing),
        "msd": MeanSurfaceDistance(wanted, spacing=spacing),
    }
    columns = {name: metric(warped, fixed)[0].tolist() for name, metric in metrics.items()}
    return {label: {name: columns[name][k] for name in LABEL_SCORES} for k, label in enumerate(wanted)}


def landmark_scores(
    fixed: Tensor, moving: Tensor, transform: SpatialTransform | None = None, *, diagonal: float | None = None
) -> dict[str, float]:
    """Distance of mapped fixed landmarks to the moving landmarks.

    Convention: fixed landmarks go through the fixed-to-moving map and are compared on the moving side.

    Args:
        fixed: (N, D) world points of the fixed image.
        moving: (N, D) world points of the moving image, row n that of fixed point n; NaN for one that is missing.
        transform: fixed world points to moving world points; none for what was there before registration.
        diagonal: of the image, in world units (see :func:`~monai_cellreg.metrics.image_diagonal`), for rTRE.

    Returns:
        ``landmarks`` (their number), ``tre_median``, ``tre_mean`` and ``tre_max`` in world units, with a diagonal
        ``rtre_median``, ``rtre_mean`` and ``rtre_max``, and with a transform ``tre_median_before`` and ``robustness``
        (share of the landmarks that came closer).

    Raises:
        ValueError: when the two are not of one shape (N, D), or no landmark is known on both sides.

    Example:
        >>> landmark_scores(torch.zeros(2, 2), torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
        {'landmarks': 2.0, 'tre_median': 3.0, 'tre_mean': 3.0, 'tre_max': 5.0}
    """
    check_same_shape("moving landmarks", moving.shape, "fixed landmarks", fixed.shape)
    known = ~(fixed.isnan() | moving.isnan()).any(-1)
    if not bool(known.any()):
        raise ValueError(
            f"landmarks are {len(moving)}, none of them known on both sides; expected rows of numbers that belong "
            "together"
        )
    start, goal = fixed[known][None].double(), moving[known][None].double()
    mapped = start if transform is None else transform.points(start)
    scores = {"landmarks": float(goal.shape[1]), **_distances("tre", mapped, goal)}
    if diagonal is not None:
        scores.update(_distances("rtre", mapped, goal, diagonal))
    if transform is not None:
        before, after = landmark_errors(start, goal), landmark_errors(mapped, goal)
        scores["tre_median_before"] = _distances("tre", start, goal)["tre_median"]
        scores["robustness"] = float(LandmarkRobustness()(after, before))
    return scores


@torch.no_grad()
def map_scores(transform: SpatialTransform, fixed_grid: SamplingGrid) -> dict[str, float]:
    """Whether a map is physically plausible, by its derivatives in world coordinates.

    Args:
        transform: fixed world points to moving world points.
        fixed_grid: where to look at it.

    Returns:
        ``folding_fraction`` (share of the voxels where the map turns the image inside out) and, for grids of more than
        four voxels along every axis, ``log_jacobian_spread`` (see :class:`~monai_cellreg.metrics.LogJacobianSpread`).
    """
    ddf = to_voxel_ddf(transform, fixed_grid, fixed_grid)  # the determinant of a map does not depend on the voxels
    scores = {"folding_fraction": float(FoldingFraction()(ddf))}
    spread = LogJacobianSpread()
    if min(fixed_grid.shape) > 2 * spread.border:
        scores["log_jacobian_spread"] = float(spread(ddf))
    return scores


def _distances(name: str, mapped: Tensor, moving: Tensor, diagonal: float | None = None) -> dict[str, float]:
    metric = TargetRegistrationError()
    values = metric(mapped, moving, diagonal=diagonal)[0].tolist()
    return {f"{name}_{column}": value for column, value in zip(metric.columns, values, strict=True)}
