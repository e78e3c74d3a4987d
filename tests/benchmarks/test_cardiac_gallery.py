"""The picture of hearts: which pairs, where they are cut, and what is shown of a method that gives no map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from monai_cellreg.benchmarks import cardiac_gallery
from monai_cellreg.benchmarks.cardiac_gallery import save_heart_gallery
from monai_cellreg.benchmarks.contenders import Contender
from monai_cellreg.benchmarks.paired import PairedCase
from monai_cellreg.geometry import AffineTransform, Pair, SamplingGrid, SpatialTransform


class Shift:
    """Answers with a shift in rows, or none."""

    def __init__(self, rows: float | None) -> None:
        self.rows = rows

    def register(self, pair: Pair) -> SpatialTransform:
        if self.rows is None:
            raise ValueError("no way")
        return AffineTransform.translation([self.rows, 0.0])


def case() -> PairedCase:
    """Eight pairs of 60 x 80 pixels: a square of 10 rows and 6 columns that moves 4 rows down."""
    grid = SamplingGrid((60, 80))
    fixed, moving = torch.zeros(1, 60, 80), torch.zeros(1, 60, 80)
    fixed[0, 20:30, 40:46], moving[0, 24:34, 40:46] = 1, 1
    pairs = {
        f"p{k}": Pair(0.5 * fixed, 0.5 * moving, grid, grid, fixed_label=fixed, moving_label=moving) for k in range(8)
    }
    return PairedCase("made", pairs, dict.fromkeys(pairs, "g"), lambda pair, transform: {})


def test_rows_are_the_heart_and_the_differences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(cardiac_gallery, "save_panels", lambda path, rows, names: drawn.append((rows, names)))
    contenders = [Contender(str(rows), Shift(rows), str(rows)) for rows in (4.0, None)]
    save_heart_gallery(tmp_path / "a.png", case(), contenders)
    ((rows, names),) = drawn
    assert names == ["p2", "difference", "p6", "difference"]
    above, below = rows[:2]
    assert [panel and panel.title for panel in above] == ["fixed", "moving", "4.0", None]
    assert below[0] is None and below[3] is None
    fixed, moving, warped, _ = above
    assert fixed.image.shape == (29, 29)  # the union is 14 rows high, from 20 to 33
    assert np.argwhere(fixed.image > 0).min(0).tolist() == [8, 12]
    assert np.argwhere(moving.image > 0).min(0).tolist() == [12, 12]
    np.testing.assert_allclose(warped.image, fixed.image, atol=1e-6)
    assert below[1].image.sum() == pytest.approx(0.5 * 2 * 4 * 6) and below[2].image.sum() == pytest.approx(0, abs=1e-4)
    assert [mask.sum() for mask in warped.outlines] == [60, 60]
    save_heart_gallery(tmp_path / "a.png", case().limited(1), [])
    assert drawn[1][1] == ["p0", "difference"]
