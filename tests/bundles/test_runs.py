"""Every bundle trains, is measured and registers two files by the commands that its README documents."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

from monai_cellreg.data import list_items, split_by_group
from monai_cellreg.methods import run_bundle

Settings = dict[str, Any]
Arguments = Callable[[Settings], list[str]]
NUCLEI = pytest.mark.parametrize("bundle", ["joint", "segreg"], indirect=True)

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file")  # MONAI's reminder that a bundle is code


def test_two_iterations_by_the_documented_command(
    bundle: Any, tmp_path: Path, environment: dict[str, str], arguments: Arguments
) -> None:
    config = ["--config_file", f"bundles/{bundle.name}/train.json"]
    assert f"python -m monai.bundle run training {' '.join(config)}\n" in bundle.text("README.md")
    command = [sys.executable, "-m", "monai.bundle", "run", "training", *config]
    command += arguments({**bundle.tiny, "output_dir": tmp_path / "run"})
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    last = torch.load(tmp_path / "run" / "last.pt")
    assert (last["run"]["epoch"], last["run"]["iteration"]) == (1, 2)
    assert (tmp_path / "run" / "model.pt").is_file()
    assert list((tmp_path / "run" / "tensorboard").glob("events.out.*"))
    shown = done.stdout + done.stderr
    train = bundle.content("train.json")
    key_metric = "registration_ncc" if bundle.name == "dirnet" else "registration_iou"
    assert f"{key_metric}_metric" in train["validate"]["key_metric"]
    assert re.search(rf"epoch 1/1: .*{key_metric} 0\.\d+", shown)
    weights = {name: term.get("weight", 1) for name, term in train["objective"]["terms"].items()}
    for term in (*(name for name, weight in weights.items() if train.get(str(weight)[1:], weight) != 0), "loss"):
        assert re.search(rf"\b{term}=-?\d", shown), term


def test_missing_initial_weights_stop_the_training(bundle: Any, tmp_path: Path) -> None:
    overrides = {**bundle.tiny, "initial_weights": str(tmp_path / "no.pt"), "output_dir": str(tmp_path)}
    with pytest.raises(RuntimeError, match="load_weights") as caught:
        run_bundle(bundle.name, [], overrides)
    assert isinstance(caught.value.__cause__, FileNotFoundError)


@NUCLEI
def test_evaluation_of_a_training_on_groups_that_it_never_saw(
    bundle: Any, nuclei_folder: Callable[..., Path], tmp_path: Path
) -> None:
    fields = nuclei_folder(9)
    overrides = {
        **bundle.tiny,
        "simulated": 0,
        "dataset_dir": str(fields),
        "checkpoint": str(bundle.run_dir / "model.pt"),
    }
    bundle.run_as_typed("run evaluating", {**overrides, "output_dir": str(tmp_path / "evaluation")})
    assert {path.name for path in (tmp_path / "evaluation").iterdir()} == {"metrics.json", "pairs.csv", "pairs.png"}
    means = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())
    assert 0.84 < means["unregistered_iou"] < 0.9
    with (tmp_path / "evaluation" / "pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    _, _, test = split_by_group(list_items(fields), seed=0)
    assert {row["group"] for row in rows} == {item["group"] for item in test}
    assert means["registration_iou"] == pytest.approx(np.mean([float(row["registration_iou"]) for row in rows]))


@NUCLEI
def test_shipped_weights_register_what_they_have_not_seen(bundle: Any, tmp_path: Path) -> None:
    bundle.run_as_typed("run evaluating", {"simulated": 6, "batch_size": 3, "output_dir": str(tmp_path)})
    means = json.loads((tmp_path / "metrics.json").read_text())
    assert means["registration_iou"] > means["unregistered_iou"] + 0.02
    assert means["segmentation_iou"] > (0.6 if bundle.name == "joint" else 0.999)


@NUCLEI
def test_inference_registers_two_files(bundle: Any, film_files: Path) -> None:
    fixed, moving = (str(film_files / f"day{t}.tif") for t in range(2))
    bundle.run_as_typed("inference.json", {"fixed": fixed, "moving": moving, "output_dir": str(film_files / "out")})
    written = {path.name for path in (film_files / "out").iterdir()}
    assert written == {"warped.tif", "transform.h5", "metrics.json", "overlay.png", "report.html"}
    images = [tifffile.imread(path).astype(float) for path in (fixed, moving, film_files / "out" / "warped.tif")]
    before, after = (np.corrcoef(images[0].ravel(), image.ravel())[0, 1] for image in images[1:])
    assert after > before
