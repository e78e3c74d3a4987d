"""The rows of a benchmark outlive the process that measured them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from monai_cellreg.benchmarks.journal import Journal

DONE = {"pair": "a", "method": "m", "failure": None, "iou": 0.5}
FAILED = {"pair": "b", "method": "m", "failure": "no", "iou": 0.1}


def test_rows_are_read_back_without_what_failed(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    first = Journal(path, "one", resume=True)
    first.add(DONE)
    first.add(FAILED)
    with path.open("a") as file:
        file.write('{"pair": "c", "met')  # as a killed process leaves it
    assert Journal(path, "one", resume=True).rows == {("a", "m"): DONE}
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"identity": "one"}, DONE]


def test_the_last_row_of_a_pair_counts(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "rows.jsonl", "one", resume=True)
    journal.add(DONE)
    journal.add({**DONE, "iou": 0.75})
    assert Journal(tmp_path / "rows.jsonl", "one", resume=True).rows["a", "m"]["iou"] == 0.75


def test_rows_of_another_run_are_refused_or_dropped(tmp_path: Path) -> None:
    Journal(tmp_path / "rows.jsonl", "one", resume=True).add(DONE)
    with pytest.raises(ValueError, match=r"holds the results of another case.*--no-resume"):
        Journal(tmp_path / "rows.jsonl", "two", resume=True)
    assert Journal(tmp_path / "rows.jsonl", "two", resume=False).rows == {}
