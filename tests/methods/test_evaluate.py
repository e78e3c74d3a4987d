"""Scores of labels, landmarks and maps against SciPy and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion, distance_transform_edt

from monai_cellreg.geometry import AffineTransform, DenseTransform, SamplingGrid
from monai_cellreg.methods.evaluate import Evaluation, label_scores, landmark_scores, map_scores

SPACING = (0.5, 2.0)


def two_label_maps() -> tuple[torch.Tensor, torch.Tensor]:
    """Two ellipses (labels 2 and 7), and the same moved by a few pixels in different directions, (1, 40, 30)."""
    row, column = np.indices((40, 30))
    maps = []
    for shift in (0, 2):
        label = np.zeros((40, 30), int)
        label[((row - 10 - shift) / 7) ** 2 + ((column - 9) / 5) ** 2 < 1] = 2
        label[((row - 28) / 6) ** 2 + ((column - 18 + shift) / 8) ** 2 < 1] = 7
        maps.append(torch.from_numpy(label)[None])
    return maps[0], maps[1]


def surface_distances(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """World distances of the surface voxels of each mask to the surface of the other, by SciPy."""
    edges = [mask & ~binary_erosion(mask, border_value=0) for mask in (a, b)]
    fields = [distance_transform_edt(~edge, sampling=SPACING) for edge in edges]
    return fields[1][edges[0]], fields[0][edges[1]]


@pytest.mark.parametrize("label", [2, 7])
def test_label_scores_are_those_of_scipy(label: int) -> None:
    fixed, warped = two_label_maps()
    found = label_scores(fixed, warped, spacing=SPACING)
    assert list(found) == [2, 7]
    a, b = (x[0].numpy() == label for x in (fixed, warped))
    ways = surface_distances(a, b)
    expected = {
        "dice": 2 * (a & b).sum() / (a.sum() + b.sum()),
        "iou": (a & b).sum() / (a | b).sum(),
        "hd95": max(np.percentile(way, 95) for way in ways),
        "msd": np.concatenate(ways).mean(),
    }
    assert found[label] == pytest.approx(expected, abs=1e-5)


def test_mean_of_the_labels() -> None:
    fixed, warped = two_label_maps()
    labels = label_scores(fixed, warped)
    mean = Evaluation(labels=labels).mean
    assert mean["dice"] == pytest.approx((labels[2]["dice"] + labels[7]["dice"]) / 2)
    assert mean["hd95"] == pytest.approx((labels[2]["hd95"] + labels[7]["hd95"]) / 2)
    assert Evaluation().mean == {}


def test_a_lost_label_counts_as_the_worst_and_a_foreign_one_not_at_all() -> None:
    fixed, warped = two_label_maps()
    lost = torch.where(warped == 7, 5, warped)
    found = label_scores(fixed, lost)
    assert found[7]["dice"] == found[7]["iou"] == 0
    assert found[7]["hd95"] == found[7]["msd"] == math.inf
    assert 5 not in found
    assert list(label_scores(fixed, lost, labels=[5])) == [5]


def test_unusable_labels_are_refused() -> None:
    fixed, warped = two_label_maps()
    with pytest.raises(ValueError, match="warped_label has shape 1x40x29 but fixed_label has shape 1x40x30"):
        label_scores(fixed, warped[..., 1:])
    with pytest.raises(ValueError, match="fixed_label holds nothing but background"):
        label_scores(0 * fixed, warped)


def test_landmark_scores_in_closed_form() -> None:
    fixed = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [5.0, 5.0]])
    moving = fixed + torch.tensor([3.0, 4.0])
    moving[3] = torch.nan
    shift = AffineTransform.translation([3.0, 0.0])
    scores = landmark_scores(fixed, moving, shift, diagonal=20.0)
    assert scores == pytest.approx(
        {
            "landmarks": 3,
            "tre_median": 4,
            "tre_mean": 4,
            "tre_max": 4,
            "rtre_median": 0.2,
            "rtre_mean": 0.2,
            "rtre_max": 0.2,
            "tre_median_before": 5,
            "robustness": 1,
        }
    )


def test_the_median_is_not_the_mean_and_robustness_counts_landmarks() -> None:
    fixed = torch.zeros(3, 2)
    moving = torch.tensor([[1.0, 0.0], [2.0, 0.0], [-9.0, 0.0]])
    scores = landmark_scores(fixed, moving, AffineTransform.translation([1.0, 0.0]))
    assert (scores["tre_median"], scores["tre_mean"], scores["tre_max"]) == pytest.approx((1, 11 / 3, 10))
    assert scores["tre_median_before"] == 2
    assert scores["robustness"] == pytest.approx(2 / 3)
    assert "rtre_median" not in scores


def test_unusable_landmarks_are_refused() -> None:
    with pytest.raises(ValueError, match="moving landmarks has shape 3x2 but fixed landmarks has shape 2x2"):
        landmark_scores(torch.zeros(2, 2), torch.zeros(3, 2))
    with pytest.raises(ValueError, match="landmarks are 2, none of them known on both sides"):
        landmark_scores(torch.zeros(2, 2), torch.full((2, 2), torch.nan))


def test_map_scores_of_folded_and_stretched_maps() -> None:
    grid = SamplingGrid((12, 10), np.array([[0, 2.0, 5], [-0.5, 0, 1], [0, 0, 1]]))
    field = torch.zeros(1, 2, 12, 10, dtype=torch.float64)
    field[:, 0, 6:] = -3  # row 5 lies behind row 6: central differences see it at both
    folded = map_scores(DenseTransform.from_voxel_ddf(field, grid), grid)
    assert folded["folding_fraction"] == pytest.approx(2 / 12)
    even = map_scores(AffineTransform(np.diag([1.5, 0.8, 1.0])), grid)
    assert even == pytest.approx({"folding_fraction": 0, "log_jacobian_spread": 0}, abs=1e-6)
    assert list(map_scores(AffineTransform(np.eye(3)), SamplingGrid((4, 9)))) == ["folding_fraction"]
