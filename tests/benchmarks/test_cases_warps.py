"""The warped pictures: the truth is exact, needs no border and no download."""

from __future__ import annotations

import socket
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from monai_cellreg.benchmarks import cases_warps
from monai_cellreg.benchmarks.cases_warps import MARGIN, SUBJECTS, known_warps, random_map
from monai_cellreg.geometry import Pair, SamplingGrid

QUICK = known_warps(quick=True)


def test_no_picture_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    for picture in {load for both in SUBJECTS.values() for load in both}:
        assert picture().ndim in (2, 3)


@pytest.mark.parametrize("load", list(QUICK.values()), ids=list(QUICK))
def test_fixed_is_the_moving_picture_read_through_the_map(
    load: Callable[[], Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By SciPy, without the noise and the gamma, which are each image's own."""
    monkeypatch.setattr(cases_warps, "_seen", lambda image, rng: image)
    pair = load()
    points = pair.fixed_grid.world().reshape(-1, 2).numpy()
    found = pair.truth.points(points).T
    moving, fixed = (np.asarray(x)[0].astype(float) for x in (pair.moving, pair.fixed))
    if "stains" in pair_name(load):
        assert np.abs(np.corrcoef(moving.ravel(), fixed.ravel())[0, 1]) < 0.9
        return
    inside = ((found > 8) & (found < np.array(moving.shape)[:, None] - 9)).all(0)
    theirs = map_coordinates(moving, found, order=3)[inside]
    assert inside.mean() > 0.5
    assert np.abs(theirs - fixed.ravel()[inside]).max() < 0.1  # of 255


def pair_name(load: Callable[[], Pair]) -> str:
    return load.args[0]


@pytest.mark.parametrize("seed", range(5))
def test_the_map_stays_within_the_margin_and_does_not_fold(seed: int) -> None:
    grid = SamplingGrid((90, 120))
    found = random_map(grid, np.random.default_rng(seed))
    index = found.points(grid.world().reshape(-1, 2).numpy())
    border = MARGIN * np.array(grid.shape)
    assert (index > -border).all() and (index < grid.shape + border - 1).all()
    assert np.linalg.norm(index - grid.world().reshape(-1, 2).numpy(), axis=1).mean() > 2
    determinant = found.jacobian_determinant(grid)
    assert 0.6 < float(determinant.min()) < float(determinant.max()) < 1.6


def test_pairs_have_intensities_of_their_own() -> None:
    pair = QUICK["microaneurysms0"]()
    for image in (pair.fixed, pair.moving):
        assert image.dtype == torch.float32 and float(image.min()) >= 0 and float(image.max()) <= 255
        rough = np.asarray(image)[0] - gaussian_filter(np.asarray(image)[0], 2)
        assert rough.std() > 0.5


def test_the_stains_and_the_colours_are_what_they_say() -> None:
    assert QUICK["tissue0"]().fixed.shape[0] == 3
    assert QUICK["stains0"]().fixed.shape[0] == 1
    assert QUICK["cell0"]().fixed_grid.shape[1] == 128  # the shorter side
    assert known_warps()["cell0"]().fixed_grid.shape[1] == 256
