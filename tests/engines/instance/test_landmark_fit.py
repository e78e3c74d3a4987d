"""The map that landmarks alone give, and what is held against another."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_cellreg.engines.instance.landmark_fit import LandmarkFit
from monai_cellreg.geometry import AffineTransform, Pair, SamplingGrid

GRID = SamplingGrid((30, 40), np.array([[2.0, 0, 5], [0, 2, -7], [0, 0, 1]]), unit="µm")  # 60 x 80 µm, diagonal 100
MOVING_GRID = SamplingGrid((60, 80), np.array([[2.0, 0, 5], [0, 2, -7], [0, 0, 1]]), unit="µm")  # diagonal 200
POINTS = torch.tensor([[6.0, 1.0], [50.0, 3.0], [20.0, 60.0], [44.0, 51.0], [30.0, 20.0]], dtype=torch.float64)


def fit_of(fixed: torch.Tensor, moving: torch.Tensor) -> LandmarkFit:
    images = torch.rand(1, 30, 40), torch.rand(1, 60, 80)
    fit = LandmarkFit.of(Pair(*images, GRID, MOVING_GRID, fixed_landmarks=fixed, moving_landmarks=moving))
    assert fit is not None
    return fit


@pytest.mark.parametrize(("count", "kind"), [(1, "translation"), (2, "translation"), (3, "rigid"), (5, "affine")])
def test_more_landmarks_determine_more(count: int, kind: str) -> None:
    fit = fit_of(POINTS[:count], POINTS[:count] + torch.tensor([3.0, -4.0]))
    assert fit.kind == kind and fit.residual(fit.transform) < 1e-9
    np.testing.assert_allclose(fit.matrix, [[1, 0, 3], [0, 1, -4], [0, 0, 1]], rtol=0, atol=1e-9)
    assert fit.residual(AffineTransform(np.eye(3))) == pytest.approx(5)


def test_a_pair_without_landmarks_has_none() -> None:
    assert LandmarkFit.of(Pair(torch.rand(1, 30, 40), torch.rand(1, 30, 40), GRID, GRID)) is None


@pytest.mark.parametrize(
    ("off", "sure", "missed"), [(3.9, False, False), (4.1, False, True), (9.9, True, False), (10.1, True, True)]
)
def test_landmarks_are_imprecise_by_a_share_of_the_moving_image(off: float, sure: bool, missed: bool) -> None:
    fit = fit_of(POINTS, POINTS)
    found = AffineTransform.translation([0.0, off])
    assert fit.is_missed_by(found, sure=sure) == missed
    said = f"Correlation led {off:.3g} µm away from the landmarks; their own map, " if missed else ""
    assert fit.objection(found, "Correlation", sure=sure).startswith(said)
    assert bool(fit.objection(found, "Correlation", sure=sure)) == missed


def test_landmarks_that_contradict_each_other_object_less() -> None:
    """Two landmarks of which a shift misses each by 30."""
    fit = fit_of(POINTS[:2], POINTS[:2] + torch.tensor([[0.0, 30.0], [0.0, -30.0]]))
    assert fit.residual(fit.transform) == pytest.approx(30)
    assert not fit.is_missed_by(fit.transform)
    assert fit.is_missed_by(AffineTransform.translation([0.0, 1.0]))


def test_landmarks_on_a_line_are_refused() -> None:
    line = torch.arange(5.0)[:, None].repeat(1, 2)
    with pytest.raises(ValueError, match="do not determine a map of kind 'affine'"):
        fit_of(line, line)
