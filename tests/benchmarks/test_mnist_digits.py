"""Pairs of digits and their scores, against NumPy."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from monai_cellreg.benchmarks.mnist_digits import (
    WARPED,
    digit_pairs,
    digit_scores,
    mean_warped,
    read_digit_pairs,
)
from monai_cellreg.geometry import AffineTransform

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (40, 9, 12), dtype=np.uint8)
CLASSES = np.array([7, 3, 3, 7, 5] * 8)


def test_one_digit_of_a_class_is_fixed_and_others_move() -> None:
    case = digit_pairs(IMAGES, CLASSES, 4, seed=1)
    assert len(case.pairs) == 3 * 4 and sorted(set(case.groups.values())) == ["3", "5", "7"]
    seen = set()
    for name, pair in case.pairs.items():
        digit, numbers = name.split(": ")
        moving, fixed = map(int, numbers.split(" to "))
        assert CLASSES[moving] == CLASSES[fixed] == int(digit) and moving != fixed and case.groups[name] == digit
        np.testing.assert_allclose(pair.fixed[0], IMAGES[fixed] / 255, atol=1e-6)
        np.testing.assert_allclose(pair.moving[0], IMAGES[moving] / 255, atol=1e-6)
        seen.add((digit, fixed))
    assert len(seen) == 3
    more = digit_pairs(IMAGES, CLASSES, 100, seed=1)
    assert len(more.pairs) == 15 + 15 + 7 and list(case.pairs)[:4] == list(more.pairs)[:4]
    assert list(digit_pairs(IMAGES, CLASSES, 4, seed=2).pairs) != list(case.pairs)


def test_too_few_are_refused() -> None:
    with pytest.raises(ValueError, match="pairs is 0"):
        digit_pairs(IMAGES, CLASSES, 0)
    with pytest.raises(ValueError, match=r"classes are \[3, 7\] of one image each"):
        digit_pairs(IMAGES[:2], CLASSES[:2], 3)


def test_scores_are_those_of_the_warped_digit() -> None:
    pair = next(iter(digit_pairs(IMAGES, CLASSES, 1).pairs.values()))
    fixed, moving = (np.asarray(x)[0] for x in (pair.fixed, pair.moving))
    found = digit_scores(pair, AffineTransform.translation([0.0, 2.0]))
    warped = np.concatenate([moving[:, 2:], moving[:, -1:], moving[:, -1:]], axis=1)
    shown = mean_warped([found], (9, 12))
    inside = np.s_[:, :-2]
    np.testing.assert_allclose(shown[inside], warped[inside], atol=0.5 / 255 + 1e-6)
    warped = np.where(np.arange(12) < 10, warped, shown)  # beyond the border as the sampler continues
    assert found["ncc"] == pytest.approx(np.corrcoef(fixed.ravel(), warped.ravel())[0, 1], abs=0.01)
    masks = fixed > 0.5, warped > 0.5
    assert found["dice"] == pytest.approx(2 * (masks[0] & masks[1]).sum() / sum(m.sum() for m in masks), abs=0.02)
    assert found["folding_fraction"] == 0
    folded = AffineTransform(np.diag([-1.0, 1.0, 1.0]) + [[0, 0, 8], [0, 0, 0], [0, 0, 0]])
    assert digit_scores(pair, folded)["folding_fraction"] == 1.0


def test_registered_images_survive_as_text() -> None:
    pair = next(iter(digit_pairs(IMAGES, CLASSES, 1).pairs.values()))
    rows = [digit_scores(pair, AffineTransform.translation([float(k), 0.0])) for k in (0, 0, 1)]
    assert all(isinstance(row[WARPED], str) for row in rows)
    one, other = mean_warped(rows[:1], (9, 12)), mean_warped(rows[2:], (9, 12))
    np.testing.assert_array_equal(one * 255, np.rint(np.asarray(pair.moving)[0] * 255))
    np.testing.assert_allclose(mean_warped(rows, (9, 12)), (2 * one + other) / 3)


def test_the_test_part_of_a_folder_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    header = struct.pack(">4B3I", 0, 0, 8, 3, *IMAGES.shape)
    (folder / "images-idx3-ubyte.gz").write_bytes(gzip.compress(header + IMAGES.tobytes()))
    labels = struct.pack(">4BI", 0, 0, 8, 1, 40) + CLASSES.astype(np.uint8).tobytes()
    (folder / "labels-idx1-ubyte").write_bytes(labels)
    case = read_digit_pairs(folder, 9)
    test = IMAGES[32:]
    assert case.name == "mine" and len(case.pairs) == sum((CLASSES[32:] == c).sum() - 1 for c in (3, 5, 7))
    assert all(any(np.allclose(pair.moving[0], image / 255) for image in test) for pair in case.pairs.values())
