"""Scores of a map by what is known of the pair."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from monai_cellreg.benchmarks.cases_scores import pair_scores
from monai_cellreg.geometry import AffineTransform, DenseTransform, Pair, SamplingGrid

FIXED = SamplingGrid((20, 16), np.array([[2.0, 0, 5], [0, 0.5, -3], [0, 0, 1]]))
MOVING = SamplingGrid((24, 18), np.array([[4.0, 0, 1], [0, 0.5, -3], [0, 0, 1]]))
TRUTH = AffineTransform.translation([8.0, 0.5])


def made(**known: object) -> Pair:
    generator = torch.Generator().manual_seed(0)
    fixed, moving = (torch.rand(1, *grid.shape, generator=generator) for grid in (FIXED, MOVING))
    return replace(Pair(fixed, moving, FIXED, MOVING), **known)


def test_map_error_counts_voxels_of_the_moving_image() -> None:
    found = AffineTransform.translation([16.0, 2.0])  # 8 and 1.5 too far: 2 and 3 moving voxels
    assert pair_scores(made(truth=TRUTH), found)["map_error_px"] == pytest.approx(np.hypot(2, 3), abs=1e-5)
    assert pair_scores(made(truth=TRUTH), TRUTH)["map_error_px"] == 0


def test_map_error_counts_only_what_can_be_found() -> None:
    """A wrong map is not punished where the truth leaves the moving image, nor outside of the label."""
    away = AffineTransform.translation([0.0, 4.0])  # the last eight columns but two leave the moving image
    field = torch.zeros(1, 2, *FIXED.shape, dtype=torch.float64)
    field[:, 1] = 4.0
    field[..., 10:] += 100.0
    found = DenseTransform(field, FIXED)
    assert pair_scores(made(truth=away), found)["map_error_px"] == pytest.approx(0, abs=1e-4)
    label = torch.zeros(1, *FIXED.shape)
    label[:, 3:6, 9] = 1
    field[..., :9] += 7.0
    inside = made(truth=away, fixed_label=label, moving_label=torch.zeros(1, *MOVING.shape))
    assert pair_scores(inside, DenseTransform(field, FIXED))["map_error_px"] == pytest.approx(0, abs=1e-4)


def test_labels_are_warped_onto_the_fixed_grid() -> None:
    labels = [torch.zeros(1, *grid.shape) for grid in (FIXED, MOVING)]
    labels[0][:, 3:11, 3:7] = 3
    labels[1][:, 5:9, 4:8] = 3
    found = AffineTransform.translation([8.8, 0.5])  # fixed index r lies at moving index r / 2 + 3.2
    scores = pair_scores(made(fixed_label=labels[0], moving_label=labels[1]), found)
    assert scores["dice"] == pytest.approx(1) and scores["hd95"] == 0
    still = pair_scores(made(fixed_label=labels[0], moving_label=labels[1]), AffineTransform(np.eye(3)))
    assert still["dice"] < 0.8 and still["hd95"] >= 2
    assert "ncc" not in still


def test_landmarks_are_measured_relative_to_the_fixed_image() -> None:
    fixed = torch.tensor([[5.0, -3.0], [10.0, 0.0]])
    pair = made(fixed_landmarks=fixed, moving_landmarks=fixed + torch.tensor([8.0, 4.5]))
    scores = pair_scores(pair, TRUTH)
    assert scores["tre_median"] == pytest.approx(4)
    assert scores["rtre_median"] == pytest.approx(4 / np.hypot(40, 8))


@pytest.mark.parametrize("channels", [1, 3])
def test_images_alone_are_compared_by_correlation(channels: int) -> None:
    image = torch.rand(channels, 20, 16, generator=torch.Generator().manual_seed(1))
    grid = SamplingGrid((20, 16))
    scores = pair_scores(Pair(image, 7 - 2 * image, grid, grid), AffineTransform(np.eye(3)))
    assert scores == pytest.approx({"folding_fraction": 0, "ncc": -1}, abs=1e-6)
