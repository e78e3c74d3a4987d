"""Methods that keep the interpreter's lock register in another process, and answer as they do in this one."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytest.importorskip("monailabel", reason="MONAI Label is not installed: make test-label")

import torch

from monai_cellreg.apps.label_app.own_process import KEEP_THE_LOCK, OwnProcess, own_process
from monai_cellreg.apps.label_app.registrations import Registrations
from monai_cellreg.geometry import Pair, SamplingGrid
from monai_cellreg.methods import load_method


@pytest.fixture
def pair() -> Pair:
    rows, columns = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
    fixed, moving = (
        torch.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 60)[None] for row, column in ((24, 30), (21, 34))
    )
    grid = SamplingGrid((48, 64))
    return Pair(fixed, moving, grid, grid)


def test_map_is_that_of_this_process_and_the_process_is_another_one(pair: Pair) -> None:
    method = own_process("elastix")
    assert own_process("elastix") is method
    before = set(multiprocessing.active_children())
    points = SamplingGrid((48, 64)).world().reshape(-1, 2)
    found = method.register(pair).points(points)
    (process,) = set(multiprocessing.active_children()) - before
    assert torch.allclose(found, load_method("elastix").register(pair).points(points))
    assert abs(found[24 * 64 + 30] - torch.tensor([21.0, 34.0])).max() < 1
    method.register(pair)
    assert set(multiprocessing.active_children()) - before == {process}


def test_what_the_method_raises_comes_back(pair: Pair) -> None:
    with pytest.raises(ValueError, match="'auot'"):
        OwnProcess("auot").register(pair)


def test_killed_process_is_told_and_replaced(pair: Pair) -> None:
    method = OwnProcess("affine")
    before = set(multiprocessing.active_children())
    method.register(pair)
    (process,) = set(multiprocessing.active_children()) - before
    os.kill(process.pid, 9)
    process.join(20)
    with pytest.raises(RuntimeError, match="process of method 'affine' was ended"):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:  # the pool hears of it a moment later
            method.register(pair)
    assert method.register(pair) is not None


SERVER = """
import multiprocessing, os, torch
from monai_cellreg.apps.label_app.own_process import OwnProcess
from monai_cellreg.geometry import Pair, SamplingGrid
if __name__ == "__main__":
    grid = SamplingGrid((8, 9))
    image = torch.rand(1, 8, 9)
    try:
        OwnProcess("auot").register(Pair(image, image, grid, grid))
    except ValueError:
        print(multiprocessing.active_children()[0].pid, flush=True)
    os._exit(0)  # as a server that is killed
"""


def test_process_ends_with_a_server_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(SERVER)
    ended = subprocess.run([sys.executable, tmp_path / "server.py"], stdout=subprocess.PIPE, text=True, timeout=120)
    pid, deadline = int(ended.stdout), time.monotonic() + 20
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.1)


@pytest.mark.parametrize("name", KEEP_THE_LOCK)
def test_server_runs_them_there_and_others_here(name: str, tmp_path: Path) -> None:
    registrations = Registrations(tmp_path)
    assert registrations.method(name) is own_process(name)
    assert registrations.method("auto") == "auto"
