"""What is measured of one registered pair of a case."""

from __future__ import annotations

import numpy as np
import torch

from ..geometry import Pair, SpatialTransform, resample, to_voxel_ddf
from ..methods.evaluate import Evaluation, label_scores, landmark_scores, map_scores
from ..metrics import image_diagonal
from ..metrics.similarity import correlation
from ..transforms import to_grey
from ..utils import plain

__all__ = ["image_correlation", "pair_scores"]


@torch.no_grad()
def pair_scores(pair: Pair, transform: SpatialTransform) -> dict[str, float]:
    """Scores of a map by all that is known of the pair.

    Args:
        pair: with labels, landmarks or the true map, as far as they are known.
        transform: fixed world points to moving world points.

    Returns:
        ``folding_fraction``; with the true map ``map_error_px``, the mean distance of found and true positions in
        voxels of the moving image, over the labelled voxels (all, without a label) whose true position lies in the
        moving image; with landmarks ``tre_median`` and ``rtre_median``; with labels ``dice`` and ``hd95``, means over
        the labels of the fixed image; with none of these ``ncc``, the correlation of the images.
    """
    scores = {"folding_fraction": map_scores(transform, pair.fixed_grid)["folding_fraction"]}
    if pair.truth is not None:
        scores["map_error_px"] = _map_error(pair, transform)
    if pair.fixed_landmarks is not None and pair.moving_landmarks is not None:
        diagonal = image_diagonal(pair.fixed_grid.shape, pair.fixed_grid.spacing)
        found = landmark_scores(pair.fixed_landmarks, pair.moving_landmarks, transform, diagonal=diagonal)
        scores |= {name: found[name] for name in ("tre_median", "rtre_median")}
    if pair.fixed_label is not None and pair.moving_label is not None:
        warped = _warped(pair, pair.moving_label, transform, "nearest")
        labels = label_scores(pair.fixed_label, warped, spacing=pair.fixed_grid.spacing)
        mean = Evaluation(labels=labels).mean
        scores |= {name: mean[name] for name in ("dice", "hd95")}
    if len(scores) == 1:
        scores["ncc"] = image_correlation(pair.fixed, _warped(pair, pair.moving, transform))
    return scores


def image_correlation(first: torch.Tensor, second: torch.Tensor) -> float:
    """Correlation (NCC) of two images (C, *spatial), one or three channels; 0 where one is constant."""
    return float(correlation(*(to_grey(plain(torch.as_tensor(x)))[None] for x in (first, second))))


def _warped(pair: Pair, moving: torch.Tensor, transform: SpatialTransform, mode: str = "linear") -> torch.Tensor:
    return resample(plain(moving)[None], transform, pair.fixed_grid, pair.moving_grid, mode=mode)[0]


def _map_error(pair: Pair, transform: SpatialTransform) -> float:
    fields = [to_voxel_ddf(x, pair.fixed_grid, pair.moving_grid)[0].double() for x in (transform, pair.truth)]
    position = pair.fixed_grid.index().movedim(-1, 0) + fields[1]
    last = position.new_tensor(pair.moving_grid.shape).reshape(-1, *[1] * pair.moving_grid.spatial_dims) - 1
    counted = ((position >= 0) & (position <= last)).all(0)
    if pair.fixed_label is not None:
        counted &= torch.as_tensor(np.asarray(pair.fixed_label))[0] > 0
    return float((fields[0] - fields[1]).norm(dim=0)[counted].mean())
