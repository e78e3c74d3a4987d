"""``monai-cellreg benchmark nuclei``: what its options mean, and what it leaves behind."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from monai_cellreg.apps.cli import main
from monai_cellreg.benchmarks import nuclei, side_by_side
from monai_cellreg.benchmarks.nuclei import NucleiSettings
from monai_cellreg.benchmarks.nuclei_contenders import DEFAULT_METHODS, QUICK_METHODS
from monai_cellreg.benchmarks.nuclei_sequences import Sequences

Refused = Callable[[Sequence[Any]], str]
Call = tuple[Sequences, str, NucleiSettings]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Call]:
    """Gives a function from arguments to what the benchmark is asked for, in place of running it."""
    asked: list[Call] = []

    def listen(sequences: Sequences, out: str, settings: NucleiSettings) -> tuple[list[Any], str]:
        asked.append((sequences, out, settings))
        return [], "tables\n"

    def run(*arguments: object) -> Call:
        monkeypatch.setattr(nuclei, "run_nuclei", listen)
        assert main(["benchmark", "nuclei", *map(str, arguments)]) == 0
        return asked[-1]

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three time points of two bright squares that move."""
    for t in range(3):
        label = np.zeros((70, 90), np.uint16)
        label[5 + t : 21 + t, 20:40], label[35 + 2 * t : 51 + 2 * t, 20:42] = 1, 2
        noise = np.random.default_rng(t).integers(0, 30, label.shape)
        for name, values in ((f"01/t{t:03d}.tif", 400 * (label > 0) + noise), (f"01_label/man_seg{t:03d}.tif", label)):
            (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(tmp_path / "data" / name, values.astype(np.uint16))
    return tmp_path / "data"


def test_defaults_and_quick(call: Callable[..., Call]) -> None:
    sequences, out, settings = call()
    assert len(sequences.films) == 10 and out == "benchmark" and settings.methods == DEFAULT_METHODS
    recipe = settings.recipe
    assert (recipe.simulated, recipe.image_size, recipe.max_epochs, recipe.seeds) == (1600, 96, 5, 1)
    assert (recipe.made_pairs, recipe.folder, recipe.weights, recipe.amp, recipe.jobs) == (400, None, None, False, 2)
    sequences, _, settings = call("--quick", "--image_size", 32)
    assert len(sequences.films) == 3 and settings.methods == QUICK_METHODS
    assert sequences.films["film00"]().images.shape == (4, 1, 64, 64)
    assert (settings.recipe.simulated, settings.recipe.image_size, settings.recipe.made_pairs) == (160, 32, 32)


def test_options_reach_the_benchmark(call: Callable[..., Call], folder: Path, tmp_path: Path) -> None:
    words = ["--train", folder, "--max_epochs", 7, "--seeds", 3, "--jobs", 4, "--amp", "--weights", tmp_path]
    words += ["--threads", 2, "--no-resume", "--methods", "TPS", "auto", "--out", "there", "--films", 4, "--limit", 2]
    sequences, out, settings = call(*words)
    recipe = settings.recipe
    assert (recipe.folder, recipe.simulated, recipe.max_epochs) == (str(folder), 0, 7)
    assert (recipe.seeds, recipe.jobs, recipe.amp, recipe.weights) == (3, 4, True, str(tmp_path))
    assert (settings.methods, settings.threads, settings.resume, out) == (("TPS", "auto"), 2, False, "there")
    assert list(sequences.films) == ["film00", "film03"]
    sequences, _, _ = call("--data", folder, "--frames", 2, "--frame_size", 40, "--limit", 1)
    assert list(sequences.films) == ["01 nucleus 1"]
    assert sequences.films["01 nucleus 1"]().images.shape == (2, 1, 40, 40)


def test_wrong_options_are_refused(
    refused: Refused, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = refused(["benchmark", "known-warps", "--methods", "auto", "--seeds", 3])
    assert text == (
        "--seeds is an option of the cases nuclei, cardiac and mnist, but the case is 'known-warps'; leave it out"
    )
    assert "--amp is an option" in refused(["benchmark", "simulated-nuclei", "--methods", "auto", "--amp"])
    assert refused(["benchmark", "nuclei", "--data", folder, "--films", 2]).startswith("films is 2 beside --data")
    assert "method is 'TPSS', expected one of" in refused(["benchmark", "nuclei", "--methods", "TPSS"])
    assert "is not an existing folder" in refused(["benchmark", "nuclei", "--data", tmp_path / "absent"])
    assert refused(["benchmark", "nuclei", "--limit", 0]).startswith("limit is 0")
    assert refused(["benchmark", "nuclei", "--data", folder, "--limit", 0]).startswith("limit is 0")
    assert refused(["benchmark", "nuclei", "--seeds", 0]).startswith("seeds is 0")


def test_a_tiny_run_leaves_networks_tables_and_pictures(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(side_by_side, "ProcessPoolExecutor", lambda count, mp_context: ThreadPoolExecutor(1))
    out = tmp_path / "out"
    words = ["benchmark", "nuclei", "--quick", "--data", folder, "--frame_size", 32, "--image_size", 32]
    words += ["--max_epochs", 1, "--simulated", 8, "--methods", "joint", "Affine", "--out", out]
    assert main([*map(str, words)]) == 0
    shown = capsys.readouterr()
    assert shown.err == "" and shown.out == f"{(out / 'table.md').read_text()}\nwritten to {out}\n"
    assert {path.name for path in out.iterdir()} == {
        "networks", "rows.jsonl", "results.csv", "results.json", "table.md", "report.html", "gallery.png"
    }  # fmt: skip
    assert {path.name for path in (out / "networks").iterdir()} == {"Affine-0"}
    with (out / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 3  # films, later frames, methods and none
    assert {row["method"] for row in rows} == {"unregistered", "Affine-0", "joint"}
    assert all(0 < float(row["iou_after"]) <= 1 and row["failure"] == "" for row in rows)
    assert all((row["segmentation_iou"] != "") is (row["name"] == "joint") for row in rows)
    lines = json.loads((out / "results.json").read_text(), parse_constant=pytest.fail)["methods"]
    assert [line["method"] for line in lines] == ["unregistered", "Affine", "unregistered", "joint"]
    affine = [float(row["iou_after"]) for row in rows if row["name"] == "Affine"]
    assert lines[1]["iou"]["mean"] == pytest.approx(np.mean(affine))
    assert lines[1]["made_iou"]["units"] == 8 and lines[1]["seconds"] > 0
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Affine (paper 0.910)" in page and "data:image/png;base64" in page
    assert Image.open(out / "gallery.png").size[0] == 1200
    before = (out / "rows.jsonl").read_text()
    assert main([*map(str, words)]) == 0
    assert (out / "rows.jsonl").read_text() == before
