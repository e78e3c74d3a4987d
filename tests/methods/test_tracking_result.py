"""The layout of the Cell Tracking Challenge, read back and checked by its own rules."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from monai_cellreg.methods.tracking_result import TrackingResult


def write(folder: Path, frames: list[np.ndarray], last: int) -> int | None:
    result = TrackingResult(folder, len(frames), last)
    for frame in frames:
        result.add(torch.from_numpy(frame.astype(np.int32))[None], [k for k in np.unique(frame).tolist() if k])
    return result.finish()


def read(folder: Path) -> tuple[list[np.ndarray], list[list[int]]]:
    masks = [tifffile.imread(path) for path in sorted(folder.glob("mask*.tif"))]
    table = [[int(x) for x in line.split(" ")] for line in (folder / "res_track.txt").read_text().splitlines()]
    return masks, table


def film(*rows: list[int]) -> list[np.ndarray]:
    """A frame a row, the labels of which are columns of three rows of pixels."""
    return [np.repeat([row], 3, axis=0) for row in rows]


def test_labels_that_come_and_go(tmp_path: Path) -> None:
    frames = film([0, 7, 3], [0, 7, 0], [5, 7, 3], [5, 0, 3], [0, 7, 0], [0, 0, 3])
    assert write(tmp_path / "ctc", frames, 7) == 6
    masks, table = read(tmp_path / "ctc")
    assert table == [[3, 0, 0, 0], [5, 2, 3, 0], [7, 0, 2, 0], [8, 2, 3, 3], [9, 4, 4, 7], [10, 5, 5, 8]]
    assert [mask[1].tolist() for mask in masks] == [
        *([0, 7, 3], [0, 7, 0], [5, 7, 8], [5, 0, 8], [0, 9, 0], [0, 0, 10])
    ]
    assert {mask.dtype for mask in masks} == {np.dtype(np.uint16)}
    for label, first, last, parent in table:  # every track is seen from its first to its last frame and nowhere else
        assert [t for t, mask in enumerate(masks) if (mask == label).any()] == list(range(first, last + 1))
        assert parent == 0 or next(row for row in table if row[0] == parent)[2] < first


def test_volumes_and_masks_of_a_longer_run(tmp_path: Path) -> None:
    (tmp_path / "mask0007.tif").write_text("")
    (tmp_path / "mask_of_mine.tif").write_text("")
    volume = np.zeros((4, 5, 6), int)
    volume[2, 3, 4] = 65535
    assert write(tmp_path, [volume, volume], 65535) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("mask000.tif", "mask001.tif", "mask_of_mine.tif", "res_track.txt")
    ]
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "mask001.tif"), volume)


def test_names_have_more_digits_in_a_long_movie(tmp_path: Path) -> None:
    result = TrackingResult(tmp_path, 1001, 1)
    result.add(torch.ones(1, 2, 2, dtype=torch.int32), [1])
    assert (tmp_path / "mask0000.tif").is_file()


def test_labels_beyond_16_bits_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert write(tmp_path / "ctc", film([0, 70000]), 70000) is None
    assert "label 70000 does not fit into the 16 bits" in caplog.text and not (tmp_path / "ctc").exists()
