"""``monai-cellreg evaluate`` prints and writes what the files say."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from monai_cellreg.apps.cli import main
from monai_cellreg.geometry import AffineTransform, SamplingGrid, write_transform

Capture = pytest.CaptureFixture[str]
Refused = Callable[[Sequence[Any]], str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Labels 1 and 4 moved by (2, 3), landmarks moved by (2, 4), and a transform that moves by (2, 3)."""
    label = np.zeros((30, 40), np.uint8)
    label[5:12, 6:15], label[15:25, 20:30] = 1, 4
    tifffile.imwrite(tmp_path / "fixed.tif", label)
    tifffile.imwrite(tmp_path / "moving.tif", np.roll(label, (2, 3), (0, 1)))
    (tmp_path / "fixed.csv").write_text("x,y\n10,5\n20,7\n,\n")
    (tmp_path / "moving.csv").write_text("row;column\n7;14\n9;24\n1;1\n")
    write_transform(tmp_path / "t.tfm", AffineTransform.translation([2.0, 3.0]), SamplingGrid((30, 40)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_labels_are_warped_and_measured_one_by_one(folder: Path, capsys: Capture) -> None:
    command = ["evaluate", "--fixed-label", "fixed.tif", "--moving-label", "moving.tif", "--transform", "t.tfm"]
    assert main([*command, "--out", "scores.json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["label", "dice", "iou", "hd95", "msd"]
    assert lines[1].split() == ["1", "1.0000", "1.0000", "0.0000", "0.0000"]
    assert [line.split()[0] for line in lines[2:]] == ["4", "mean", "folding_fraction", "log_jacobian_spread"]
    written = json.loads((folder / "scores.json").read_text())
    assert written["mean"]["dice"] == 1 and written["labels"]["4"]["hd95"] == 0
    assert written["transform"]["folding_fraction"] == 0 and written["landmarks"] == {}


def test_warped_labels_are_taken_as_they_are(folder: Path, capsys: Capture) -> None:
    assert main(["evaluate", "--fixed-label", "fixed.tif", "--warped-label", "moving.tif"]) == 0
    mean = capsys.readouterr().out.splitlines()[-1].split()
    dice = [2 * 5 * 6 / (2 * 63), 2 * 8 * 7 / 200]
    assert float(mean[1]) == pytest.approx(np.mean(dice), abs=1e-4)


def test_a_lost_label_is_null_in_the_file(folder: Path, capsys: Capture) -> None:
    tifffile.imwrite(folder / "lost.tif", np.zeros((30, 40), np.uint8))
    command = ["evaluate", "--fixed-label", "fixed.tif", "--warped-label", "lost.tif", "--out", "scores.json"]
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[3] == "inf"
    assert json.loads((folder / "scores.json").read_text(), parse_constant=pytest.fail)["mean"]["hd95"] is None


def test_landmarks_are_mapped_and_compared_on_the_moving_side(folder: Path, capsys: Capture) -> None:
    command = ["evaluate", "--fixed-points", "fixed.csv", "--moving-points", "moving.csv"]
    assert main(command) == 0
    shown = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert (shown["landmarks"], float(shown["tre_mean"])) == ("2", pytest.approx(np.hypot(2, 4), abs=1e-3))
    assert "robustness" not in shown and "rtre_mean" not in shown
    assert main([*command, "--transform", "t.tfm", "--fixed", "fixed.tif"]) == 0
    shown = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert float(shown["tre_mean"]) == pytest.approx(1)
    assert float(shown["rtre_median"]) == pytest.approx(1 / 50)
    assert (shown["robustness"], shown["folding_fraction"]) == ("1", "0")


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("", "there is nothing to measure"),
        ("--transform t.tfm", "there is nothing to measure"),
        ("--fixed-label fixed.tif", "labels cannot be compared by fixed_label; expected fixed_label with warped_label"),
        ("--fixed-label fixed.tif --moving-label moving.tif", "cannot be compared by fixed_label, moving_label"),
        ("--warped-label fixed.tif", "labels cannot be compared by warped_label"),
        ("--fixed-points fixed.csv", "landmarks are given of one image only"),
        ("--fixed-points fixed.csv --moving-points none.csv", "landmarks 'none.csv' do not exist"),
        ("--fixed-points fixed.csv --moving-points short.csv", "moving landmarks has shape 1x2 but fixed landmarks"),
        ("--fixed-points fixed.csv --moving-points empty.csv", "landmarks 'empty.csv' hold no points"),
        ("--fixed-points fixed.csv --moving-points t.csv", "row 2 has the coordinates ['a', '1']; expected numbers"),
        ("--fixed-label fixed.tif --warped-label small.tif", "warped_label lies on another grid than fixed_label"),
        ("--transform cube.tfm --fixed fixed.tif", "transform is 3D but the fixed image 2D"),
    ],
)
def test_what_cannot_be_measured_is_refused(folder: Path, typed: str, message: str, refused: Refused) -> None:
    (folder / "short.csv").write_text("x,y\n1,2\n")
    (folder / "empty.csv").write_text("")
    (folder / "t.csv").write_text("x,y\n1,a\n1,2\n1,2\n")
    tifffile.imwrite(folder / "small.tif", np.ones((10, 10), np.uint8))
    write_transform(folder / "cube.tfm", AffineTransform(np.eye(4)), SamplingGrid((4, 4, 4)))
    assert message in refused(["evaluate", *typed.split()])


def test_pixel_coordinates_need_both_images_where_pixels_have_a_size(folder: Path, refused: Refused) -> None:
    for name, size in (("fixed", 0.5), ("moving", 0.25)):
        meta = {"axes": "YX", "PhysicalSizeX": size, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": size}
        values = np.arange(1200).reshape(30, 40).astype(np.uint16)
        tifffile.imwrite(folder / f"{name}.ome.tif", values, metadata=meta | {"PhysicalSizeYUnit": "µm"})
    command = ["evaluate", "--fixed-points", "fixed.csv", "--moving-points", "moving.csv", "--fixed", "fixed.ome.tif"]
    assert "fixed has pixels of 0.5 x 0.5 µm; pixel coordinates of landmarks need both images" in refused(command)
    assert main([*command, "--moving", "moving.ome.tif", "--out", "scores.json"]) == 0
    found = json.loads((folder / "scores.json").read_text())["landmarks"]
    expected = np.mean([np.hypot(7 / 4 - 5 / 2, 14 / 4 - 10 / 2), np.hypot(9 / 4 - 7 / 2, 24 / 4 - 20 / 2)])
    assert found["tre_mean"] == pytest.approx(expected)
    assert found["rtre_mean"] == pytest.approx(expected / 25)  # 15 by 20 µm


def test_labels_without_pixel_size_lie_on_their_image(folder: Path, capsys: Capture) -> None:
    """Of a registration in micrometres, whose map moves by (1, 6) of them: 2 rows and 3 columns."""
    label = tifffile.imread(folder / "fixed.tif")
    meta = {"axes": "YX", "PhysicalSizeX": 2.0, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.5}
    tifffile.imwrite(folder / "image.ome.tif", label + np.uint8(1), metadata=meta | {"PhysicalSizeYUnit": "µm"})
    write_transform(folder / "um.tfm", AffineTransform.translation([1.0, 6.0]), SamplingGrid((30, 40)))
    labels = ["--fixed-label", "fixed.tif", "--moving-label", "moving.tif", "--transform", "um.tfm"]
    assert main(["evaluate", *labels, "--fixed", "image.ome.tif", "--moving", "image.ome.tif"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["1", "1.0000", "1.0000", "0.0000", "0.0000"]
    tifffile.imwrite(folder / "warped.ome.tif", label, metadata=meta | {"PhysicalSizeYUnit": "µm"})
    assert main(["evaluate", "--fixed-label", "fixed.tif", "--warped-label", "warped.ome.tif"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[1] == "1.0000"
