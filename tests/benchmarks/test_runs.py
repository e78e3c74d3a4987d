"""A benchmark's networks are trained and measured once, and read back afterwards."""

from __future__ import annotations

import csv
import json
import logging
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from monai_cellreg.benchmarks import runs
from monai_cellreg.benchmarks.runs import (
    evaluated,
    fingerprint,
    is_finished,
    learning_curve,
    settings_of,
    share_done,
    trained,
)

METRICS = {"registration_iou", "unregistered_iou", "segmentation_iou", "grid_error_px", "folding_fraction"}
Calls = list[tuple[str, list[str], dict[str, Any]]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What bundles are told, in place of running them."""
    told: Calls = []

    def listen(name: str, overlays: list[str], overrides: dict[str, Any]) -> None:
        told.append((name, overlays, overrides))
        folder = Path(overrides["output_dir"])
        print("epoch 1/1: chatter")
        print("a bar", file=sys.stderr)
        if overlays:
            (folder / "pairs.csv").write_text("pair,group,registration_iou\n0,a,0.5\n")
        else:
            (folder / "model.pt").write_bytes(b"weights")

    monkeypatch.setattr(runs, "run_bundle", listen)
    return told


def test_real_run_is_trained_measured_and_quiet(
    tiny: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    handlers = list(logging.getLogger().handlers)
    weights = trained("joint", tmp_path / "run", tiny)
    rows = evaluated("joint", tmp_path / "made", tiny, weights=weights)
    assert len(rows) == tiny["validation_items"] and all(set(row) == METRICS for row in rows)
    assert all(0 < row["unregistered_iou"] < 1 for row in rows)
    with (tmp_path / "made" / "pairs.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    assert [{name: float(row[name]) for name in METRICS} for row in written] == rows
    assert all(row["group"].startswith("test_") for row in written)
    assert "epoch 1/1: " in (tmp_path / "run" / "log.txt").read_text()
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger().handlers == handlers and logging.root.manager.disable == 0


def test_finished_training_is_used_again(calls: Calls, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert trained("joint", run, {"seed": 3}) == run / "model.pt"
    assert calls == [("joint", [], {"seed": 3, "output_dir": str(run), "resume": False})]
    assert is_finished(run) and settings_of(run) == {"bundle": "joint", "seed": 3}
    trained("joint", run, {"seed": 3})
    assert len(calls) == 1
    trained("joint", run, {"seed": 3}, resume=False)
    assert len(calls) == 2
    with pytest.raises(ValueError, match=r"holds a training with the settings .*'seed': 3.*expected .*'seed': 4"):
        trained("joint", run, {"seed": 4})


def test_stopped_training_goes_on(calls: Calls, tiny_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    (run / "settings.json").write_text(json.dumps({"settings": {"bundle": "joint", "seed": 3}, "finished": False}))
    assert not is_finished(run)
    trained("joint", run, {"seed": 3})
    assert calls == [("joint", [], {"seed": 3, "output_dir": str(run), "resume": True})]


def test_figures_are_read_back_only_of_the_same_weights_and_settings(calls: Calls, tmp_path: Path) -> None:
    weights = tmp_path / "model.pt"
    weights.write_bytes(b"one")
    made = tmp_path / "made"
    assert evaluated("joint", made, {"seed": 3}, weights=weights) == [{"registration_iou": 0.5}]
    told = {"seed": 3, "output_dir": str(made), "checkpoint": str(weights), "passes": 1}
    assert calls == [("joint", ["evaluate.json"], told)]
    evaluated("joint", made, {"seed": 3}, weights=weights)
    assert len(calls) == 1
    evaluated("joint", made, {"seed": 4}, weights=weights)
    assert len(calls) == 2
    before = fingerprint(weights)
    weights.write_bytes(b"two")
    assert fingerprint(weights) != before
    evaluated("joint", made, {"seed": 4}, weights=weights)
    assert len(calls) == 3


def test_overlays_belong_to_the_settings(calls: Calls, tmp_path: Path) -> None:
    run = tmp_path / "run"
    trained("joint", run, {"seed": 3}, overlays=("evaluate.json",))
    assert calls == [("joint", ["evaluate.json"], {"seed": 3, "output_dir": str(run), "resume": False})]
    assert settings_of(run) == {"bundle": "joint", "overlays": ["evaluate.json"], "seed": 3}
    with pytest.raises(ValueError, match="holds a training with the settings"):
        trained("joint", run, {"seed": 3})


def test_the_log_tells_how_far_a_training_is_and_how_good(tmp_path: Path) -> None:
    assert share_done(tmp_path) == 0.0 and learning_curve(tmp_path, "ncc") == {}
    lines = [
        "epoch 1/8: folding 0.0100  ncc 0.5000  unregistered_ncc 0.3000",
        "chatter ncc 0.9",
        "epoch 2/8: ncc 0.6000",
    ]
    lines += ["epoch 2/8: a 1.0000  ncc 0.6500", "epoch 3/8: ncc nan", "epoch 4/8: ncc -0.1250"]
    (tmp_path / "log.txt").write_text("\n".join(lines) + "\n")
    assert share_done(tmp_path) == 0.5
    curve = learning_curve(tmp_path, "ncc")
    assert list(curve) == [1, 2, 3, 4] and [curve[1], curve[2], curve[4]] == [0.5, 0.65, -0.125]
    assert learning_curve(tmp_path, "unregistered_ncc") == {1: 0.3}
