"""Affine registration of images whose map is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from monai_cellreg.engines.instance import LinearSettings, optimise_affine
from monai_cellreg.engines.instance.linear import half_extent, linear_loss, overlap
from monai_cellreg.engines.instance.similarity import correlation_loss
from monai_cellreg.geometry import AffineTransform, Pair, SamplingGrid, resample, to_voxel_ddf, warp

Turned = Callable[[int, float], np.ndarray]


def linear_map(kind: str, dims: int, turned: Turned) -> np.ndarray:
    """A linear map of a kind, different along the axes where the kind allows."""
    turn = turned(dims, 0.1)
    if kind == "rigid":
        return turn
    if kind == "similarity":
        return 1.08 * turn
    shear = np.eye(dims)
    shear[0, 1] = 0.06
    return turn @ shear @ np.diag([1.07, 0.94, 1.02][:dims])


def known(world: Any, kind: str, turned: Turned) -> Pair:
    return world.pair(world.affine(linear_map(kind, world.dims, turned), [2.0, -1.5, 1.0][: world.dims]))


def found_by(world: Any, pair: Pair, kind: str = "affine") -> AffineTransform:
    start = np.eye(world.dims + 1)
    matrix, _ = optimise_affine(world.images(pair), correlation_loss, start, LinearSettings(kind=kind))
    assert np.array_equal(start, np.eye(world.dims + 1))
    return AffineTransform(matrix)


@pytest.mark.parametrize("kind", ["rigid", "similarity", "affine"])
def test_known_map_is_found(world: Any, turned: Turned, kind: str) -> None:
    pair = known(world, kind, turned)
    before = [x.clone() for x in (pair.fixed, pair.moving)]
    found = found_by(world, pair, kind)
    start = world.error(AffineTransform(np.eye(world.dims + 1)), pair.truth)
    error = world.error(found, pair.truth)
    assert float(start.mean()) > 2 and float(error.max()) < 0.35, (start.mean(), error.max())
    assert all(torch.equal(*each) for each in zip(before, (pair.fixed, pair.moving), strict=True))


def test_kinds_keep_their_constraint_and_take_the_rest(world: Any, turned: Turned) -> None:
    pair = known(world, "affine", turned)
    stretches = {}
    for kind in ("rigid", "similarity", "affine"):
        linear = found_by(world, pair, kind).matrix[0, :, :-1].numpy()
        stretches[kind] = np.linalg.svd(linear, compute_uv=False)
    np.testing.assert_allclose(stretches["rigid"], 1, rtol=0, atol=1e-5)
    assert np.ptp(stretches["similarity"]) < 1e-5 < abs(stretches["similarity"][0] - 1)
    assert np.ptp(stretches["affine"]) > 0.05


def test_start_comes_after_the_change(world: Any, turned: Turned) -> None:
    pair = known(world, "rigid", turned)
    shift = np.eye(world.dims + 1)
    shift[:-1, -1] = [500.0, -300.0, 200.0][: world.dims]
    far = replace(pair, moving_grid=SamplingGrid(pair.moving_grid.shape, shift @ pair.moving_grid.affine))
    matrix, _ = optimise_affine(world.images(far), correlation_loss, shift, LinearSettings(kind="rigid"))
    back = AffineTransform(np.linalg.inv(shift) @ matrix)
    assert float(world.error(back, pair.truth).max()) < 0.35


def test_loss_of_the_result_is_the_one_given(flat: Any, turned: Turned) -> None:
    pair = known(flat, "affine", turned)
    matrix, value = optimise_affine(flat.images(pair), correlation_loss, np.eye(3))
    warped = resample(pair.moving[None], AffineTransform(matrix), pair.fixed_grid, pair.moving_grid)
    seen = overlap(flat.images(pair), to_voxel_ddf(AffineTransform(matrix), pair.fixed_grid, pair.moving_grid))
    direct = -float(correlation_loss(warped, pair.fixed[None], seen))
    assert direct == pytest.approx(-value, abs=0.01) and direct > 0.98


def test_loss_of_a_map_is_that_of_the_warped_image(world: Any, turned: Turned) -> None:
    pair = known(world, "affine", turned)
    images, seen = world.images(pair), []
    start = np.vstack(
        [world.affine(turned(world.dims, 0.05), [1.0] * world.dims).matrix[0].numpy(), np.eye(world.dims + 1)[-1]]
    )
    change = np.eye(world.dims + 1) + 0.01 * np.random.default_rng(0).normal(size=[world.dims + 1] * 2)
    change[-1] = np.eye(world.dims + 1)[-1]

    def recorded(warped: torch.Tensor, fixed: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        seen.extend([warped, fixed, weight])
        return warped.sum()

    linear_loss(images, recorded, torch.tensor(change).float(), start)
    transform = AffineTransform(change).then(AffineTransform(start))
    wanted = resample(pair.moving[None], transform, pair.fixed_grid, pair.moving_grid)
    assert float((seen[0] - wanted).abs().max()) < 1e-3
    assert seen[1] is images.fixed
    assert torch.equal(seen[2], overlap(images, to_voxel_ddf(transform, pair.fixed_grid, pair.moving_grid)))


def test_overlap_is_what_both_show_and_both_masks_count(world: Any, turned: Turned) -> None:
    pair = known(world, "affine", turned)
    generator = torch.Generator().manual_seed(0)
    masks = [(torch.rand(x.shape, generator=generator) > 0.4) for x in (pair.fixed, pair.moving)]
    images = world.images(replace(pair, fixed_mask=masks[0], moving_mask=masks[1]))
    field = to_voxel_ddf(pair.truth, pair.fixed_grid, pair.moving_grid)
    place = images.index + field
    ends = torch.tensor(pair.moving_grid.shape).reshape(1, -1, *[1] * world.dims) - 0.5
    inside = ((place >= -0.5) & (place <= ends)).all(dim=1, keepdim=True)
    wanted = inside * warp(masks[1][None].float(), field) * masks[0][None]
    assert 0.2 < float(inside.float().mean()) < 0.99
    assert float((overlap(images, field) - wanted).abs().max()) < 1e-6


@pytest.mark.parametrize("side", ["fixed", "moving"])
def test_masked_region_does_not_count(flat: Any, turned: Turned, side: str) -> None:
    pair = known(flat, "affine", turned)
    image = getattr(pair, side).clone()
    image[:, 22:44, 20:42] = 5 * torch.rand(1, 22, 22, generator=torch.Generator().manual_seed(0)) + 4
    mask = torch.ones_like(image)
    mask[:, 18:48, 16:46] = 0
    spoilt = found_by(flat, replace(pair, **{side: image}))
    masked = found_by(flat, replace(pair, **{side: image, f"{side}_mask": mask}))
    left, clean = (float(flat.error(found, pair.truth).mean()) for found in (masked, found_by(flat, pair)))
    assert left < 0.3 and left < clean + 0.2
    assert float(flat.error(spoilt, pair.truth).mean()) > 3 * left


def test_same_input_gives_the_same_bits(flat: Any, turned: Turned) -> None:
    pair = known(flat, "affine", turned)
    assert torch.equal(found_by(flat, pair).matrix, found_by(flat, pair).matrix)


def test_settings_and_extent() -> None:
    with pytest.raises(ValueError, match="kind is 'afine', expected one of 'rigid', 'similarity', 'affine'"):
        LinearSettings(kind="afine")
    centre, extent = half_extent(SamplingGrid((5, 9), np.array([[0.0, 2.0, 10.0], [3.0, 0.0, 20.0], [0, 0, 1]])))
    assert centre.tolist() == [18.0, 26.0] and extent == 9.0
