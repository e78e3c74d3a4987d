"""What the images or the heat maps still show is followed, after the network's map, and nothing is made worse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates
from torch import Tensor

from monai_cellreg.data import simulated_digits
from monai_cellreg.geometry import AffineTransform, SamplingGrid, resample
from monai_cellreg.inferers import PairPrediction
from monai_cellreg.methods import LearnedMethod, Refinement, refinement

SIZE = (64, 96)
FIXED_GRID = SamplingGrid(SIZE, np.array([[2.0, 0, 10], [0, 2.0, -30], [0, 0, 1]]))
MOVING_GRID = SamplingGrid(SIZE, np.array([[0, 2.0, 5], [-2.0, 0, 100], [0, 0, 1]]))  # turned by a right angle
ROUGH = AffineTransform(  # between the worlds so that index is index, but for a shift
    MOVING_GRID.affine @ np.array([[1, 0, 2.0], [0, 1, -1.5], [0, 0, 1]]) @ np.linalg.inv(FIXED_GRID.affine)
)
INNER = np.stack(np.meshgrid(np.arange(16, 48, 4.0), np.arange(20, 76, 4.0), indexing="ij"), -1).reshape(-1, 2)


def true_index(index: np.ndarray) -> np.ndarray:
    """Where a fixed index (..., 2) lies in the moving image: the shift and a bend of up to two voxels."""
    bend = 2 * np.stack([np.sin(index[..., 1] / 15), np.cos(index[..., 0] / 12)], axis=-1)
    return index + [2.0, -1.5] + bend


def read(scene: np.ndarray, index: np.ndarray) -> Tensor:
    """A scene, which has a margin of 20 voxels, at index coordinates (H, W, 2)."""
    values = map_coordinates(scene, np.moveaxis(index + 20, -1, 0), order=3)
    return torch.from_numpy(values).float()[None, None]


def predicted(*, textured: bool = True, outlined: bool = True) -> PairPrediction:
    """Images of one scene and heat maps of one nucleus, with a map that knows the shift alone."""
    rng = np.random.default_rng(0)
    margin = tuple(s + 40 for s in SIZE)
    texture = gaussian_filter(rng.normal(size=margin), 3) * (20 if textured else 0) + 0.5
    row, column = np.indices(margin) - np.array([20, 20])[:, None, None]
    nucleus = 1 / (1 + np.exp((((row - 33) / 20) ** 2 + ((column - 47) / 30) ** 2 - 1) * 8)) * outlined
    at = np.moveaxis(np.indices(SIZE), 0, -1).astype(float)
    sides = [torch.cat([read(part, where) for part in (texture, nucleus)], 1) for where in (true_index(at), at)]
    return PairPrediction(ROUGH, *sides, FIXED_GRID, MOVING_GRID)


def errors(transform: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Distances in voxels of mapped inner points from the truth."""
    world = INNER @ FIXED_GRID.affine[:2, :2].T + FIXED_GRID.affine[:2, 2]
    back = np.linalg.inv(MOVING_GRID.affine)
    found = np.asarray(transform(world)) @ back[:2, :2].T + back[:2, 2]
    return np.linalg.norm(found - true_index(INNER), axis=1)


def test_bend_that_the_network_did_not_find_is_found() -> None:
    given = predicted()
    before = given.fixed.clone(), given.moving.clone()
    first, second = (Refinement()(given).points for _ in range(2))
    assert errors(ROUGH.points).mean() > 1.5
    assert errors(first).mean() < 0.35 and errors(first).max() < 1
    np.testing.assert_array_equal(errors(first), errors(second))
    assert torch.equal(given.fixed, before[0]) and torch.equal(given.moving, before[1])


def test_heat_maps_count_by_their_weight() -> None:
    """Of images that show nothing."""
    given = predicted(textured=False)
    world = FIXED_GRID.affine[:2, :2] @ [33, 17] + FIXED_GRID.affine[:2, 2]  # at the contour
    moved = {overlap: Refinement(overlap=overlap)(given).points(world[None]) for overlap in (0.0, 30.0)}
    np.testing.assert_allclose(moved[0.0], ROUGH.points(world[None]), rtol=0, atol=1e-3)
    assert np.abs(moved[30.0] - moved[0.0]).max() > 1


def test_images_count_without_heat_maps() -> None:
    assert errors(Refinement(overlap=0.0)(predicted(outlined=False)).points).mean() < 0.35


def test_images_of_a_network_without_heat_maps_are_followed() -> None:
    given = predicted()
    alone = replace(given, fixed=given.fixed[:, :1], moving=given.moving[:, :1])
    found = Refinement()(alone)
    assert errors(found.points).mean() < 0.35 < 1.5 < errors(ROUGH.points).mean()
    warped = [resample(alone.moving, each, FIXED_GRID, MOVING_GRID) for each in (found, ROUGH)]
    after, before = (np.corrcoef(image.ravel(), alone.fixed.ravel())[0, 1] for image in warped)
    assert after > before + 0.1
    np.testing.assert_array_equal(errors(found.points), errors(Refinement(overlap=7.0)(alone).points))


def test_small_images_are_refined_at_their_own_resolution() -> None:
    """Half of 28 pixels is too coarse for the strokes of a digit: correlations of 0.72 to 0.89 there."""
    images, classes = simulated_digits(2, seed=3)
    for digit in (2, 3, 5, 8):
        fixed, moving = torch.from_numpy(images[classes == digit]).float()[:, None, None] / 255
        grid = SamplingGrid((28, 28))
        found = PairPrediction(AffineTransform(np.eye(3)), fixed[None, 0], moving[None, 0], grid, grid)
        warped = resample(moving[None, 0], Refinement(20, overlap=0.0)(found), grid, grid)
        assert np.corrcoef(fixed.flatten(), warped.flatten())[0, 1] > (0.9 if digit == 8 else 0.82)


def test_stiffer_and_shorter_refinements_follow_the_bend_less() -> None:
    stiff, short = (errors(each(predicted()).points).mean() for each in (Refinement(stiffness=1e4), Refinement(1)))
    assert stiff > 1 and short > 0.4


def test_result_that_folds_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    given = predicted()
    shares = iter([0.1, 0.0])  # of the refined map, then of the network's
    monkeypatch.setattr(refinement, "folded_share", lambda images, found: next(shares))
    assert Refinement(1)(given) is ROUGH
    monkeypatch.setattr(refinement, "folded_share", lambda images, found: 0.1)  # of both alike
    assert Refinement(1)(given) is not ROUGH


def test_learned_method_refines_every_pair_that_it_registers() -> None:
    class Inferer:
        def batch(self, pairs: list[str], network: object) -> list[PairPrediction]:
            return [predicted() for _ in pairs]

    alone = LearnedMethod(None, Inferer()).register_batch(["first", "second"])
    refined = LearnedMethod(None, Inferer(), Refinement()).register_batch(["first", "second"])
    assert all(transform is ROUGH for transform in alone)
    assert all(errors(transform.points).mean() < 0.35 for transform in refined)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"iterations": 0}, "^iterations is 0, expected"),
        ({"stiffness": -1.0}, "^stiffness is -1.0, expected"),
        ({"overlap": -0.5}, "^overlap is -0.5, expected"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Refinement(**settings)
