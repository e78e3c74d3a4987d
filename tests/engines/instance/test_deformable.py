"""The deformable stage: landmarks, masks, time, what it starts from and what it reports."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from monai_cellreg.engines.instance import DeformableSettings, DenseDeformation, Landmarks, optimise_deformation
from monai_cellreg.engines.instance.pyramid import voxel_sizes
from monai_cellreg.geometry import (
    AffineTransform,
    BSplineTransform,
    Pair,
    SpatialTransform,
    control_lattice,
    resample,
)
from monai_cellreg.losses import LocalNormalizedCrossCorrelationLoss

Turned = Callable[[int, float], np.ndarray]
LOSS = LocalNormalizedCrossCorrelationLoss(2, 9)


class Still(nn.Module):
    """An image loss that does not pull."""

    def forward(self, warped: Tensor, fixed: Tensor, weight: Tensor | None = None) -> Tensor:
        return 0 * (warped - fixed).sum()


@pytest.fixture
def linear(flat: Any, turned: Turned) -> AffineTransform:
    return flat.affine(1.05 * turned(2, 0.2), [1.0, -2.0])


@pytest.fixture
def pair(flat: Any, linear: AffineTransform) -> Pair:
    """A pair that is bent before a linear map."""
    lattice = control_lattice(flat.fixed_grid, control_spacing=14)
    bend = torch.tensor(np.random.default_rng(3).uniform(-3.5, 3.5, (1, 2, *lattice.shape)))
    return flat.pair(BSplineTransform(bend, lattice).then(linear))


def far_apart(flat: Any, found: SpatialTransform, other: SpatialTransform) -> float:
    points = flat.fixed_grid.world().flatten(0, 1)
    return float((found.points(points) - other.points(points)).norm(dim=1).max())


def test_levels_tell_what_was_done(flat: Any, pair: Pair, linear: AffineTransform) -> None:
    settings = DeformableSettings(iterations=15, most_voxels=2000)
    found, levels = optimise_deformation(flat.images(pair), LOSS, linear, settings)
    sizes = voxel_sizes(pair.fixed_grid, 2000)
    assert len(levels) == len(sizes) >= 2
    np.testing.assert_allclose([level["voxel"] for level in levels], sizes, rtol=0.15)
    assert all(level["iterations"] <= 15 and level["last"] < level["first"] < 0 for level in levels)
    assert found.displacement(pair.fixed_grid).shape == (1, 2, *pair.fixed_grid.shape)


def test_same_input_gives_the_same_bits_and_is_left_alone(flat: Any, pair: Pair, linear: AffineTransform) -> None:
    images = flat.images(pair)
    before = [images.fixed.clone(), images.moving.clone(), linear.matrix.clone()]
    settings = DeformableSettings(iterations=10)
    maps = [optimise_deformation(images, LOSS, linear, settings)[0] for _ in range(2)]
    assert far_apart(flat, *maps) == 0
    for was, now in zip(before, (images.fixed, images.moving, linear.matrix), strict=True):
        assert torch.equal(was, now)


def test_good_start_is_kept(flat: Any, pair: Pair) -> None:
    found, _ = optimise_deformation(flat.images(pair), LOSS, pair.truth)
    assert float(flat.error(found.then(pair.truth), pair.truth).mean()) < 0.15


def test_result_goes_before_the_start(flat: Any, pair: Pair, linear: AffineTransform) -> None:
    found, _ = optimise_deformation(flat.images(pair), LOSS, linear)
    right, wrong = (float(flat.error(each, pair.truth).mean()) for each in (found.then(linear), linear.then(found)))
    assert right < 0.25 < 0.5 < wrong


def test_affine_start_is_exact_beyond_the_border(flat: Any, pair: Pair, linear: AffineTransform) -> None:
    """A start as a matrix and the same as a chain give the same result, up to the border of the field."""
    bent = BSplineTransform(torch.zeros(1, 2, 5, 5), control_lattice(flat.fixed_grid, control_shape=(5, 5)))
    settings = DeformableSettings(iterations=20)
    maps = [optimise_deformation(flat.images(pair), LOSS, start, settings)[0] for start in (linear, bent.then(linear))]
    points = flat.fixed_grid.world()[12:-12, 12:-12].flatten(0, 1)
    assert float((maps[0].points(points) - maps[1].points(points)).norm(dim=1).max()) < 0.3


def test_landmarks_pull_where_the_images_do_not(flat: Any, pair: Pair, linear: AffineTransform) -> None:
    points = flat.fixed_grid.index_to_world(torch.tensor([[12.0, 15.0], [30.0, 20.0], [40.0, 50.0]]).double())
    goal = linear.points(points) + torch.tensor([[2.0, 0.0], [0.0, -2.0], [1.5, 1.5]], dtype=torch.float64)
    landmarks = Landmarks(points, goal)
    found, _ = optimise_deformation(flat.images(pair), Still(), linear, landmarks=landmarks)
    left = (found.then(linear).points(points) - goal).norm(dim=1)
    assert float(left.max()) < 0.3
    far = flat.fixed_grid.index_to_world(torch.tensor([[2.0, 60.0]]).double())
    assert float((found.points(far) - far).norm()) < 1.0


def test_loss_of_landmarks_is_their_mean_squared_distance_in_voxels(
    flat: Any, pair: Pair, linear: AffineTransform
) -> None:
    points = flat.fixed_grid.world()[10:45:8, 10:55:8].flatten(0, 1)
    goal = linear.points(points) + torch.tensor([3.0, -1.0], dtype=torch.float64)
    images = flat.images(pair)
    settings = DeformableSettings(iterations=1, most_voxels=400)
    _, (level,) = optimise_deformation(images, Still(), linear, settings, landmarks=Landmarks(points, goal, 0.7))
    grid = images.coarser(level["voxel"]).moving_grid
    apart = np.linalg.solve(grid.affine[:2, :2], [3.0, -1.0])
    assert level["first"] == pytest.approx(0.7 * float(apart @ apart), rel=1e-3)


def test_landmarks_weigh_against_the_images(flat: Any, pair: Pair, linear: AffineTransform) -> None:
    points = flat.fixed_grid.world()[10:45:8, 10:55:8].flatten(0, 1)
    goal = pair.truth.points(points) + torch.tensor([2.0, 0.0], dtype=torch.float64)
    left = []
    for weight in (0.0, 0.02, 1.0):
        landmarks = Landmarks(points, goal, weight)
        found, _ = optimise_deformation(flat.images(pair), LOSS, linear, landmarks=landmarks)
        left.append(float((found.then(linear).points(points) - goal).norm(dim=1).mean()))
    assert left[0] > 1.5 and left[1] < left[0] and left[2] < 0.3


@pytest.mark.parametrize("limit", [0.0, 0.15])
def test_time_limit_ends_early_with_a_map(flat: Any, pair: Pair, linear: AffineTransform, limit: float) -> None:
    settings = DeformableSettings(iterations=100_000, tolerance=-1.0, time_limit=limit)
    start = time.monotonic()
    found, levels = optimise_deformation(flat.images(pair), LOSS, linear, settings)
    assert time.monotonic() - start < limit + 2
    assert sum(level["iterations"] for level in levels) >= 1
    before, after = (
        resample(pair.moving[None], each, pair.fixed_grid, pair.moving_grid) for each in (linear, found.then(linear))
    )
    error = [(each - pair.fixed[None]).square().mean() for each in (before, after)]
    assert bool(torch.isfinite(after).all()) and error[1] <= error[0] * 1.02


def test_no_tolerance_runs_on_and_a_large_one_stops(flat: Any, pair: Pair, linear: AffineTransform) -> None:
    counts = []
    for tolerance in (-1.0, 0.5):
        settings = DeformableSettings(iterations=30, tolerance=tolerance)
        _, levels = optimise_deformation(flat.images(pair), LOSS, linear, settings)
        counts.append({level["iterations"] for level in levels})
    assert counts == [{30}, {21}]  # the gain is judged over 20 steps


def test_steps_are_no_longer_than_wanted(flat: Any, pair: Pair, linear: AffineTransform) -> None:
    grid = flat.fixed_grid
    settings = DeformableSettings(iterations=1, step=0.2, smoothing=0.0, stiffness=0.0, most_voxels=400)
    found, levels = optimise_deformation(flat.images(pair), LOSS, linear, settings)
    assert len(levels) == 1
    coarse = flat.images(pair).coarser(levels[0]["voxel"]).fixed_grid
    index = coarse.world_to_index(found.points(coarse.world().flatten(0, 1))) - coarse.index().flatten(0, 1)
    assert 0.19 < float(index.abs().max()) < 0.21
    assert grid.shape != coarse.shape


@pytest.mark.parametrize("side", ["fixed", "moving"])
def test_masked_region_does_not_pull(flat: Any, pair: Pair, linear: AffineTransform, side: str) -> None:
    image = getattr(pair, side).clone()
    image[:, 22:34, 20:34] = 2 * torch.rand(1, 12, 14, generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(image)
    mask[:, 19:37, 17:37] = 0
    errors = {}
    for name, given in (
        ("clean", pair),
        ("spoilt", replace(pair, **{side: image})),
        ("masked", replace(pair, **{side: image, f"{side}_mask": mask})),
    ):
        found, _ = optimise_deformation(flat.images(given), LOSS, linear)
        errors[name] = float(flat.error(found.then(linear), pair.truth).quantile(0.7))
    print("XX", errors)
    assert errors["masked"] < errors["clean"] + 0.15 and errors["masked"] < 0.8 * errors["spoilt"], errors


def test_step_length_smoothing_and_stiffness_change_the_result(flat: Any, pair: Pair, linear: AffineTransform) -> None:
    """Stiffer is smoother: less bending of the same warp."""
    bending = []
    for stiffness in (0.0, 0.5, 2.0):
        settings = DeformableSettings(model=DenseDeformation, iterations=30, stiffness=stiffness)
        found, _ = optimise_deformation(flat.images(pair), LOSS, linear, settings)
        field = found.displacement(pair.fixed_grid)
        bending.append(float(field.diff(n=2, dim=2).square().mean() + field.diff(n=2, dim=3).square().mean()))
    assert bending[0] > bending[1] > bending[2]
