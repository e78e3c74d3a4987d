"""Starts that are searched: the best shift, beside trying them all, and known turns."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from monai_cellreg.engines.instance.search import LEAST_OVERLAP, best_shift, candidates
from monai_cellreg.geometry import AffineTransform, Pair, SamplingGrid

Turned = Callable[[int, float], np.ndarray]
Side = tuple[Tensor, Tensor]


def noise(*shape: int, seed: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def cut(shift: int, size: int) -> tuple[slice, slice]:
    """Where fixed ``x`` and moving ``x + shift`` both lie in an axis."""
    return slice(max(-shift, 0), size - max(shift, 0)), slice(max(shift, 0), size - max(-shift, 0))


def brute_force(fixed: Side, moving: Side) -> tuple[float, tuple[int, ...]]:
    """The best masked correlation and its shift among all that leave enough overlap."""
    shape = fixed[0].shape
    least = LEAST_OVERLAP * min(float(fixed[1].sum()), float(moving[1].sum()))
    best: tuple[float, tuple[int, ...]] = (-2.0, ())
    for shift in product(*[range(1 - n, n) for n in shape]):
        pairs = [cut(s, n) for s, n in zip(shift, shape, strict=True)]
        here, there = (tuple(pair[side] for pair in pairs) for side in (0, 1))
        both = (fixed[1][here] * moving[1][there]).numpy().astype(bool)
        if both.sum() < least or both.sum() < 2:
            continue
        value = float(np.corrcoef(fixed[0][here].numpy()[both], moving[0][there].numpy()[both])[0, 1])
        best = max(best, (value, shift))
    return best


@pytest.mark.parametrize("shape", [(9, 14), (15, 8), (5, 7, 6)])
@pytest.mark.parametrize("seed", [0, 1])
def test_best_shift_is_the_best_of_all(shape: tuple[int, ...], seed: int) -> None:
    sides = []
    for k in range(2):
        weight = (noise(*shape, seed=10 * seed + k) > 0.2 + 0.2 * k).float()
        sides.append((noise(*shape, seed=10 * seed + k + 5) * 3 + 7, weight))
    correlation, shift = best_shift(*sides)
    wanted, best = brute_force(*sides)
    assert correlation == pytest.approx(wanted, abs=1e-6)
    assert tuple(shift) == best


def test_known_shift_is_found_behind_masks() -> None:
    scene = noise(40, 50, seed=3)
    fixed, moving = scene[5:25, 8:38], scene[2:22, 13:43]  # moving(x + (3, -5)) = fixed(x)
    weights = [(noise(20, 30, seed=k) > 0.3).float() for k in (4, 5)]
    spoilt = [torch.where(w > 0, x, torch.full_like(x, 40.0)) for x, w in zip((fixed, moving), weights, strict=True)]
    correlation, shift = best_shift((spoilt[0], weights[0]), (spoilt[1], weights[1]))
    assert correlation == pytest.approx(1, abs=1e-6)
    assert shift.tolist() == [3, -5]


def moved_grid(grid: SamplingGrid, matrix: np.ndarray) -> SamplingGrid:
    return SamplingGrid(grid.shape, matrix @ grid.affine)


def far_pair(world: Any, linear: np.ndarray, apart: list[float]) -> Pair:
    """A turned pair of which the moving image's world is shifted so far that nothing overlaps."""
    truth = world.affine(linear, [2.0, -1.5, 1.0][: world.dims])
    pair = world.pair(truth)
    shift = np.eye(world.dims + 1)
    shift[:-1, -1] = apart
    return Pair(
        pair.fixed,
        pair.moving,
        pair.fixed_grid,
        moved_grid(pair.moving_grid, shift),
        truth=truth.then(AffineTransform(shift)),
    )


@pytest.mark.parametrize("degrees", [0, 45, 90, -105, 180])
@pytest.mark.parametrize("apart", [[0.0, 0.0], [400.0, -900.0]])
def test_turns_of_the_plane_are_found(flat: Any, turned: Turned, degrees: float, apart: list[float]) -> None:
    pair = far_pair(flat, turned(2, np.deg2rad(degrees)), apart)
    best = candidates(flat.images(pair))[0]
    assert np.rad2deg(best.angle) == pytest.approx(degrees if degrees != 180 else -180, abs=1e-6) or degrees == 180
    assert best.correlation > 0.85
    np.testing.assert_allclose(best.matrix[:2, :2], turned(2, np.deg2rad(degrees)), rtol=0, atol=1e-9)
    points = pair.fixed_grid.world()[20:30, 25:40].flatten(0, 1)
    error = (AffineTransform(best.matrix).points(points) - pair.truth.points(points)).norm(dim=1)
    assert float(error.max()) < 2.0  # the search has voxels of 1.8


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_tilts_of_a_volume_are_found(worlds: Any, axis: int) -> None:
    turn = AffineTransform.rigid(np.deg2rad(20) * np.eye(3)[axis]).matrix[0, :, :3].numpy()
    pair = far_pair(worlds[3], turn, [300.0, 80.0, -500.0])
    best = candidates(worlds[3].images(pair))[0]
    assert best.angle == pytest.approx(np.deg2rad(20))
    np.testing.assert_allclose(best.matrix[:3, :3], turn, rtol=0, atol=1e-9)
    points = pair.fixed_grid.world()[8:20, 8:20, 8:16].flatten(0, 2)
    error = (AffineTransform(best.matrix).points(points) - pair.truth.points(points)).norm(dim=1)
    assert float(error.max()) < 2.5


def test_candidates_are_sorted_and_hold_the_start_without_a_turn(world: Any, turned: Turned) -> None:
    found = candidates(world.images(far_pair(world, turned(world.dims, 0.0), [70.0] * world.dims)))
    values = [candidate.correlation for candidate in found]
    assert values == sorted(values, reverse=True)
    assert len([candidate for candidate in found if candidate.angle == 0]) == 1
    for candidate in found:
        turn = candidate.matrix[:-1, :-1]
        np.testing.assert_allclose(turn @ turn.T, np.eye(world.dims), rtol=0, atol=1e-9)
        assert np.linalg.det(turn) > 0
