"""What the stages are judged by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from monai_cellreg.engines.instance import Images
from monai_cellreg.engines.instance.judging import (
    affine_correlation,
    agreement,
    are_different,
    coverage,
    folded_share,
    is_plausible,
    similarities,
)
from monai_cellreg.geometry import AffineTransform, DenseTransform, SamplingGrid

Turned = Callable[[int, float], np.ndarray]


@pytest.fixture
def images(flat: Any) -> Images:
    """A pair that is aligned but for its voxels."""
    return flat.images(flat.pair(AffineTransform(np.eye(3))))


def shifted(*shift: float) -> np.ndarray:
    matrix = np.eye(3)
    matrix[:2, 2] = shift
    return matrix


def test_coverage_is_the_share_of_the_smaller_image() -> None:
    grids = [SamplingGrid((40, 50)), SamplingGrid((20, 60), np.diag([2.0, 2.0, 1.0]))]
    fixed, moving = (torch.rand(1, 1, *grid.shape) for grid in grids)
    images = Images(fixed, moving, *grids)
    assert coverage(images, np.eye(3)) == pytest.approx(1, abs=0.06)
    assert coverage(images, shifted(20.0, 0.0)) == pytest.approx(0.5, abs=0.06)
    assert coverage(images, shifted(0.0, 200.0)) == 0
    mask = torch.zeros_like(fixed)
    mask[..., :4, :4] = 1
    assert coverage(replace(images, fixed_mask=mask), np.eye(3)) == pytest.approx(1, abs=0.06)


def test_plausible_maps_stretch_little_and_stay_on_the_image(images: Images, turned: Turned) -> None:
    centre = images.fixed_grid.world().flatten(0, 1).mean(0).numpy()

    def about(linear: np.ndarray) -> np.ndarray:
        matrix = np.eye(3)
        matrix[:2, :2], matrix[:2, 2] = linear, centre - linear @ centre
        return matrix

    for linear, fine in ((turned(2, 2.0), True), (1.9 * np.eye(2), True), (2.1 * np.eye(2), False)):
        assert is_plausible(images, about(linear), np.eye(3)) is fine
    assert is_plausible(images, about(np.eye(2) / 1.9), np.eye(3))
    assert not is_plausible(images, about(np.eye(2) / 2.1), np.eye(3))
    assert is_plausible(images, about(2.1 * np.eye(2)), about(1.5 * np.eye(2)))  # only against the start
    assert not is_plausible(images, shifted(60.0, 0.0), np.eye(3))


def test_alignment_is_liked_better(images: Images) -> None:
    right, wrong = AffineTransform(np.eye(3)), AffineTransform(shifted(3.0, -2.0)[:2])
    for figure in (agreement, lambda *a: similarities(*a)[0], lambda *a: similarities(*a)[1]):
        assert figure(images, right) > 0.9 > 0.8 > figure(images, wrong)
    assert affine_correlation(images, np.eye(3)) > affine_correlation(images, shifted(3.0, -2.0)) + 0.2
    assert similarities(images, AffineTransform(shifted(900.0, 0.0)[:2])) == (-1.0, 0.0)


def test_masked_voxels_are_not_asked(images: Images) -> None:
    mask = torch.zeros_like(images.fixed)
    mask[..., 10:40, 12:50] = 1
    spoilt = replace(images, fixed=torch.where(mask > 0, images.fixed, torch.rand(mask.shape)), fixed_mask=mask)
    aligned = AffineTransform(np.eye(3))
    assert similarities(spoilt, aligned) == similarities(replace(images, fixed_mask=mask), aligned)
    assert agreement(spoilt, aligned) > 0.95


def test_folding_is_counted_whatever_the_files_order(images: Images) -> None:
    grid = SamplingGrid((20, 30))
    field = torch.zeros(1, 2, 20, 30)
    field[:, 0, 10] = -3  # a row that jumps back over others
    bent = DenseTransform(field, grid)
    plain = Images(torch.rand(1, 1, 20, 30), torch.rand(1, 1, 20, 30), grid, grid)
    backwards = SamplingGrid((20, 30), np.array([[-1.0, 0, 19], [0, 1, 0], [0, 0, 1]]))
    share = folded_share(plain, bent)
    assert share == pytest.approx(1 / 20)  # central differences see it in the row before
    assert folded_share(replace(plain, moving_grid=backwards), bent) == pytest.approx(share)
    assert folded_share(plain, AffineTransform(np.eye(3))) == 0


def test_other_relations_of_intensities_are_told_from_noise(images: Images) -> None:
    aligned = AffineTransform(np.eye(3))
    values = (images.moving - images.moving.min()) / (images.moving.max() - images.moving.min())
    fixed = (images.fixed - images.fixed.min()) / (images.fixed.max() - images.fixed.min())
    noise = 0.1 * torch.randn(values.shape, generator=torch.Generator().manual_seed(0))
    assert not are_different(replace(images, fixed=fixed, moving=(values + noise).clamp(0, 1)), aligned)
    assert not are_different(replace(images, fixed=fixed, moving=1 - values), aligned)
    assert not are_different(replace(images, fixed=fixed, moving=torch.rand_like(values)), aligned)
    assert are_different(replace(images, fixed=fixed, moving=(2 * values - 0.6).abs()), aligned)
