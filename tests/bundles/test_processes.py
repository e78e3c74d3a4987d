"""Bundles train in two processes, and go on after a kill as if nothing had been."""

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

Arguments = Callable[[dict[str, Any]], list[str]]
Environment = dict[str, str]

pytestmark = [
    pytest.mark.filterwarnings("ignore:parsing config_file"),  # MONAI's reminder that a bundle is code
    pytest.mark.parametrize("bundle", ["joint", "dirnet"], indirect=True),  # segreg trains by the parts of joint
]


def test_two_processes_train_and_leave_one_checkpoint(
    bundle: Any, tmp_path: Path, environment: Environment, arguments: Arguments
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    _, files = bundle.typed("torchrun")
    start = {"initial_weights": str(bundle.run_dir / "model.pt"), "learning_rate": 0.0}
    overrides = {**bundle.tiny, **start, "batch_size": 2, "validation_items": 5, "output_dir": str(tmp_path / "run")}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={port}"]
    command += ["-m", "monai.bundle", "run", "training", "--config_file", str(files), *arguments(overrides)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    written = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert written == ["average.pt", "last.pt", "model.pt", "tensorboard"]
    reports = [len(list((folder / "tensorboard").iterdir())) for folder in (bundle.run_dir, tmp_path / "run")]
    assert reports[0] == reports[1]
    last, initial = torch.load(tmp_path / "run" / "last.pt"), torch.load(bundle.run_dir / "model.pt")
    assert (last["run"]["epoch"], last["run"]["iteration"]) == (1, bundle.tiny[bundle.count_key] // (2 * 2))
    assert set(last["network"]) == set(initial)
    learnt = [name for name in initial if name.endswith((".weight", ".bias"))]
    assert len(learnt) > 5 and [name for name in learnt if not torch.equal(last["network"][name], initial[name])] == []


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
    bundle: Any, tmp_path: Path, environment: Environment, arguments: Arguments
) -> None:
    settings = {**bundle.tiny, bundle.count_key: 16, "max_epochs": 8}
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = [sys.executable, "-m", "monai.bundle", "run", "training"]
    process = subprocess.Popen(
        [
            *(*command, "--config_file", f"bundles/{bundle.name}/train.json"),
            *arguments({**settings, "output_dir": killed}),
        ],
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
    run_bundle(bundle.name, [], {**settings, "output_dir": str(killed), "resume": True})
    run_bundle(bundle.name, [], {**settings, "output_dir": str(whole)})
    for name in ("average.pt", "last.pt", "model.pt"):
        resumed, uninterrupted = (torch.load(folder / name) for folder in (killed, whole))
        assert equal(resumed, uninterrupted), f"{name} differs after a kill {delay:.2f} s after epoch 1, at {epoch}"
    assert torch.load(whole / "last.pt")["run"]["epoch"] == 8
