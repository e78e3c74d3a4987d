"""Coarser images over the same extent, and fields carried between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod

import numpy as np
import pytest
import torch

from monai_cellreg.engines.instance import Images
from monai_cellreg.engines.instance.pyramid import resize_field, shape_at, shrink, voxel_sizes
from monai_cellreg.geometry import AffineTransform, SamplingGrid, to_voxel_ddf

Turned = Callable[[int, float], np.ndarray]
SPACING = (0.5, 2.0, 1.25)
SHAPES = {2: (61, 24), 3: (40, 16, 21)}


def grid_of(dims: int, turned: Turned) -> SamplingGrid:
    affine = np.eye(dims + 1)
    affine[:-1, :-1] = turned(dims, 0.4) * SPACING[:dims]
    affine[:-1, -1] = [5.0, -7.0, 90.0][:dims]
    return SamplingGrid(SHAPES[dims], affine)


def corners(grid: SamplingGrid) -> np.ndarray:
    """World places of the outer borders of the first and the last voxel."""
    ends = np.array([[-0.5] * grid.spatial_dims, np.array(grid.shape) - 0.5])
    return grid.index_to_world(torch.tensor(ends)).numpy()


@pytest.fixture
def images(spatial_dims: int, turned: Turned) -> Images:
    grid = grid_of(spatial_dims, turned)
    generator = torch.Generator().manual_seed(0)
    fixed, moving = (torch.rand(1, 2, *grid.shape, generator=generator) for _ in range(2))
    mask = (torch.rand(1, 1, *grid.shape, generator=generator) > 0.5).float()
    return Images(fixed, moving, grid, grid, mask, None)


def test_shapes_of_voxels_of_a_size() -> None:
    grid = SamplingGrid((60, 24, 30), np.diag([0.5, 2.0, 1.0, 1.0]))
    assert shape_at(grid, 1.5) == (20, 24, 20)
    assert shape_at(grid, 4.0) == (8, 12, 8)  # 7.5 voxels, rounded to even
    assert shape_at(grid, 100.0) == (1, 1, 1)
    assert shape_at(grid, 0.1) == grid.shape


def test_sizes_are_halved_down_to_what_is_affordable() -> None:
    grid = SamplingGrid((200, 300), np.diag([2.0, 2.0, 1.0]))
    assert voxel_sizes(grid, 60_000) == [16.0, 8.0, 4.0, 2.0]  # 25 x 38 voxels at first, 13 x 19 would be too few
    cut = voxel_sizes(grid, 20_000)
    assert 19_000 < prod(shape_at(grid, cut[-1])) <= 20_000
    np.testing.assert_allclose(np.array(cut[:-1]) / cut[1:], 2)


def test_thin_axes_do_not_limit_the_levels_of_the_others() -> None:
    """A slice goes as far down as the plane would."""
    plane, slice_, pair = (voxel_sizes(SamplingGrid(s), 1 << 18) for s in ((96, 120), (96, 1, 120), (96, 120, 3)))
    assert plane == [4.0, 2.0, 1.0] and slice_ == plane and pair == plane
    assert voxel_sizes(SamplingGrid((96, 120, 12)), 1 << 18)[0] == 4.0


@pytest.mark.parametrize("shape", [(8, 8), (1, 40), (1, 32, 40), (3, 3, 3), (1, 1)])
def test_sizes_of_tiny_and_thin_images(shape: tuple[int, ...]) -> None:
    sizes = voxel_sizes(SamplingGrid(shape), 1 << 18)
    assert sizes[-1] == 1.0 and len(sizes) < 8
    shapes = [shape_at(SamplingGrid(shape), size) for size in sizes]
    assert len(set(shapes)) == len(shapes) and shapes[-1] == shape


def test_coarser_images_cover_the_same_extent(images: Images) -> None:
    size = 2.6
    coarse = images.coarser(size)
    for fine_grid, grid in ((images.fixed_grid, coarse.fixed_grid), (images.moving_grid, coarse.moving_grid)):
        np.testing.assert_allclose(corners(grid), corners(fine_grid), rtol=0, atol=1e-9)
        assert grid.shape == shape_at(fine_grid, size) != fine_grid.shape
        turn = (each.affine[:-1, :-1] / each.spacing for each in (grid, fine_grid))
        np.testing.assert_allclose(*turn, rtol=0, atol=1e-12)
    assert coarse.fixed.shape == (1, 2, *coarse.fixed_grid.shape)
    assert coarse.fixed_mask is not None and coarse.fixed_mask.shape == (1, 1, *coarse.fixed_grid.shape)
    assert coarse.moving_mask is None
    assert abs(float(coarse.fixed.mean() - images.fixed.mean())) < 0.01


def test_images_are_never_made_finer(images: Images) -> None:
    same = images.coarser(0.01)
    assert same.fixed_grid.shape == images.fixed_grid.shape
    assert torch.equal(same.fixed, images.fixed) and torch.equal(same.moving, images.moving)


def test_a_ramp_stays_where_it_is_in_the_world(spatial_dims: int, turned: Turned) -> None:
    grid = grid_of(spatial_dims, turned)
    slope = torch.tensor([0.3, -0.2, 0.15][:spatial_dims], dtype=torch.float64)
    ramp = (grid.world() @ slope)[None, None]
    shape = shape_at(grid, 2.2)
    coarse = shrink(ramp, shape)[0, 0]
    inner = (slice(3, -3),) * spatial_dims  # away from the border that the smoothing continues
    wanted = grid.resized(shape).world() @ slope
    assert float((coarse - wanted)[inner].abs().max()) < 1e-9


def test_shrinking_suppresses_what_the_coarse_voxels_cannot_show() -> None:
    checks = (torch.arange(64)[:, None] + torch.arange(48)).remainder(2).double()[None, None]
    assert float((shrink(checks, (16, 12)) - 0.5).abs().max()) < 0.05
    hidden = torch.zeros(1, 1, 64, 48, dtype=torch.float64)
    hidden[..., 1::4, 1::4] = 1
    assert float((shrink(hidden, (16, 12)) - 1 / 16).abs().max()) < 0.04


@pytest.mark.parametrize("factor", [0.5, 2.0, 1.7])
def test_linear_fields_are_resized_exactly(spatial_dims: int, turned: Turned, factor: float) -> None:
    grid = grid_of(spatial_dims, turned)
    other = grid.resized([round(n * factor) for n in grid.shape])
    truth = AffineTransform(
        np.eye(spatial_dims + 1) + 0.1 * np.random.default_rng(1).normal(size=[spatial_dims + 1] * 2)
    )
    resized = resize_field(to_voxel_ddf(truth, grid, grid).double(), other.shape)
    wanted = to_voxel_ddf(truth, other, other).double()
    inner = (..., *[slice(2, -2)] * spatial_dims)  # beyond the outer voxel centres a field is continued
    assert float((resized - wanted)[inner].abs().max()) < 1e-3
    assert float(wanted.abs().max()) > 3


def test_constant_fields_keep_their_length_in_the_world() -> None:
    field = torch.tensor([3.0, -4.0]).reshape(1, 2, 1, 1).expand(1, 2, 6, 9)
    found = resize_field(field, (12, 3))
    np.testing.assert_allclose(found[0, 0].numpy(), 6.0, rtol=1e-6)
    np.testing.assert_allclose(found[0, 1].numpy(), -4 / 3, rtol=1e-6)


def test_linear_maps_of_the_world_as_ones_of_voxels(images: Images, turned: Turned) -> None:
    dims = images.dims
    step = turned(dims, 0.7) @ np.diag([2.0, 0.5, 1.5][:dims])
    moving_grid = SamplingGrid(images.moving_grid.shape, np.diag([3.0, 0.7, 1.1][:dims] + [1.0]))
    asked = replace(images, moving_grid=moving_grid)
    vector = torch.tensor([1.0, -2.0, 0.5][:dims], dtype=torch.float64)
    ends = [images.fixed_grid.index_to_world(v) @ torch.tensor(step).T for v in (vector, torch.zeros_like(vector))]
    wanted = moving_grid.world_to_index(ends[0]) - moving_grid.world_to_index(ends[1])
    found = asked.to_moving(step) @ vector.float()
    np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-5, atol=1e-5)


def test_index_is_that_of_the_fixed_grid(images: Images) -> None:
    assert images.index.shape == (1, images.dims, *images.fixed_grid.shape)
    place = (5, 3, 2)[: images.dims]
    assert images.index[(0, slice(None), *place)].tolist() == list(place)
