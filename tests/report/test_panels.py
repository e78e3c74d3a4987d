"""Pictures in rows and columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_cellreg.report import Panel, save_panels


def grey(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("L"), float) / 255


def test_panels_lie_where_they_are_told(tmp_path: Path) -> None:
    flat = [Panel(np.full((20, 40), value)) for value in (0.2, 0.4, 0.6, 0.8)]
    save_panels(tmp_path / "a.png", [[flat[0], flat[1]], [None, Panel(np.full((10, 40), 0.6))], [flat[3], None]])
    picture = grey(tmp_path / "a.png")
    rows, columns = picture.shape
    assert columns == 1200 and rows == pytest.approx(1200 * (0.25 + 0.125 + 0.25), rel=0.03)
    at = [(0.2, 0.25), (0.2, 0.75), (0.5, 0.25), (0.5, 0.75), (0.8, 0.25), (0.8, 0.75)]
    shown = [picture[int(r * rows), int(c * columns)] for r, c in at]
    assert shown == pytest.approx([0.2, 0.4, 1.0, 0.6, 0.8, 1.0], abs=0.01)


def test_colours_limits_and_outlines(tmp_path: Path) -> None:
    mask = np.zeros((20, 20), bool)
    mask[5:15, 5:15] = True
    save_panels(tmp_path / "a.png", [[Panel(np.full((20, 20), 5.0), limits=(0, 10), outlines=[mask, ~mask])]])
    picture = np.asarray(Image.open(tmp_path / "a.png").convert("RGB"), int)
    middle = picture[picture.shape[0] // 2, picture.shape[1] // 2]
    assert middle == pytest.approx([127, 127, 127], abs=1)
    green = (picture == [0x3C, 0xE8, 0x5A]).all(-1)
    assert 1000 < green.sum() < picture.shape[0] * 40  # the second outline, drawn over the first


def test_names_need_room(tmp_path: Path) -> None:
    panel = Panel(np.zeros((10, 10)), title="one")
    save_panels(tmp_path / "a.png", [[panel]])
    save_panels(tmp_path / "b.png", [[panel]], names=["row"])
    plain, named = (grey(tmp_path / f"{x}.png") for x in "ab")
    assert plain[plain.shape[0] // 2, 20] == 0.0 and named[int(0.9 * named.shape[0]), 20] == 1.0
    assert (named[:, :36] < 0.5).any()
    assert plain[3].mean() > 0.8 and plain[-12].mean() < 0.1  # the title has the top to itself


@pytest.mark.parametrize("rows", [[], [[]], [[Panel(np.zeros((2, 2)))], []]])
def test_uneven_rows_are_refused(tmp_path: Path, rows: list[list[Panel]]) -> None:
    with pytest.raises(ValueError, match="expected as many in each row"):
        save_panels(tmp_path / "a.png", rows)
    with pytest.raises(ValueError, match="2 names; expected"):
        save_panels(tmp_path / "a.png", [[Panel(np.zeros((2, 2)))]], names=["a", "b"])
    assert not (tmp_path / "a.png").exists()
