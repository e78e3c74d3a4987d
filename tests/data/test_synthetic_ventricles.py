"""The ventricles move smoothly, lose and gain the areas they say, and leave the far field at rest."""

from __future__ import annotations

import numpy as np
import pytest

from monai_cellreg.data.cine_slice import LV_CAVITY, LV_MYOCARDIUM, RV
from monai_cellreg.data.synthetic_ventricles import Ventricles, contraction, draw_ventricles

STEP_MM = 0.4
POINTS = STEP_MM * (np.indices((500, 520)) - np.array([249.5, 259.5])[:, None, None])


@pytest.fixture(params=range(4))
def heart(request: pytest.FixtureRequest) -> Ventricles:
    return draw_ventricles(np.random.default_rng(request.param), 3)[request.param % 3]


def area(heart: Ventricles, contracted: float, label: int) -> float:
    return float((heart.label(heart.at_rest(POINTS, contracted)) == label).sum()) * STEP_MM**2


def test_a_cycle_contracts_and_fills_again() -> None:
    assert contraction(0.0) == contraction(0.85) == contraction(0.9) == contraction(1.0) == 0.0
    assert contraction(0.35) == contraction(1.35) == 1.0
    assert 0 < contraction(0.1) < contraction(0.2) < contraction(0.34) < 1 > contraction(0.4) > contraction(0.8) > 0
    assert contraction(0.175) == pytest.approx(0.5) == pytest.approx(contraction(0.6))


def test_at_end_diastole_all_is_at_rest(heart: Ventricles) -> None:
    np.testing.assert_allclose(heart.at_rest(POINTS, 0.0), POINTS, atol=1e-4)


@pytest.mark.parametrize("contracted", [0.0, 0.4, 1.0])
def test_areas_are_those_of_the_rings(heart: Ventricles, contracted: float) -> None:
    cavity = np.pi * heart.cavity**2
    assert area(heart, contracted, LV_CAVITY) == pytest.approx(cavity * (1 - heart.emptying * contracted), rel=0.02)
    wall = (np.pi * heart.outer**2 - cavity) * (1 + heart.thickening * contracted)
    assert area(heart, contracted, LV_MYOCARDIUM) == pytest.approx(wall, rel=0.02)


def test_right_ventricle_empties_too_and_lies_to_its_side(heart: Ventricles) -> None:
    assert 1.15 < area(heart, 0.0, RV) / area(heart, 1.0, RV) < 2.5
    centre = POINTS[:, heart.label(POINTS) == RV].mean(1)
    assert centre @ heart.side > 0.95 * np.linalg.norm(centre) > heart.outer


def test_the_wall_gets_thicker_and_its_outline_hardly_moves(heart: Ventricles) -> None:
    def radii(contracted: float) -> tuple[float, float]:
        inner = area(heart, contracted, LV_CAVITY)
        return np.sqrt(inner / np.pi), np.sqrt((inner + area(heart, contracted, LV_MYOCARDIUM)) / np.pi)

    (inner, outer), (inner_now, outer_now) = radii(0.0), radii(1.0)
    assert outer_now - inner_now > 1.15 * (outer - inner) and outer_now < 1.02 * outer


@pytest.mark.parametrize("contracted", [0.5, 1.0])
def test_the_map_never_folds_and_ends_far_away(heart: Ventricles, contracted: float) -> None:
    at_rest = heart.at_rest(POINTS, contracted)
    slopes = np.stack([np.gradient(component, STEP_MM) for component in at_rest])
    assert (slopes[0, 0] * slopes[1, 1] - slopes[0, 1] * slopes[1, 0]).min() > 0.1
    far = 1000.0 * np.array([[1.0, -1, 0.6], [0.2, 0.5, -1]])[:, None]
    np.testing.assert_allclose(heart.at_rest(far, contracted), far, rtol=1e-5)


def test_the_base_turns_against_the_apex() -> None:
    hearts = draw_ventricles(np.random.default_rng(1), 5)
    assert hearts[0].twist < 0 < hearts[-1].twist
    assert [h.outer for h in hearts] == sorted((h.outer for h in hearts), reverse=True)
    assert all(np.linalg.det(h.oval) == pytest.approx(1, abs=1e-5) for h in hearts)
