"""Distances of surfaces against all pairs of boundary points, found voxel by voxel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist
from torch import Tensor

from monai_cellreg.metrics import HausdorffDistance, MeanSurfaceDistance

SPACING = {2: (0.5, 3.0), 3: (2.0, 0.7, 1.3)}
SIZE = {2: (21, 30), 3: (10, 9, 13)}


def blobs(seed: int, dims: int) -> Tensor:
    """Two label maps of smooth blobs of the labels 0, 1 and 2; they reach the edge of the image."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(2, 1, *SIZE[dims])), (0, 0, *[2] * dims))
    noise /= noise.std()
    return torch.from_numpy((noise > 0.3).astype(int) + (noise > 1.0))


def boundary(mask: np.ndarray) -> np.ndarray:
    """Index of each voxel of a mask that lies beside a voxel outside it, or at the edge of the image."""
    points = []
    for where in np.argwhere(mask):
        for axis, step in np.ndindex(mask.ndim, 2):
            beside = where.copy()
            beside[axis] += 2 * step - 1
            if not (0 <= beside[axis] < mask.shape[axis]) or not mask[tuple(beside)]:
                points.append(where)
                break
    return np.array(points)


def distances(a: np.ndarray, b: np.ndarray, spacing: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Distance of each boundary point of either mask to the nearest of the other."""
    between = cdist(boundary(a) * spacing, boundary(b) * spacing)
    return between.min(axis=1), between.min(axis=0)


@pytest.mark.parametrize("percentile", [50.0, 95.0, 100.0])
def test_hausdorff_distance_is_the_larger_of_two_percentiles(spatial_dims: int, percentile: float) -> None:
    predicted, true, spacing = blobs(0, spatial_dims), blobs(1, spatial_dims), SPACING[spatial_dims]
    expected = [
        [max(np.percentile(d, percentile) for d in distances(p[0] == k, y[0] == k, spacing)) for k in (2, 1)]
        for p, y in zip(predicted.numpy(), true.numpy(), strict=True)
    ]
    metric = HausdorffDistance([2, 1], spacing=spacing, percentile=percentile)
    np.testing.assert_allclose(metric(predicted, true).numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(metric(true, predicted).numpy(), expected, rtol=1e-5)
    assert metric.aggregate().item() == pytest.approx(np.mean(expected), rel=1e-5)


def test_percentile_is_95_and_of_each_direction_by_itself() -> None:
    predicted, true = blobs(0, 2), blobs(1, 2)
    there, back = distances(predicted[0, 0].numpy() == 1, true[0, 0].numpy() == 1, (1, 1))
    measured = HausdorffDistance()(predicted, true)[0].item()
    assert measured == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)), rel=1e-5)
    assert measured > np.percentile(np.concatenate([there, back]), 95) + 1e-3


def test_mean_surface_distance_is_that_of_both_surfaces_together(spatial_dims: int) -> None:
    predicted, true, spacing = blobs(0, spatial_dims), blobs(1, spatial_dims), SPACING[spatial_dims]
    expected = [
        [np.concatenate(distances(p[0] == k, y[0] == k, spacing)).mean() for k in (1, 2)]
        for p, y in zip(predicted.numpy(), true.numpy(), strict=True)
    ]
    metric = MeanSurfaceDistance([1, 2], spacing=spacing)
    np.testing.assert_allclose(metric(predicted, true).numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(metric(true, predicted).numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("metric", [HausdorffDistance, MeanSurfaceDistance])
def test_moved_block_is_as_far_as_it_moved(metric: type) -> None:
    one, other = torch.zeros(2, 1, 1, 9, 12)
    one[..., 4, 2:5], other[..., 4, 7:10] = 1, 1
    expected = (5 + 4 + 3) / 3 if metric is MeanSurfaceDistance else np.percentile([5, 4, 3], 95)
    assert metric(spacing=(9.0, 0.5))(one, other).item() == pytest.approx(0.5 * expected)
    assert metric()(one, one).item() == 0


@pytest.mark.filterwarnings("error:.*is all 0")
@pytest.mark.parametrize("metric", [HausdorffDistance, MeanSurfaceDistance])
def test_label_of_one_side_is_infinitely_far_and_of_none_left_out(metric: type) -> None:
    predicted, true = torch.tensor([[[[0, 1, 2, 2]]]]), torch.tensor([[[[1, 0, 5, 5]]]])
    measure = metric([1, 2, 5, 9])
    np.testing.assert_array_equal(measure(predicted, true), [[1, np.inf, np.inf, np.nan]])
    assert measure.aggregate() == torch.inf
    alone = metric([1, 9])
    alone(predicted, true)
    assert alone.aggregate() == 1


def test_bad_settings_are_refused() -> None:
    for percentile in (0, 101, float("nan")):
        with pytest.raises(ValueError, match="^percentile is .* expected a number above 0 and up to 100"):
            HausdorffDistance(percentile=percentile)
    with pytest.raises(ValueError, match=r"^spacing is \(1, 2, 3\) for 2 axes, expected one number"):
        MeanSurfaceDistance(spacing=(1, 2, 3))(blobs(0, 2), blobs(1, 2))
    with pytest.raises(ValueError, match="^spacing is .*expected finite numbers above 0"):
        HausdorffDistance(spacing=-1.0)
