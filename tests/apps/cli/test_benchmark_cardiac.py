"""``monai-cellreg benchmark cardiac``: what its options mean, and what it leaves behind."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from monai_cellreg.apps.cli import main
from monai_cellreg.benchmarks import cardiac, side_by_side
from monai_cellreg.benchmarks.cardiac import DEFAULT_METHODS, QUICK_METHODS
from monai_cellreg.benchmarks.dirnet_contenders import PairedSettings
from monai_cellreg.benchmarks.paired import PairedCase
from monai_cellreg.data import cardiac as cardiac_data
from monai_cellreg.data import synthetic_heart
from monai_cellreg.data.synthetic_heart import simulated_cardiac

Refused = Callable[[Sequence[Any]], str]
Call = tuple[PairedCase, str, PairedSettings, Sequence[int]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Call]:
    """Gives a function from arguments to what the benchmark is asked for, in place of running it."""
    asked: list[Call] = []

    def listen(case: PairedCase, out: str, settings: PairedSettings, labels: Sequence[int]) -> tuple[list[Any], str]:
        asked.append((case, out, settings, labels))
        return [], "table\n"

    def small(patients: int, *, size: tuple[int, int], seed: int) -> Any:
        assert size == (128, 128) and seed == 5000
        return simulated_cardiac(patients, slices=2, phases=4, size=size, seed=seed)

    def run(*arguments: object) -> Call:
        monkeypatch.setattr(cardiac, "run_cardiac", listen)
        monkeypatch.setattr(synthetic_heart, "simulated_cardiac", small)
        assert main(["benchmark", "cardiac", *map(str, arguments)]) == 0
        return asked[-1]

    return run


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A folder that holds four patients."""
    made = simulated_cardiac(4, slices=1, phases=4, size=(112, 120), seed=1)
    monkeypatch.setattr(cardiac_data, "read_cardiac", lambda folder: made if folder == str(tmp_path / "data") else [])
    return str(tmp_path / "data")


def test_defaults_and_quick(call: Callable[..., Call]) -> None:
    case, out, settings, labels = call()
    assert len(case.pairs) == 6 * 2 * 2 and len(set(case.groups.values())) == 6 and case.name == "simulated hearts"
    assert (out, settings.methods, settings.threads, settings.resume, labels) == (
        "benchmark", DEFAULT_METHODS, 1, True, (2,)
    )  # fmt: skip
    recipe = settings.recipe
    assert (recipe.overlay, recipe.data, recipe.settings) == (
        "train_cardiac.json", {"simulated": 24}, {"image_size": [128, 128]}
    )  # fmt: skip
    assert (recipe.seeds, recipe.jobs, recipe.weights) == (1, 2, None)
    case, _, settings, _ = call("--quick")
    assert settings.methods == QUICK_METHODS and len(case.pairs) == 8 and settings.recipe.data == {"simulated": 4}
    assert settings.recipe.settings["max_epochs"] == 2 and settings.recipe.settings["image_size"] == [128, 128]


def test_options_reach_the_benchmark(call: Callable[..., Call], stored: str, tmp_path: Path) -> None:
    words = ["--data", stored, "--held_out", 2, "--labels", 3, 1, "--seeds", 3, "--jobs", 4, "--weights", tmp_path]
    words += ["--max_epochs", 7, "--pairs_per_epoch", 50, "--methods", "DIRNet-A1", "auto", "--threads", 2]
    case, out, settings, labels = call(*words, "--no-resume", "--out", "there", "--limit", 3)
    assert set(case.groups.values()) == {"heart002", "heart003"} and len(case.pairs) == 3 and case.name == "data"
    recipe = settings.recipe
    assert recipe.data == {"dataset_dir": stored, "held_out": 2}
    assert recipe.settings == {"max_epochs": 7, "pairs_per_epoch": 50}
    assert (recipe.seeds, recipe.jobs, recipe.weights) == (3, 4, str(tmp_path))
    assert (settings.methods, settings.threads, settings.resume) == (("DIRNet-A1", "auto"), 2, False)
    assert (out, labels) == ("there", (3, 1))
    _, _, settings, _ = call("--data", stored, "--held_out", 4, "--image_size", 96, "--quick")
    assert settings.recipe.settings["image_size"] == [96, 96]
    _, _, settings, _ = call("--simulated", 9, "--held_out", 1)
    assert settings.recipe.data == {"simulated": 9}


def test_wrong_options_are_refused(refused: Refused, stored: str, tmp_path: Path) -> None:
    start = ["benchmark", "cardiac", "--data", stored, "--out", tmp_path / "out"]
    text = refused(start)
    assert text.startswith("held_out is 6 but the data has 4 patients; expected 1 to 4")
    assert refused([*start, "--held_out", 0]).startswith("held_out is 0")
    assert refused(["benchmark", "cardiac", "--held_out", 0]).startswith("held_out is 0")
    start += ["--held_out", 1]
    assert "method is 'DIRNet-Q1', expected one of" in refused([*start, "--methods", "DIRNet-Q1"])
    assert refused([*start, "--labels", 5]).startswith("none of 1 slices has one of the labels [5]")
    assert refused([*start, "--simulated", 3]).startswith("simulated is 3 beside --data")
    assert refused([*start, "--seeds", 0]).startswith("seeds is 0")
    assert refused([*start, "--max_epochs", 0]).startswith("max_epochs is 0")
    assert refused([*start, "--limit", 0]).startswith("limit is 0")
    assert refused([*start, "--films", 3]).startswith("--films is an option of the case nuclei alone, but the case is")
    text = refused(["benchmark", "nuclei", "--held_out", 3])
    assert text == "--held_out is an option of the case cardiac alone, but the case is 'nuclei'; leave it out"
    assert not (tmp_path / "out").exists()


def test_a_tiny_run_leaves_networks_a_table_and_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(side_by_side, "ProcessPoolExecutor", lambda count, mp_context: ThreadPoolExecutor(1))
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    out = tmp_path / "out"
    words = ["benchmark", "cardiac", "--quick", "--image_size", 64, "--simulated", 1, "--held_out", 1, "--limit", 2]
    words += ["--max_epochs", 1, "--pairs_per_epoch", 32, "--methods", "DIRNet-A1", "--out", out]
    assert main([*map(str, words)]) == 0
    shown = capsys.readouterr()
    assert shown.err == "" and shown.out == f"{(out / 'table.md').read_text()}\nwritten to {out}\n"
    assert {path.name for path in (out / "networks").iterdir()} == {"DIRNet-A1-0"}
    with (out / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["unregistered", "DIRNet-A1"] * 2
    assert all(0 < float(row["dice"]) <= 1 and row["failure"] == "" for row in rows)
    assert (out / "gallery.png").is_file() and (out / "learning_curves.png").is_file()
    before = (out / "rows.jsonl").read_text()
    assert main([*map(str, words)]) == 0
    assert (out / "rows.jsonl").read_text() == before
