"""Random sample consensus against scikit-image, the known share of wrong pairs and what chance would give."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from skimage.measure import ransac
from skimage.transform import EuclideanTransform, SimilarityTransform

from monai_cellreg.geometry import AffineTransform, RobustFit, fit_affine, fit_robust, fitting_robust
from monai_cellreg.geometry.fitting_robust import false_alarms

KINDS = ("translation", "rigid", "similarity", "affine")


def truth(dims: int, kind: str) -> AffineTransform:
    vector, shift = ([0.4] if dims == 2 else [0.4, -0.5, 0.3]), [12.0, -7.0, 20.0][:dims]
    scale = 1.2 if kind == "similarity" else 1.0
    return {
        "translation": AffineTransform.translation(shift),
        "affine": AffineTransform(np.column_stack([np.eye(dims) + 0.3 * np.tri(dims), shift])),
    }.get(kind, AffineTransform.similarity(vector, scale, shift=shift))


def mixed(
    dims: int, kind: str, *, right: int = 40, wrong: int = 30, noise: float = 0.3
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs in random order of which some are wrong, and which are right."""
    rng = np.random.default_rng(0)
    fixed = rng.uniform(0, 100, size=(right + wrong, dims)) + 50
    moving = truth(dims, kind).points(fixed) + rng.uniform(-noise, noise, size=fixed.shape) / dims**0.5
    good = rng.permutation(right + wrong) < right
    away = np.abs(rng.normal(size=(wrong, dims)))  # to one side, so that a plain fit is pulled there
    moving[~good] += away / np.linalg.norm(away, axis=1, keepdims=True) * rng.uniform(5, 60, size=(wrong, 1))
    return fixed, moving, good


@pytest.mark.parametrize("kind", KINDS)
def test_finds_the_right_pairs_and_fits_them_by_least_squares(spatial_dims: int, kind: str) -> None:
    fixed, moving, good = mixed(spatial_dims, kind)
    found = fit_robust(fixed, moving, kind=kind, threshold=1.0)
    assert isinstance(found, RobustFit)
    np.testing.assert_array_equal(found.inliers, good)
    oracle = fit_affine(fixed[good], moving[good], kind=kind)
    torch.testing.assert_close(found.transform.matrix, oracle.matrix, rtol=0, atol=1e-12)
    assert np.linalg.norm(found.transform.points(fixed) - truth(spatial_dims, kind).points(fixed), axis=1).max() < 0.6
    assert np.linalg.norm(fit_affine(fixed, moving, kind=kind).points(fixed) - moving, axis=1)[good].max() > 3
    assert found.false_alarms < 1e-6


@pytest.mark.parametrize(("kind", "model"), [("rigid", EuclideanTransform), ("similarity", SimilarityTransform)])
def test_agrees_with_scikit_image(spatial_dims: int, kind: str, model: type) -> None:
    fixed, moving, _ = mixed(spatial_dims, kind)
    oracle, inliers = ransac((fixed, moving), model, spatial_dims, residual_threshold=1.0, max_trials=500, rng=0)
    found = fit_robust(fixed, moving, kind=kind, threshold=1.0)
    np.testing.assert_array_equal(found.inliers, inliers)
    np.testing.assert_allclose(found.transform.matrix[0], oracle.params[:-1], rtol=0, atol=1e-9)


def test_threshold_is_a_distance_in_world_units(spatial_dims: int) -> None:
    fixed, moving, good = mixed(spatial_dims, "translation", noise=0.0)
    first = int(np.flatnonzero(good)[0])
    for distance, kept in ((0.999, True), (1.001, False)):
        away = moving.copy()
        away[first] += distance * np.array([0.6, -0.8, 0.0])[:spatial_dims]
        assert bool(fit_robust(fixed, away, kind="translation", threshold=1.0).inliers[first]) is kept


def test_refits_until_the_inliers_no_longer_change() -> None:
    fixed, moving, good = mixed(2, "affine", noise=0.8)
    found = fit_robust(fixed, moving, threshold=1.0, iterations=60)
    residual = np.linalg.norm(found.transform.points(fixed) - moving, axis=1)
    np.testing.assert_array_equal(found.inliers, residual <= 1.0)


