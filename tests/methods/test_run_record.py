"""What a folder of results says of its run is read back, or refused with the file's name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from monai_cellreg.methods.run_record import RECORD, all_or_nothing, read_told


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_text("new")


def test_entries_appear_together(tmp_path: Path) -> None:
    with all_or_nothing(tmp_path) as staging:
        fill(staging, "warped.tif", RECORD)
        assert [path for path in tmp_path.iterdir() if path != staging] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [RECORD, "warped.tif"]


def test_folders_of_an_earlier_run_are_replaced(tmp_path: Path) -> None:
    """As a DICOM series is written."""
    (tmp_path / "warped").mkdir()
    fill(tmp_path / "warped", "old.dcm")
    (tmp_path / RECORD).write_text(json.dumps({"files": ["warped", RECORD]}))
    with all_or_nothing(tmp_path) as staging:
        (staging / "warped").mkdir()
        fill(staging / "warped", "new.dcm")
        fill(staging, RECORD)
    assert [path.name for path in (tmp_path / "warped").iterdir()] == ["new.dcm"]


@pytest.mark.parametrize("record", ["{", "[1]", '{"files": 3}', '{"files": ["..", "../other", "", "notes.txt", 5]}'])
def test_a_strange_record_removes_nothing(tmp_path: Path, record: str) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    fill(folder, "notes.txt")
    fill(tmp_path, "other")
    (folder / RECORD).write_text(record)
    with all_or_nothing(folder) as staging:
        fill(staging, "warped.tif")
    assert (folder / "notes.txt").exists() and (tmp_path / "other").exists() and (folder / "warped.tif").exists()


def test_only_records_of_ours_are_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"holds no {RECORD}"):
        read_told(tmp_path / RECORD)
    for text, message in (("{", "is damaged"), ('{"fixed": 1}', "has no moving, transform, metrics, method")):
        (tmp_path / RECORD).write_text(text)
        with pytest.raises(ValueError, match=message):
            read_told(tmp_path / RECORD)
