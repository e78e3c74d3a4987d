"""The other ways to run the joint bundle: measure, register, train the regressor alone, on two processes, go on."""

from __future__ import annotations

import ast
import csv
import json
import logging
import os
import pydoc
import random
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from monai.bundle import ConfigWorkflow, run
from monai.data import DistributedSampler

from monai_cellreg.data import list_items, split_by_group
from monai_cellreg.engines import StrictConfigWorkflow
from monai_cellreg.methods import run_bundle
from monai_cellreg.networks import JointSegmentationRegistration

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "bundles" / "joint"
OVERLAYS = ("evaluate.json", "inference.json", "segmented.json", "multi_gpu_train.json")
Settings = dict[str, Any]

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file")  # MONAI's reminder that a bundle is code


def content(name: str) -> dict[str, Any]:
    return json.loads((BUNDLE / name).read_text(encoding="utf-8"))


def typed(mark: str) -> tuple[str, list[str]]:
    """Run id and configuration of the first command in the bundle's README that contains ``mark``."""
    lines = (BUNDLE / "README.md").read_text(encoding="utf-8").splitlines()
    words = shlex.split(next(line for line in lines if "monai.bundle run" in line and mark in line))
    start = words.index("run") + 1
    config = words[words.index("--config_file") + 1]
    files = ast.literal_eval(config) if config.startswith("[") else [config]
    return ("run" if words[start].startswith("--") else words[start]), files


