"""The layout of the Cell Tracking Challenge, on folders made here."""

from pathlib import Path

import numpy as np
import tifffile

from monai_cellreg.data.datasets.cell_tracking import is_cell_tracking, list_items


def tiffs(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        tifffile.imwrite(folder / name, np.arange(12, dtype=np.uint8).reshape(3, 4))


def labels_of(root: Path) -> list[tuple[str, str | None, str]]:
    return [
        (
            Path(item["image"]).relative_to(root).as_posix(),
            item["label"] and Path(item["label"]).relative_to(root).as_posix(),
            item["group"],
        )
        for item in list_items(root)
    ]


def test_sequences_are_groups_and_frames_keep_their_order(tmp_path):
    tiffs(tmp_path / "02", "t010.tif", "t009.tif")
    tiffs(tmp_path / "01", "t000.tif", "preview.tif", "t001.tif.part")
    tiffs(tmp_path / "01_label", "man_seg000.tif", "man_seg000.tif.part")
    assert is_cell_tracking(tmp_path)
    assert labels_of(tmp_path) == [
        ("01/t000.tif", "01_label/man_seg000.tif", "01"),
        ("02/t009.tif", None, "02"),
        ("02/t010.tif", None, "02"),
    ]


def test_sparse_gold_labels_come_before_silver_ones(tmp_path):
    tiffs(tmp_path / "01", "t000.tif", "t001.tif", "t002.tif")
    tiffs(tmp_path / "01_GT" / "SEG", "man_seg001.tif", "man_seg_002_007.tif")
    tiffs(tmp_path / "01_ST" / "SEG", "man_seg000.tif", "man_seg001.tif")
    tiffs(tmp_path / "01_GT" / "TRA", "man_track002.tif")
    assert [label for _, label, _ in labels_of(tmp_path)] == [
        "01_ST/SEG/man_seg000.tif",
        "01_GT/SEG/man_seg001.tif",
        None,  # markers of the tracking are no masks: not mixed with segmentations
    ]


def test_tracking_labels_serve_where_there_is_no_segmentation(tmp_path):
    tiffs(tmp_path / "01", "t0000.tif", "t0001.tif")
    tiffs(tmp_path / "01_GT" / "TRA", "man_track0001.tif")
    assert [label for _, label, _ in labels_of(tmp_path)] == [None, "01_GT/TRA/man_track0001.tif"]


def test_other_folders_are_not_taken_for_it(tmp_path):
    tiffs(tmp_path / "images", "t000.tif")
    tiffs(tmp_path / "01", "cells.tif")
    assert not is_cell_tracking(tmp_path)
    assert list_items(tmp_path) == []
