"""``monai-cellreg apply`` moves files by a known shift."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from monai_cellreg.apps.cli import main
from monai_cellreg.geometry import AffineTransform, SamplingGrid, write_transform

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    values = np.random.default_rng(0).integers(0, 255, (20, 30)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "day1.ome.tif", values)
    tifffile.imwrite(tmp_path / "day0.tif", np.zeros((24, 28), np.uint8))
    (tmp_path / "cells.csv").write_text("x,y\n10,20\n")
    write_transform(tmp_path / "t.h5", AffineTransform.translation([2.0, 3.0]), SamplingGrid((24, 28)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_image_goes_onto_the_grid_of_the_fixed_one(folder: Path, capsys: Capture) -> None:
    assert main(["apply", "t.h5", "day1.ome.tif", "--reference", "day0.tif", "--kind", "image"]) == 0
    assert capsys.readouterr().out == "image written to day1_moved.ome.tif\n"
    moved, values = (tifffile.imread(folder / name) for name in ("day1_moved.ome.tif", "day1.ome.tif"))
    assert moved.shape == (24, 28)
    np.testing.assert_array_equal(moved[:18, :27], values[2:, 3:])


@pytest.mark.parametrize(("origin", "expected"), [("moving", "7,18"), ("fixed", "13,22")])
def test_points_go_the_way_that_is_asked_for(folder: Path, origin: str, expected: str, capsys: Capture) -> None:
    assert main(["apply", "t.h5", "cells.csv", "--from", origin, "--out", "out.csv", "--quiet"]) == 0
    assert (folder / "out.csv").read_text() == f"x,y\n{expected}\n"
    assert capsys.readouterr().out == ""