def run_as_typed(mark: str, overrides: Settings) -> None:
    """What the documented command does, in this process and with other overrides."""
    run_id, files = typed(mark)
    run(run_id=run_id, config_file=files, **overrides)


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The documented commands name their files from the root of the repository."""
    monkeypatch.chdir(ROOT)


def environment() -> dict[str, str]:
    """Of a subprocess that must compute as this process does."""
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(torch.get_num_threads())}


def arguments(overrides: Settings) -> list[str]:
    return [f"--{key}={value}" for key, value in overrides.items()]


# --- configuration --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OVERLAYS)
def test_all_that_an_overlay_names_exists(name: str) -> None:
    text = (BUNDLE / name).read_text(encoding="utf-8")
    targets = set(re.findall(r'"_target_": "([\w.]+)"', text)) | set(re.findall(r"\bmonai_cellreg(?:\.\w+)+", text))
    assert name == "segmented.json" or targets
    assert [target for target in sorted(targets) if pydoc.locate(target) is None] == []
    train = StrictConfigWorkflow(str(BUNDLE / "train.json")).parser
    assert [key for key in content(name) if "::" in key and key not in train] == []


@pytest.mark.parametrize("name", OVERLAYS)
def test_all_that_an_overlay_refers_to_exists(name: str) -> None:
    merged = StrictConfigWorkflow([str(BUNDLE / "train.json"), str(BUNDLE / name)]).parser
    references = set(re.findall(r"@(\w+(?:::\w+)*)", (BUNDLE / name).read_text(encoding="utf-8")))
    assert [reference for reference in sorted(references) if reference not in merged] == []


def test_monai_finds_the_parts_that_it_looks_for(tiny: Settings, tmp_path: Path) -> None:
    workflow = ConfigWorkflow(str(BUNDLE / "train.json"), workflow_type="train", **tiny, output_dir=str(tmp_path))
    workflow.initialize()
    assert workflow.check_properties() == []
    assert Path(workflow.bundle_root).resolve() == BUNDLE
    assert workflow.max_epochs == tiny["max_epochs"] and len(workflow.train_dataset) == tiny["simulated"]
    workflow.finalize()


def test_metadata_is_what_monai_expects() -> None:
    metadata = content("metadata.json")
    required = {"version", "changelog", "monai_version", "pytorch_version", "numpy_version", "task", "description"}
    required |= {"required_packages_version", "authors", "copyright", "network_data_format", "schema"}
    assert required - set(metadata) == set()
    assert metadata["version"] in metadata["changelog"]
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE))
    keys = {"monai": "monai_version", "torch": "pytorch_version", "numpy": "numpy_version"}
    versions = {name: metadata[key] for name, key in keys.items()}
    versions |= metadata["required_packages_version"]
    assert versions == {name: pins[name] for name in versions}
    size = content("train.json")["image_size"]
    form = metadata["network_data_format"]
    for part in (*form["inputs"].values(), *form["outputs"].values()):
        assert part["spatial_shape"] == [size, size]
        assert len(part["channel_def"]) == part["num_channels"]


def test_metadata_names_what_the_network_takes_and_gives() -> None:
    form = content("metadata.json")["network_data_format"]
    shape = form["inputs"]["fixed"]["spatial_shape"]
    images = {name: torch.rand(1, part["num_channels"], *shape) for name, part in form["inputs"].items()}
    with torch.no_grad():
        answer = JointSegmentationRegistration(shape).eval()(**images)
    for name, part in form["outputs"].items():
        assert answer[name].shape == (1, part["num_channels"], *part["spatial_shape"])
        assert answer[name].dtype == getattr(torch, part["dtype"])


def test_logging_goes_to_the_console_and_ignite_only_warns() -> None:
    StrictConfigWorkflow(str(BUNDLE / "train.json"))
    root, ignite = logging.getLogger(), logging.getLogger("ignite")
    assert root.getEffectiveLevel() == logging.INFO
    assert [handler.stream for handler in root.handlers if type(handler) is logging.StreamHandler] == [sys.stdout]
    assert ignite.getEffectiveLevel() == logging.WARNING and ignite.propagate


# --- evaluation and inference ---------------------------------------------------------------------------------------


def test_evaluation_of_a_training_on_groups_that_it_never_saw(
    tiny: Settings, tiny_run: Path, nuclei_folder: Callable[..., Path], tmp_path: Path
) -> None:
    fields = nuclei_folder(9)
    overrides = {**tiny, "simulated": 0, "dataset_dir": str(fields), "checkpoint": str(tiny_run / "model.pt")}
    run_as_typed("run evaluating", {**overrides, "output_dir": str(tmp_path / "evaluation")})
    assert {path.name for path in (tmp_path / "evaluation").iterdir()} == {"metrics.json", "pairs.csv", "pairs.png"}
    means = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())
    assert 0.84 < means["unregistered_iou"] < 0.9
    with (tmp_path / "evaluation" / "pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    _, _, test = split_by_group(list_items(fields), seed=0)
    assert {row["group"] for row in rows} == {item["group"] for item in test}
    assert means["registration_iou"] == pytest.approx(np.mean([float(row["registration_iou"]) for row in rows]))


def test_shipped_weights_register_what_they_have_not_seen(tmp_path: Path) -> None:
    means = {}
    for passes in (1, 3):
        out = str(tmp_path / str(passes))
        run_as_typed("run evaluating", {"simulated": 6, "batch_size": 3, "passes": passes, "output_dir": out})
        means[passes] = json.loads((tmp_path / str(passes) / "metrics.json").read_text())
        assert means[passes]["registration_iou"] > means[passes]["unregistered_iou"]
        assert means[passes]["segmentation_iou"] > 0.6
    assert means[1]["unregistered_iou"] == means[3]["unregistered_iou"]
    assert means[1]["registration_iou"] != means[3]["registration_iou"]


def test_inference_registers_two_files(film_files: Path) -> None:
    fixed, moving = (str(film_files / f"day{t}.tif") for t in range(2))
    run_as_typed("inference.json", {"fixed": fixed, "moving": moving, "output_dir": str(film_files / "out")})
    written = {path.name for path in (film_files / "out").iterdir()}
    assert written == {"warped.tif", "transform.h5", "metrics.json", "overlay.png", "report.html"}
    images = [tifffile.imread(path).astype(float) for path in (fixed, moving, film_files / "out" / "warped.tif")]
    fixed_label = tifffile.imread(film_files / "label0.tif") > 0
    before, after = (np.corrcoef(images[0].ravel(), image.ravel())[0, 1] for image in images[1:])
    assert fixed_label.any() and after > before


# --- trainings ------------------------------------------------------------------------------------------------------


def test_joint_training_starts_from_a_regressor_trained_on_segmentations(tiny: Settings, tmp_path: Path) -> None:
    alone, joint = tmp_path / "segmented", tmp_path / "joint"
    run_as_typed("segmented.json", {**tiny, "output_dir": str(alone), "learning_rate": 0.01})
    weights = torch.load(alone / "model.pt")
    assert weights and all(name.startswith("regressor.") for name in weights)
    assert float(weights["regressor.out.weight"].abs().max()) > 0
    start = {"initial_weights": str(alone / "model.pt"), "learning_rate": 0.0}
    run_as_typed("--initial_weights", {**tiny, **start, "output_dir": str(joint)})
    began = torch.load(joint / "last.pt")["network"]
    assert any(name.startswith("segmentation.") for name in began)
    for name in ("regressor.out.weight", "regressor.out.bias", "regressor.hidden.1.weight"):
        assert torch.equal(began[name], weights[name])


def test_missing_initial_weights_stop_the_training(tiny: Settings, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="load_weights") as caught:
        run_bundle("joint", [], {**tiny, "initial_weights": str(tmp_path / "no.pt"), "output_dir": str(tmp_path)})
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_two_processes_train_and_leave_one_checkpoint(tiny: Settings, tiny_run: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    _, files = typed("torchrun")
    start = {"initial_weights": str(tiny_run / "model.pt"), "learning_rate": 0.0}
    overrides = {**tiny, **start, "batch_size": 2, "validation_items": 5, "output_dir": str(tmp_path / "run")}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={port}"]
    command += ["-m", "monai.bundle", "run", "training", "--config_file", str(files), *arguments(overrides)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["last.pt", "model.pt", "tensorboard"]
    reports = [len(list((folder / "tensorboard").iterdir())) for folder in (tiny_run, tmp_path / "run")]
    assert reports[0] == reports[1]
    last, initial = torch.load(tmp_path / "run" / "last.pt"), torch.load(tiny_run / "model.pt")
    assert (last["run"]["epoch"], last["run"]["iteration"]) == (1, tiny["simulated"] // (2 * 2))
    assert set(last["network"]) == set(initial)
    for name in ("regressor.out.weight", "segmentation.unet.final_conv.weight"):
        assert torch.equal(last["network"][name], initial[name])


def test_processes_validate_as_many_batches_each() -> None:
    """Where one process had a batch more, its collective operations would wait for the others for ever."""
    options = content("multi_gpu_train.json")["validate::sampler"]
    options = {name: value for name, value in options.items() if name not in ("_target_", "dataset")}
    parts = [list(DistributedSampler(range(5), num_replicas=2, rank=rank, **options)) for rank in range(2)]
    assert len(parts[0]) == len(parts[1]) and set(parts[0]) | set(parts[1]) == set(range(5))


def equal(a: Any, b: Any) -> bool:
    """Whether two nested states are the same to the last bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


def test_killed_training_goes_on_to_the_weights_of_the_uninterrupted_one(tiny: Settings, tmp_path: Path) -> None:
    settings = {**tiny, "simulated": 16, "max_epochs": 8}
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = [sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", "bundles/joint/train.json"]
    process = subprocess.Popen(
        [*command, *arguments({**settings, "output_dir": killed})],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    give_up = time.monotonic() + 120
    while not (killed / "last.pt").is_file() and process.poll() is None and time.monotonic() < give_up:
        time.sleep(0.01)
    delay = random.uniform(0, 1)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()
    epoch = torch.load(killed / "last.pt")["run"]["epoch"]
    run_bundle("joint", [], {**settings, "output_dir": str(killed), "resume": True})
    run_bundle("joint", [], {**settings, "output_dir": str(whole)})
    for name in ("last.pt", "model.pt"):
        resumed, uninterrupted = (torch.load(folder / name) for folder in (killed, whole))
        assert equal(resumed, uninterrupted), f"{name} differs after a kill {delay:.2f} s after epoch 1, at {epoch}"
    assert torch.load(whole / "last.pt")["run"]["epoch"] == 8