def two_groups(loose: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Some pairs of 40 agree on a shift by 10, loosely, the others on one by -10, closely."""
    rng = np.random.default_rng(0)
    fixed = rng.uniform(0, 100, size=(40, 2))
    noise = rng.uniform(-0.6, 0.6, size=(40, 2))
    return fixed, np.concatenate([fixed[:loose] + 10 + noise[:loose], fixed[loose:] - 10 + 0.1 * noise[loose:]])


def test_the_closest_of_equal_counts_wins() -> None:
    for order in (np.arange(40), np.arange(40)[::-1]):
        fixed, moving = (x[order] for x in two_groups())
        found = fit_robust(fixed, moving, kind="translation", threshold=1.0)
        assert found.transform.matrix[0, 0, -1] == pytest.approx(-10, abs=0.2)


@pytest.mark.parametrize("unit", [0.02, 1.0, 50.0])
def test_unit_does_not_matter(unit: float) -> None:
    fixed, moving, good = mixed(2, "rigid")
    found = fit_robust(unit * fixed, unit * moving, kind="rigid", threshold=unit)
    np.testing.assert_array_equal(found.inliers, good)
    assert math.log(found.false_alarms) == pytest.approx(
        math.log(fit_robust(fixed, moving, kind="rigid", threshold=1.0).false_alarms)
    )
    fixed, moving = two_groups(loose=28)  # distances count in full up to the threshold, so more pairs win
    found = fit_robust(unit * fixed, unit * moving, kind="translation", threshold=unit)
    assert found.transform.matrix[0, 0, -1] == pytest.approx(10 * unit, rel=0.02)


def test_samples_come_from_the_generator() -> None:
    """A single sample: which of two groups it falls on tells the seeds apart."""
    fixed, moving = two_groups()

    def shift(generator: torch.Generator | None) -> float:
        found = fit_robust(fixed, moving, kind="translation", threshold=1.5, iterations=1, generator=generator)
        return float(found.transform.matrix[0, 0, -1])

    first, second = ([shift(torch.Generator().manual_seed(seed)) for seed in range(8)] for _ in range(2))
    assert first == second
    assert min(first) < 0 < max(first)
    generator = torch.Generator().manual_seed(0)
    moved_on = [shift(generator) for _ in range(8)]
    assert min(moved_on) < 0 < max(moved_on)
    default, zero, one = [], [], []
    for _ in range(6):
        fixed, moving = np.roll(fixed, 7, axis=0), np.roll(moving, 7, axis=0)
        for shifts, source in ((default, None), (zero, 0), (one, 1)):
            shifts.append(shift(None if source is None else torch.Generator().manual_seed(source)))
    assert default == zero != one


def test_blocks_of_samples_join(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed, moving, good = mixed(2, "affine")
    for samples, iterations in ((7, 301), (1, 200), (1, 201), (1, 202)):  # the best is seldom in the last block
        monkeypatch.setattr(fitting_robust, "RESIDUALS", 70 * samples + 3)
        found = fit_robust(fixed, moving, threshold=1.0, iterations=iterations)
        np.testing.assert_array_equal(found.inliers, good)


def test_repeated_and_collinear_pairs_are_no_sample() -> None:
    fixed, moving, good = mixed(2, "affine")
    fixed = np.concatenate([np.repeat(fixed[:1], 30, axis=0), fixed])  # of three pairs many are degenerate
    moving = np.concatenate([np.repeat(moving[:1] + 500.0, 30, axis=0), moving])
    found = fit_robust(fixed, moving, threshold=1.0, iterations=3000)
    np.testing.assert_array_equal(found.inliers, np.concatenate([np.zeros(30, bool), good]))


def test_number_of_false_alarms_is_that_of_its_formula() -> None:
    moving = torch.tensor([[0.0, 0.0], [10.0, 3.0], [4.0, 20.0], [1.0, 1.0], [2.0, 2.0]], dtype=torch.float64)
    share = math.pi * 0.5**2 / (11 * 21)
    assert false_alarms(moving, 4, 2, 0.5) == pytest.approx(3 * 5 * 6 * share**2)
    space = torch.nn.functional.pad(moving, (0, 1))
    assert false_alarms(space, 5, 3, 0.5) == pytest.approx(2 * 1 * 10 * (4 / 3 * math.pi * 0.5**3 / (11 * 21 * 1)) ** 2)
    assert false_alarms(moving, 2, 2, 0.5) == false_alarms(moving, 0, 2, 0.5) == math.inf


def test_chance_is_not_taken_for_agreement(spatial_dims: int) -> None:
    """Points at random: whatever agrees does so by chance, and is refused with its number of inliers."""
    rng = np.random.default_rng(0)
    for _ in range(10):
        fixed, moving = rng.uniform(0, 100, size=(2, 60, spatial_dims))
        with pytest.raises(
            ValueError, match=r"agree on no map of kind 'affine': the best has \d+ inliers of 60 within th"
        ):
            fit_robust(fixed, moving, threshold=4.0, iterations=300)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_alone_is_no_agreement(spatial_dims: int, kind: str) -> None:
    enough = len(next(combinations(range(9), {"translation": 1, "affine": spatial_dims + 1}.get(kind, spatial_dims))))
    fixed, moving, _ = mixed(spatial_dims, kind, right=enough + 2, wrong=0, noise=0.0)
    assert bool(fit_robust(fixed, moving, kind=kind, threshold=0.5).inliers.all())
    with pytest.raises(ValueError, match=rf"the best has \d inliers of {enough} within threshold 0.5, and .* give inf"):
        fit_robust(fixed[:enough], moving[:enough], kind=kind, threshold=0.5)


def test_gradients_reach_the_inliers_only() -> None:
    fixed, moving, good = (torch.tensor(x) for x in mixed(2, "rigid"))
    found = fit_robust(fixed.requires_grad_(), moving.requires_grad_(), kind="rigid", threshold=1.0)
    gradients = torch.autograd.grad(found.transform.matrix[0, 0].sum(), (fixed, moving))
    for gradient in gradients:
        assert bool((gradient[good].abs().sum(1) > 0).all())
        assert gradient[~good].abs().max() == 0


def test_unsound_arguments_are_refused() -> None:
    fixed, moving, _ = mixed(2, "rigid")
    with pytest.raises(ValueError, match=r"^threshold is 0.0, expected finite numbers above 0"):
        fit_robust(fixed, moving, threshold=0.0)
    with pytest.raises(ValueError, match=r"^iterations is 0, expected finite numbers above 0"):
        fit_robust(fixed, moving, threshold=1.0, iterations=0)
    with pytest.raises(ValueError, match=r"^kind is 'spline', expected one of"):
        fit_robust(fixed, moving, threshold=1.0, kind="spline")
    with pytest.raises(ValueError, match=r"^fixed_points or moving_points hold 2 sets; expected one \(N, D\)"):
        fit_robust(np.stack([fixed, fixed]), moving, threshold=1.0)
    with pytest.raises(ValueError, match=r"^fixed_points has shape 70x2 and moving_points 3x2"):
        fit_robust(fixed, moving[:3], threshold=1.0)
