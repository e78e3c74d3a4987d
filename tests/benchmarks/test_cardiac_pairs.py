"""Pairs of hearts: which slices make one, and scores of rings and squares that are known by counting."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion, distance_transform_edt

from monai_cellreg.benchmarks.cardiac_pairs import heart_pairs, heart_scores, held_out_slices, scored_labels
from monai_cellreg.data.cine_slice import CineSlice, pixel_grid
from monai_cellreg.geometry import AffineTransform

SPACING = (1.5, 1.25)
SHIFT = 4  # rows by which the heart is lower at end systole


def square(top: int, *, rows: int = 10, label: int = 2) -> torch.Tensor:
    """A wall of two pixels around a cavity; the whole is ``rows`` x 12 pixels."""
    found = torch.zeros(36, 44, dtype=torch.uint8)
    found[top : top + rows, 12:24] = label
    found[top + 2 : top + rows - 2, 14:22] = 3
    return found


def cine(patient: str = "p1", number: int = 0, **changes: Any) -> CineSlice:
    """Three time points, end systole the second one."""
    labels = {0: square(8), 1: square(8 + SHIFT)}
    images = torch.stack([(label == 3) * 900.0 + (label == 2) * 300.0 + 50 for label in (*labels.values(), square(9))])
    told = {"images": images, "labels": labels, "ed": 0, "es": 1, "grid": pixel_grid((36, 44), SPACING)} | changes
    return CineSlice(patient, number, **told)


def test_both_orders_of_every_slice_that_can_be_scored() -> None:
    slices = [
        cine("p1", 3), cine("p1", 4, es=None), cine("p2", 0, labels={0: square(8)}),
        cine("p2", 1, labels={0: square(8), 1: torch.where(square(8, rows=5) == 3, 3, 0).byte()}), cine("p3", 11),
    ]  # fmt: skip
    case = heart_pairs("made", slices, [2])
    assert list(case.pairs) == [
        f"{p} slice {n:02d} {o}" for p, n in (("p1", 3), ("p3", 11)) for o in ("ED-ES", "ES-ED")
    ]
    assert case.groups["p3 slice 11 ES-ED"] == "p3" and case.name == "made"
    first, back = (case.pairs[f"p1 slice 03 {order}"] for order in ("ED-ES", "ES-ED"))
    fixed = np.asarray(first.fixed)[0]
    assert (fixed.min(), fixed.max()) == (0.0, 1.0) and fixed[8, 12] == pytest.approx(300 / 900)
    np.testing.assert_array_equal(first.moving, back.fixed)
    np.testing.assert_array_equal(np.asarray(first.fixed_label)[0], np.where(square(8) == 2, 2, 0))
    np.testing.assert_array_equal(np.asarray(back.fixed_label)[0] > 0, square(8 + SHIFT) == 2)
    assert first.fixed_grid.unit == "mm" and tuple(first.fixed_grid.spacing) == SPACING
    assert list(heart_pairs("made", slices[3:4], [3]).pairs) == []  # 8 pixels of cavity at end systole
    assert len(heart_pairs("made", slices[3:4], [3, 2]).pairs) == 0
    for columns, count in ((4, 0), (5, 2)):
        patch = torch.zeros(36, 44, dtype=torch.uint8)
        patch[20:24, 20 : 20 + columns] = 2
        assert len(heart_pairs("made", [cine(labels={0: square(8), 1: patch})], [2]).pairs) == count


def test_each_label_counts_where_both_phases_have_it() -> None:
    small = square(8 + SHIFT)
    small[14:18, 14:22] = 0
    one = cine(labels={0: square(8), 1: small})
    pair = heart_pairs("made", [one], [2, 3]).pairs["p1 slice 00 ED-ES"]
    assert set(np.unique(pair.fixed_label)) == {0, 2} == set(np.unique(pair.moving_label))


def surface_distances(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    edges = [x & ~binary_erosion(x) for x in (a, b)]
    return tuple(distance_transform_edt(~edges[1 - k], sampling=SPACING)[edges[k]] for k in range(2))  # type: ignore


@pytest.mark.parametrize("rows", [0, 1, SHIFT])
def test_scores_against_scipy(rows: int) -> None:
    pair = heart_pairs("made", [cine()], [2]).pairs["p1 slice 00 ED-ES"]
    found = heart_scores(pair, AffineTransform.translation([rows * SPACING[0], 0.0]))
    fixed, moving = (square(top).numpy() == 2 for top in (8, 8 + SHIFT - rows))
    distances = surface_distances(fixed, moving)
    assert found["dice"] == pytest.approx(2 * (fixed & moving).sum() / (fixed.sum() + moving.sum()))
    assert found["hd95"] == pytest.approx(max(np.percentile(d, 95) for d in distances), abs=1e-5)
    assert found["msd"] == pytest.approx(np.concatenate(distances).mean(), abs=1e-5)
    images = [np.asarray(x).ravel() for x in (pair.fixed, np.roll(np.asarray(pair.moving), -rows, 1))]
    assert found["ncc"] == pytest.approx(np.corrcoef(images)[0, 1], abs=1e-5) and found["folding_fraction"] == 0


def test_a_lost_label_is_infinitely_far() -> None:
    pair = heart_pairs("made", [cine()], [2]).pairs["p1 slice 00 ED-ES"]
    found = heart_scores(pair, AffineTransform.translation([0.0, 500.0]))
    assert found["dice"] == 0 and found["hd95"] == found["msd"] == math.inf and found["ncc"] == 0


def test_images_scaled_one_by_one_are_so_again() -> None:
    scaled = cine().images / 950
    one = cine(images=torch.stack([scaled[0], scaled[1] / 2, scaled[2]]))
    pair = heart_pairs("made", [one], [2]).pairs["p1 slice 00 ED-ES"]
    assert float(pair.moving.max()) == 1.0
    together = heart_pairs("made", [cine(images=torch.stack([cine().images[0], cine().images[1] / 2]))], [2])
    assert float(together.pairs["p1 slice 00 ED-ES"].moving.max()) == pytest.approx(0.5, abs=0.03)


def test_the_last_patients_are_held_out() -> None:
    slices = [cine(patient) for patient in ("p2", "p10", "p1", "p1")]
    assert [one.patient for one in held_out_slices(slices, 1)] == ["p2"]
    assert [one.patient for one in held_out_slices(slices, 2)] == ["p2", "p10"]
    assert len(held_out_slices(slices, 3)) == 4
    for count in (0, 4):
        with pytest.raises(ValueError, match=f"held_out is {count} but the data has 3 patients; expected 1 to 3"):
            held_out_slices(slices, count)


def test_the_cavity_is_scored_where_the_wall_is_not() -> None:
    cavity = cine(labels={0: square(8), 1: square(12, label=3)})
    assert scored_labels([cavity, cine()]) == (2,) and scored_labels([cavity]) == (3,)
    assert scored_labels([cine()], [3, 2]) == (3, 2)
    with pytest.raises(ValueError, match=r"none of 1 slices has one of the labels \[1\] with 20 pixels"):
        scored_labels([cine()], [1])
    with pytest.raises(ValueError, match=r"one of the labels \[2, 3\]"):
        scored_labels([cine(es=None)])
