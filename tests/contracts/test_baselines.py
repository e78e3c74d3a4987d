"""What every classical method keeps, in 2D and 3D. A new one is tested by one more line in BASELINES."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from monai_cellreg.baselines import Ants, Elastix, SimpleITKAffine, SimpleITKBSpline, SimpleITKDemons
from monai_cellreg.geometry import (
    AffineTransform,
    BSplineTransform,
    Pair,
    SamplingGrid,
    SpatialTransform,
    control_lattice,
    resample,
)

pytestmark = pytest.mark.filterwarnings("ignore:builtin type [sS]wig:DeprecationWarning")  # of how itk was built
SHAPES = {2: (60, 76), 3: (34, 40, 30)}
MOVING_SHAPES = {2: (90, 71), 3: (41, 46, 52)}
SPACING, MOVING_SPACING = (1.3, 0.9, 1.1), (0.8, 1.2, 0.9)
Turned = Callable[[int, float], np.ndarray]


@dataclass(frozen=True)
class Case:
    """A method and how much of the initial error it may leave.

    Args:
        make: of a seed.
        left: the largest share of the root mean square error in the specimen, by dimension.
        spread: how far two runs may differ, in world units, where the number of threads is not ours to set.
    """

    make: Callable[[int], Any]
    left: dict[int, float]
    spread: float = 0.0


BASELINES: dict[str, Case] = {
    "elastix": Case(lambda seed: Elastix(iterations=40, seed=seed, threads=1), {2: 0.2, 3: 0.12}),
    "simpleitk-affine": Case(lambda seed: SimpleITKAffine(seed=seed, threads=1), {2: 0.25, 3: 0.2}),
    "simpleitk": Case(lambda seed: SimpleITKBSpline(iterations=40, seed=seed, threads=1), {2: 0.1, 3: 0.1}),
    "simpleitk-demons": Case(lambda seed: SimpleITKDemons(seed=seed, threads=1), {2: 0.16, 3: 0.4}),
    "ants": Case(lambda seed: Ants(seed=seed), {2: 0.12, 3: 0.2}, spread=0.5),
}


@pytest.fixture(params=BASELINES)
def case(request: pytest.FixtureRequest) -> Case:
    if request.param == "ants":
        pytest.importorskip("ants")
    return BASELINES[request.param]


def grid_about(middle: np.ndarray, shape: tuple[int, ...], linear: np.ndarray, frame: str) -> SamplingGrid:
    """A grid of which the centre lies at a point."""
    affine = np.eye(len(shape) + 1)
    affine[:-1, :-1] = linear
    affine[:-1, -1] = middle - linear @ ((np.array(shape) - 1) / 2)
    return SamplingGrid(shape, affine, frame)


def specimen(points: torch.Tensor, middle: np.ndarray) -> torch.Tensor:
    """Grey values (N,) at world points (N, D) around a middle: an ellipsoid with spots of several sizes."""
    rng = np.random.default_rng(0)
    dims = points.shape[-1]
    radius = torch.tensor([24.0, 19.0, 16.0][:dims])
    x = (points - torch.tensor(middle)) / radius
    values = 60 * torch.sigmoid(12 * (1 - x.norm(dim=-1)))
    for _ in range(25 * (dims - 1)):
        centre, width = torch.tensor(rng.uniform(-0.8, 0.8, dims)), rng.uniform(0.08, 0.2)
        values += rng.uniform(30, 90) * torch.exp(-((x - centre) ** 2).sum(-1) / (2 * width**2))
    return values


def known_map(grid: SamplingGrid, where: np.ndarray, turned: Turned) -> SpatialTransform:
    """Bending, then an affine map about the specimen, which is not symmetric."""
    dims = grid.spatial_dims
    lattice = control_lattice(grid, control_spacing=14)
    bend = torch.tensor(np.random.default_rng(3).uniform(-2.5, 2.5, (1, dims, *lattice.shape)))
    linear = turned(dims, 0.12) @ np.diag([1.06, 0.95, 1.03][:dims])
    shift = where - linear @ where + [2.5, -2.0, 1.5][:dims]
    return BSplineTransform(bend, lattice).then(AffineTransform(np.column_stack([linear, shift])))


@pytest.fixture
def pair(physical: Any, spatial_dims: int, turned: Turned) -> Pair:
    """A specimen off the centre, on askew grids of different voxels; the moving one is turned, stretched and bent."""
    frame, where = physical.frame, np.array([40.0, -25.0, 12.0][:spatial_dims])
    fixed = grid_about(where + 2, SHAPES[spatial_dims], turned(spatial_dims, 0.3) * SPACING[:spatial_dims], frame)
    linear = turned(spatial_dims, -0.4) * MOVING_SPACING[:spatial_dims]
    moving = grid_about(where - 1, MOVING_SHAPES[spatial_dims], linear, frame)
    truth = known_map(fixed, where, turned)
    return Pair(
        fixed=specimen(truth.points(fixed.world().flatten(0, -2)), where).reshape(1, *fixed.shape).float(),
        moving=specimen(moving.world().flatten(0, -2), where).reshape(1, *moving.shape).float(),
        fixed_grid=fixed,
        moving_grid=moving,
        truth=truth,
    )


def moved_by(affine: np.ndarray, grid: SamplingGrid) -> SamplingGrid:
    """The grid after an affine map (D+1, D+1) of its world."""
    return SamplingGrid(grid.shape, affine @ grid.affine, grid.frame, grid.unit)


def share_left(pair: Pair, found: SpatialTransform) -> float:
    """Root mean square error in the specimen over that of no registration."""
    inside = pair.fixed_grid.world()[pair.fixed[0] > 30]
    true = pair.truth.points(inside)
    error, start = ((points - true).square().sum(-1).mean().sqrt() for points in (found.points(inside), inside))
    assert start > 3
    return float(error / start)


def test_known_map_is_found(case: Case, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = [image.clone() for image in (pair.fixed, pair.moving)]
    found = case.make(1).register(pair)
    assert os.listdir(tmp_path) == []
    assert all(torch.equal(*images) for images in zip(before, (pair.fixed, pair.moving), strict=True))
    assert found.points(np.zeros((1, pair.fixed_grid.spatial_dims))).shape == (1, pair.fixed_grid.spatial_dims)
    left, limit = share_left(pair, found), case.left[pair.fixed_grid.spatial_dims]
    assert left < limit, left

    identity = AffineTransform.translation([0.0] * pair.fixed_grid.spatial_dims)
    warped, true, unmoved = (
        resample(pair.moving[None], each, pair.fixed_grid, pair.moving_grid)[0, 0][pair.fixed[0] > 30]
        for each in (found, pair.truth, identity)
    )
    assert (warped - true).square().mean() < (2 * limit) ** 2 * (unmoved - true).square().mean()


@pytest.mark.parametrize("spatial_dims", [2], ids=["2d"], indirect=True)
@pytest.mark.parametrize("physical", ["RAS"], indirect=True)
@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_unit_and_place_do_not_matter(case: Case, pair: Pair, scale: float) -> None:
    apart, unit = np.eye(3), np.diag([scale, scale, 1.0])
    apart[:2, 2] = [300.0, -900.0]  # no voxel of one image lies in the other
    grids = moved_by(unit, pair.fixed_grid), moved_by(unit @ apart, pair.moving_grid)
    found = case.make(1).register(Pair(pair.fixed, pair.moving, *grids))
    back = [AffineTransform(each[:2]) for each in (unit, np.linalg.inv(unit @ apart))]
    left = share_left(pair, back[0].then(found).then(back[1]))
    assert left < case.left[2], left


@pytest.mark.parametrize("spatial_dims", [2], ids=["2d"], indirect=True)
@pytest.mark.parametrize("physical", ["index"], indirect=True)
def test_same_seed_same_map(case: Case, pair: Pair) -> None:
    points = pair.fixed_grid.world().flatten(0, -2).numpy()
    maps = [case.make(5).register(pair).points(points) for _ in range(2)]
    np.testing.assert_allclose(maps[0], maps[1], rtol=0, atol=case.spread)


@pytest.mark.parametrize("spatial_dims", [2], ids=["2d"], indirect=True)
@pytest.mark.parametrize("physical", ["index"], indirect=True)
def test_empty_image_is_refused(case: Case, pair: Pair) -> None:
    empty = replace(pair, moving=torch.zeros_like(pair.moving))
    with pytest.raises(ValueError, match="^moving has the value 0 everywhere; expected an image with contrast"):
        case.make(1).register(empty)
