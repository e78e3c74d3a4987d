"""``monai-cellreg benchmark mnist``: what its options mean, and what it leaves behind."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from monai_cellreg.apps.cli import main
from monai_cellreg.benchmarks import mnist, side_by_side
from monai_cellreg.benchmarks.dirnet_contenders import PairedSettings
from monai_cellreg.benchmarks.paired import PairedCase

Refused = Callable[[Sequence[Any]], str]
Call = tuple[PairedCase, str, PairedSettings]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """240 images of two classes: bars and columns in other places."""
    rng = np.random.default_rng(0)
    classes = np.arange(240, dtype=np.uint8) % 2
    images = np.zeros((240, 28, 28), np.uint8)
    for image, kind in zip(images, classes, strict=True):
        place = int(rng.integers(8, 20))
        image[place - 2 : place + 2, 4:24] = 250
        if kind:
            image[:] = image.T.copy()
    images[:, ::9, ::7] += rng.integers(0, 5, (240, 4, 4), dtype=np.uint8)
    data = tmp_path / "data"
    data.mkdir()
    (data / "images-idx3-ubyte").write_bytes(struct.pack(">4B3I", 0, 0, 8, 3, *images.shape) + images.tobytes())
    (data / "labels-idx1-ubyte").write_bytes(struct.pack(">4BI", 0, 0, 8, 1, 240) + classes.tobytes())
    return data


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Callable[..., Call]:
    """Gives a function from arguments to what the benchmark is asked for, in place of running it."""
    asked: list[Call] = []

    def listen(case: PairedCase, out: str, settings: PairedSettings) -> tuple[list[Any], str]:
        asked.append((case, out, settings))
        return [], "tables\n"

    def run(*arguments: object) -> Call:
        monkeypatch.setattr(mnist, "run_mnist", listen)
        assert main(["benchmark", "mnist", "--data", str(folder), *map(str, arguments)]) == 0
        return asked[-1]

    return run


def test_options_reach_the_benchmark(call: Callable[..., Call], folder: Path) -> None:
    case, out, settings = call()
    assert len(case.pairs) == 2 * 23 and out == "benchmark"  # a fifth of 240 is the test part
    assert settings.methods == ("DIRNet", "elastix-paper") and settings.recipe.settings == {}
    assert (settings.recipe.overlay, settings.recipe.data) == ("train_mnist.json", {"dataset_dir": str(folder)})
    case, _, settings = call("--quick")
    assert len(case.pairs) == 10 and settings.recipe.settings == {"max_epochs": 2, "pairs_per_epoch": 3200}
    words = ["--pairs", 7, "--seeds", 2, "--max_epochs", 3, "--weights", folder, "--methods", "DIRNet-refined"]
    case, out, settings = call(*words, "--out", "there", "--threads", 2, "--limit", 5)
    assert (len(case.pairs), out, settings.threads) == (5, "there", 2)
    recipe = settings.recipe
    assert (recipe.seeds, recipe.settings, recipe.weights) == (2, {"max_epochs": 3}, str(folder))


def test_wrong_options_are_refused(refused: Refused, folder: Path, tmp_path: Path) -> None:
    text = refused(["benchmark", "mnist"])
    assert text.startswith("data is missing; expected --data and a folder with MNIST's train-images-idx3-ubyte")
    assert "is not an existing folder" in refused(["benchmark", "mnist", "--data", tmp_path / "absent"])
    assert "expected it plain or as .gz" in refused(["benchmark", "mnist", "--data", tmp_path])
    start = ["benchmark", "mnist", "--data", folder]
    assert refused([*start, "--pairs", 0]).startswith("pairs is 0")
    text = refused([*start, "--image_size", 32])
    assert text.startswith("--image_size is an option of the cases nuclei and cardiac, but the case is 'mnist'")
    assert "method is 'DIRNet-C1', expected one of" in refused([*start, "--methods", "DIRNet-C1"])
    assert "weights" in refused([*start, "--weights", tmp_path / "absent.pt"])


def test_a_tiny_run_leaves_a_network_tables_and_pictures(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(side_by_side, "ProcessPoolExecutor", lambda count, mp_context: ThreadPoolExecutor(1))
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    out = tmp_path / "out"
    words = ["benchmark", "mnist", "--quick", "--data", folder, "--pairs", 2, "--pairs_per_epoch", 320]
    words += ["--methods", "DIRNet", "--out", out]
    assert main([*map(str, words)]) == 0
    shown = capsys.readouterr()
    assert shown.err == "" and shown.out == f"{(out / 'table.md').read_text()}\nwritten to {out}\n"
    assert {path.name for path in (out / "networks").iterdir()} == {"DIRNet-0"}
    lines = json.loads((out / "results.json").read_text(), parse_constant=pytest.fail)["methods"]
    assert [line["method"] for line in lines] == ["unregistered", "DIRNet"] and lines[1]["pairs"] == 4
    assert (out / "class_averages.png").is_file() and (out / "learning_curves.png").is_file()
    other = [*words[:-1], tmp_path / "other", "--weights", out / "networks" / "DIRNet-0" / "model.pt"]
    assert main([*map(str, other)]) == 0
    again = json.loads((tmp_path / "other" / "results.json").read_text())["methods"]
    assert again[1]["scores"]["ncc"]["mean"] == lines[1]["scores"]["ncc"]["mean"]
    assert not (tmp_path / "other" / "networks").exists()
