"""The joint bundle: the paper's settings, a start from a registration alone, two processes, a kill and a resume."""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from monai_cellreg.methods import run_bundle

Settings = dict[str, Any]
Arguments = Callable[[Settings], list[str]]
Environment = dict[str, str]

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file")  # MONAI's reminder that a bundle is code


def test_paper_settings(joint: Any) -> None:
    train = joint.content("train.json")
    terms = train["objective"]["terms"]
    assert (train["control_shape"], train["registers"]) == ([5, 5], "masks")
    assert train["learning_rate"] == 0.001 and train["train"]["optimizer"]["_target_"] == "torch.optim.Adam"
    assert (terms["transformation"]["weight"], terms["cycle"]["weight"]) == (1.0, 0.1)


def test_ablations_are_single_overrides(joint: Any, tiny: Settings, tmp_path: Path) -> None:
    """Without the cycle loss, and with the heat maps as they are, of other transformation models."""
    changes = {"transformer": "affine_flownet", "registers": "heat_maps", "objective::terms::cycle::weight": 0.0}
    run_bundle("joint", [], {**tiny, **changes, "output_dir": str(tmp_path)})
    names = {name.split(".")[0] for name in torch.load(tmp_path / "model.pt")}
    assert names == {"segmentation", "registration"}


def test_joint_training_starts_from_a_registration_trained_on_segmentations(
    joint: Any, segreg: Any, tiny: Settings, tmp_path: Path
) -> None:
    same = {**tiny, "transformer": "tps", "learning_rate": 0.01}
    run_bundle("segreg", [], {**same, "output_dir": str(tmp_path / "alone")})
    weights = torch.load(tmp_path / "alone" / "model.pt")
    out = "registration.stages.0.network.out.weight"
    assert all(name.startswith("registration.") for name in weights) and weights[out].abs().max() > 0
    start = {**same, "initial_weights": str(tmp_path / "alone" / "model.pt")}
    trained = {}
    for name, more in (("frozen", {"frozen": ["registration"]}), ("free", {"frozen": []})):
        joint.run_as_typed("--initial_weights", {**start, **more, "output_dir": str(tmp_path / name)})
        trained[name] = torch.load(tmp_path / name / "last.pt")["network"]
    learnt = [name for name in weights if name.endswith((".weight", ".bias"))]
    assert [name for name in learnt if not torch.equal(trained["frozen"][name], weights[name])] == []
    assert not torch.equal(trained["free"][out], weights[out])
    assert torch.load(tmp_path / "frozen" / "last.pt")["optimizer"]["state"]  # the segmentation was trained
    start["initial_weights"] = str(segreg.run_dir / "model.pt")  # of another transformer
    with pytest.raises(RuntimeError, match="load_weights") as caught:
        run_bundle("joint", [], {**start, "output_dir": str(tmp_path / "refused")})
    assert "is not of this network" in str(caught.value.__cause__)


def test_two_processes_train_and_leave_one_checkpoint(
    joint: Any, tiny: Settings, tmp_path: Path, environment: Environment, arguments: Arguments
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    _, files = joint.typed("torchrun")
    start = {"initial_weights": str(joint.run_dir / "model.pt"), "learning_rate": 0.0}
    overrides = {**tiny, **start, "batch_size": 2, "validation_items": 5, "output_dir": str(tmp_path / "run")}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={port}"]
    command += ["-m", "monai.bundle", "run", "training", "--config_file", str(files), *arguments(overrides)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "average.pt",
        "last.pt",
        "model.pt",
        "tensorboard",
    ]
    reports = [len(list((folder / "tensorboard").iterdir())) for folder in (joint.run_dir, tmp_path / "run")]
    assert reports[0] == reports[1]
    last, initial = torch.load(tmp_path / "run" / "last.pt"), torch.load(joint.run_dir / "model.pt")
    assert (last["run"]["epoch"], last["run"]["iteration"]) == (1, tiny["simulated"] // (2 * 2))
    assert set(last["network"]) == set(initial)
    for name in ("registration.stages.0.network.out.weight", "segmentation.unet.final_conv.weight"):
        assert torch.equal(last["network"][name], initial[name])


def equal(a: Any, b: Any) -> bool:
    """Whether two nested states are the same to the last bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


def test_killed_training_goes_on_to_the_weights_of_the_uninterrupted_one(
    tiny: Settings, tmp_path: Path, environment: Environment, arguments: Arguments
) -> None:
    settings = {**tiny, "simulated": 16, "max_epochs": 8}
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = [sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", "bundles/joint/train.json"]
    process = subprocess.Popen(
        [*command, *arguments({**settings, "output_dir": killed})],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    give_up = time.monotonic() + 300
    while not (killed / "last.pt").is_file() and process.poll() is None and time.monotonic() < give_up:
        time.sleep(0.01)
    delay = random.uniform(0, 1)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()
    epoch = torch.load(killed / "last.pt")["run"]["epoch"]
    run_bundle("joint", [], {**settings, "output_dir": str(killed), "resume": True})
    run_bundle("joint", [], {**settings, "output_dir": str(whole)})
    for name in ("average.pt", "last.pt", "model.pt"):
        resumed, uninterrupted = (torch.load(folder / name) for folder in (killed, whole))
        assert equal(resumed, uninterrupted), f"{name} differs after a kill {delay:.2f} s after epoch 1, at {epoch}"
    assert torch.load(whole / "last.pt")["run"]["epoch"] == 8
