"""Trainings in processes of their own: they run on one thread, and all end when one fails."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from monai_cellreg.benchmarks import side_by_side
from monai_cellreg.benchmarks.side_by_side import run_side_by_side


@dataclass(frozen=True)
class Writer:
    """Writes its process and its threads; fails, or waits, where it is told to."""

    path: Path
    waits: float = 0.0
    fails: bool = False

    def run(self) -> None:
        if self.fails:
            raise ValueError("no data")
        self.path.write_text(f"{os.getpid()} {torch.get_num_threads()}")
        time.sleep(self.waits)
        self.path.with_suffix(".done").touch()

    def share_done(self) -> float:
        return 0.5


def test_each_has_a_process_and_one_thread(tmp_path: Path) -> None:
    run_side_by_side([Writer(tmp_path / name) for name in ("a", "b")], 1)
    told = [(tmp_path / name).read_text().split() for name in ("a", "b")]
    assert told[0] == told[1] and int(told[0][0]) != os.getpid() and told[0][1] == "1"
    run_side_by_side([], 2)


def test_a_failure_ends_the_others(tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(ValueError, match="no data"):
        run_side_by_side([Writer(tmp_path / "a", waits=300), Writer(tmp_path / "b", fails=True)], 2)
    assert time.monotonic() - start < 120 and not (tmp_path / "a.done").exists()


@pytest.fixture
def in_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(side_by_side, "ProcessPoolExecutor", lambda count, mp_context: ThreadPoolExecutor(1))
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    monkeypatch.setattr(side_by_side, "POLL_SECONDS", 0.05)
    yield


def test_the_bar_shows_the_share_of_all(in_threads: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_side_by_side([Writer(tmp_path / "a", waits=0.5), Writer(tmp_path / "b")], 1, progress=True)
    shown = capsys.readouterr().err
    assert "training:  50%" in shown and "100%" in shown
