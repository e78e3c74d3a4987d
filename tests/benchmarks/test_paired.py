"""Pairs are registered one by one, scored, kept, and read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from monai_cellreg.benchmarks.contenders import Contender
from monai_cellreg.benchmarks.paired import PairedCase, measured_pairs
from monai_cellreg.geometry import AffineTransform, Pair, SamplingGrid, SpatialTransform

GRID = SamplingGrid((6, 8))


def case(count: int = 3, *, bright: float = 0.0) -> PairedCase:
    """Pairs a, b, c ... whose score is how far the map takes the origin down."""
    images = torch.rand(count, 1, 6, 8, generator=torch.Generator().manual_seed(0)) + bright
    pairs = {name: Pair(image, image + 1, GRID, GRID) for name, image in zip("abcdefgh", images, strict=False)}
    return PairedCase("made", pairs, {name: f"g{ord(name) % 2}" for name in pairs}, score)


def score(pair: Pair, transform: SpatialTransform) -> dict[str, float]:
    return {"rows": float(transform.points(np.zeros((1, 2)))[0, 0])}


class Shift:
    """Answers with a shift; fails at the pair of a number."""

    def __init__(self, rows: float, fails_at: int | None = None) -> None:
        self.rows, self.fails_at, self.calls = rows, fails_at, 0

    def register(self, pair: Pair) -> SpatialTransform:
        self.calls += 1
        if self.calls == self.fails_at:
            raise RuntimeError("no way")
        return AffineTransform.translation([self.rows, 0.0])


def test_every_pair_by_every_method(tmp_path: Path) -> None:
    contenders = [Contender("one", Shift(1.0), "one-0", "w"), Contender("two", Shift(2.0, fails_at=2), "two")]
    rows = measured_pairs(case(), contenders, tmp_path)
    assert [(r["pair"], r["name"], r["method"], r["rows"]) for r in rows[3:6]] == [
        ("b", "unregistered", "unregistered", 0.0), ("b", "one", "one-0", 1.0), ("b", "two", "two", 0.0)
    ]  # fmt: skip
    assert [r["failure"] for r in rows if r["failure"]] == ["RuntimeError: no way"]
    assert [r["group"] for r in rows[::3]] == ["g1", "g0", "g1"] and rows[1]["weights"] == "w"
    assert rows[0]["seconds"] == 0.0 and rows[1]["seconds"] > 0


def test_what_is_measured_is_kept_and_failures_are_tried_again(tmp_path: Path) -> None:
    first = Shift(1.0, fails_at=2)
    measured_pairs(case(), [Contender("m", first, "m", "w")], tmp_path)
    rows = measured_pairs(case(), [Contender("m", first, "m", "w")], tmp_path)
    assert first.calls == 4 and [r["rows"] for r in rows[1::2]] == [1.0] * 3
    measured_pairs(case(), [Contender("m", first, "m", "other")], tmp_path)
    assert first.calls == 7
    measured_pairs(case(), [Contender("m", first, "m", "other")], tmp_path, resume=False)
    assert first.calls == 10
    with pytest.raises(ValueError, match="holds the results of another case"):
        measured_pairs(case(bright=1.0), [], tmp_path)
    with pytest.raises(ValueError, match="holds the results of another case"):
        measured_pairs(case(), [], tmp_path, threads=2)


def test_limit_spreads_evenly_and_changes_the_fingerprint() -> None:
    whole = case(5)
    few = whole.limited(3)
    assert list(few.pairs) == ["a", "c", "e"] and whole.limited(None) is whole
    assert len({whole.fingerprint, few.fingerprint, case(5, bright=0.5).fingerprint}) == 3
    assert case(5).fingerprint == whole.fingerprint
    with pytest.raises(ValueError, match="limit is 0, expected a number of pairs"):
        whole.limited(0)
