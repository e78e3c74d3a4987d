"""What every method that optimises one pair keeps. A new one in the table of methods needs a line in LEFT."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from torch import Tensor

import monai_cellreg as mc
from monai_cellreg.geometry import (
    AffineTransform,
    BSplineTransform,
    Pair,
    SamplingGrid,
    SpatialTransform,
    control_lattice,
)
from monai_cellreg.methods import METHODS, AccountableMethod, load_method

Turned = Callable[[int, float], np.ndarray]
LEFT = {"auto": 0.15, "affine": 0.35, "bspline": 0.15, "velocity": 0.15, "slices": 0.15}  # of the mean error, in 2D
SHAPES = {2: ((52, 64), (66, 50)), 3: ((26, 30, 24), (24, 32, 28))}
SPACING, MOVING_SPACING = (1.2, 0.8, 1.1), (0.9, 1.3, 1.0)
MIDDLE = (40.0, -25.0, 12.0)


def grid_about(middle: np.ndarray, shape: tuple[int, ...], linear: np.ndarray, frame: str) -> SamplingGrid:
    """A grid of which the centre lies at a point."""
    affine = np.eye(len(shape) + 1)
    affine[:-1, :-1] = linear
    affine[:-1, -1] = middle - linear @ ((np.array(shape) - 1) / 2)
    return SamplingGrid(shape, affine, frame)


def scene(points: Tensor, middle: np.ndarray) -> Tensor:
    """Values (N,) at world points (N, D): spots of several sizes everywhere."""
    random = np.random.default_rng(0)
    dims = points.shape[1]
    count, reach = {2: (150, 45.0), 3: (300, 26.0)}[dims]
    values = torch.zeros(len(points), dtype=torch.float64)
    for _ in range(count):
        centre = torch.tensor(middle + random.uniform(-reach, reach, dims))
        width, height = random.uniform(2, 5), random.uniform(50, 200)
        values += height * torch.exp(-(points - centre).square().sum(-1) / (2 * width**2))
    return values


def made_pair(dims: int, turned: Turned, frame: str = "index") -> Pair:
    """A pair on askew grids that is bent, turned, stretched and shifted."""
    middle = np.array(MIDDLE[:dims])
    fixed = grid_about(middle, SHAPES[dims][0], turned(dims, 0.3) * SPACING[:dims], frame)
    moving = grid_about(middle + 1, SHAPES[dims][1], turned(dims, -0.4) * MOVING_SPACING[:dims], frame)
    lattice = control_lattice(fixed, control_spacing=14)
    bend = torch.tensor(np.random.default_rng(3).uniform(-2.5, 2.5, (1, dims, *lattice.shape)))
    linear = turned(dims, 0.1) @ np.diag([1.05, 0.97, 1.02][:dims])
    shift = middle - linear @ middle + [2.0, -1.5, 1.0][:dims]
    truth = BSplineTransform(bend, lattice).then(AffineTransform(np.column_stack([linear, shift])))
    values = [scene(points, middle).float() for points in (truth.points(world(fixed)), world(moving))]
    return Pair(values[0].reshape(1, *fixed.shape), values[1].reshape(1, *moving.shape), fixed, moving, truth=truth)


def world(grid: SamplingGrid) -> Tensor:
    return grid.world().flatten(0, -2)


def shown(pair: Pair) -> Tensor:
    """Fixed world points (N, D), off the border, whose counterparts the moving image shows."""
    assert pair.truth is not None
    points = pair.fixed_grid.world()[(slice(5, -5),) * pair.fixed_grid.spatial_dims].flatten(0, -2)
    index = pair.moving_grid.world_to_index(pair.truth.points(points))
    return points[((index >= 3) & (index <= torch.tensor(pair.moving_grid.shape) - 4)).all(dim=1)]


def errors(pair: Pair, found: SpatialTransform) -> tuple[float, float]:
    """Mean distance from the truth before and after, in world units."""
    points = shown(pair)
    wanted = pair.truth.points(points)
    return float((points - wanted).norm(dim=1).mean()), float((found.points(points) - wanted).norm(dim=1).mean())


@pytest.fixture(params=LEFT)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_every_method_that_optimises_is_tested() -> None:
    assert {each for each in METHODS if METHODS[each].is_guided} == set(LEFT)


def test_known_map_is_found(name: str, spatial_dims: int, turned: Turned) -> None:
    if name == "slices" and spatial_dims == 3:
        pytest.skip("it takes stacks in 3D, which tests/methods/test_slices.py makes")
    pair = made_pair(spatial_dims, turned)
    given = [x.clone() for x in (pair.fixed, pair.moving)]
    before, after = errors(pair, load_method(name).register(pair))
    allowed = LEFT[name] if spatial_dims == 2 else max(LEFT[name], 0.35)
    assert before > 2 and after < allowed * before, (before, after)
    assert all(torch.equal(*images) for images in zip(given, (pair.fixed, pair.moving), strict=True))


def test_same_pair_same_map(name: str, turned: Turned) -> None:
    pair = made_pair(2, turned)
    maps = [load_method(name).register(pair).points(world(pair.fixed_grid)) for _ in range(2)]
    assert torch.equal(*maps)


def test_frame_and_files(name: str, turned: Turned, physical: Any, tmp_path: Path) -> None:
    """The map is the same in any frame, and SimpleITK reads it as it is meant."""
    pair = made_pair(2, turned, physical.frame)
    images = [grid.to_image(x) for grid, x in ((pair.fixed_grid, pair.fixed), (pair.moving_grid, pair.moving))]
    result = mc.register(*images, method=name)
    before, after = errors(pair, result.transform)
    assert after < LEFT[name] * before
    assert result.method == name and len(result.account) > 0
    result.transform.save(tmp_path / "map.h5")
    points = shown(pair).numpy()[::40]
    read = physical.moved(sitk.ReadTransform(str(tmp_path / "map.h5")), points)
    np.testing.assert_allclose(read, result.transform.points(points), atol=2e-2)


def test_method_heeds_masks_and_landmarks(name: str, turned: Turned) -> None:
    """What a mask hides does not count at all; landmarks are a start."""
    pair = made_pair(2, turned)
    mask = torch.zeros_like(pair.fixed)
    mask[:, 6:-6, 10:50] = 1
    noise = 300 * torch.rand(mask.shape, generator=torch.Generator().manual_seed(0))
    maps = [
        load_method(name).register(replace(pair, fixed=fixed, fixed_mask=mask)).points(world(pair.fixed_grid))
        for fixed in (pair.fixed, torch.where(mask > 0, pair.fixed, noise))
    ]
    assert torch.equal(*maps)
    points = shown(pair)[::150]
    found = load_method(name)
    assert isinstance(found, AccountableMethod)
    guided = found.run(replace(pair, fixed_landmarks=points, moving_landmarks=pair.truth.points(points)))
    before, after = errors(pair, guided.transform)
    assert after < LEFT[name] * before and "landmarks gave" in guided.account[0]


@pytest.mark.parametrize("bad", [0.0, torch.nan])
def test_nothing_to_align_is_refused(name: str, turned: Turned, bad: float) -> None:
    pair = made_pair(2, turned)
    with pytest.raises(ValueError, match="^moving (is constant|has values that are not finite)"):
        load_method(name).register(replace(pair, moving=torch.full_like(pair.moving, bad)))
