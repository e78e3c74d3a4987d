"""A benchmark's run is trained and measured once, and read back afterwards."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest

from monai_cellreg.benchmarks import runs
from monai_cellreg.benchmarks.runs import train_and_evaluate

METRICS = {"registration_iou", "unregistered_iou", "segmentation_iou", "grid_error_px", "folding_fraction"}


def refuse(*_: Any) -> None:
    raise AssertionError("a run that has been measured was run again")


def test_run_is_trained_measured_and_read_back(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = train_and_evaluate("joint", tmp_path / "run", tiny)
    assert len(rows) == tiny["validation_items"] and all(set(row) == METRICS for row in rows)
    assert all(0 < row["unregistered_iou"] < 1 for row in rows)
    with (tmp_path / "run" / "test" / "pairs.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    assert [{name: float(row[name]) for name in METRICS} for row in written] == rows
    assert all(row["group"].startswith("test_") for row in written)
    monkeypatch.setattr(runs, "run_bundle", refuse)
    assert train_and_evaluate("joint", tmp_path / "run", tiny) == rows


@pytest.mark.parametrize("stopped", [False, True])
def test_stopped_run_goes_on_and_the_best_weights_are_measured_in_one_pass(
    stopped: bool, tiny_run: Path, tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, list[str], dict[str, Any]]] = []

    def listen(name: str, overlays: list[str], overrides: dict[str, Any]) -> None:
        calls.append((name, overlays, overrides))
        if overlays:
            (tmp_path / "run" / "test").mkdir(parents=True)
            (tmp_path / "run" / "test" / "pairs.csv").write_text("pair,group,registration_iou\n0,a,0.5\n")

    if stopped:
        shutil.copytree(tiny_run, tmp_path / "run")
    monkeypatch.setattr(runs, "run_bundle", listen)
    assert train_and_evaluate("joint", tmp_path / "run", {"seed": 3}) == [{"registration_iou": 0.5}]
    run = str(tmp_path / "run")
    measured = {"seed": 3, "output_dir": f"{run}/test", "checkpoint": f"{run}/model.pt", "passes": 1}
    assert calls == [
        ("joint", [], {"seed": 3, "output_dir": run, "resume": stopped}),
        ("joint", ["evaluate.json"], measured),
    ]
