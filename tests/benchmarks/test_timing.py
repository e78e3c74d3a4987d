"""Candidates run in turn, ratios are those of their rounds, memory is counted to the byte, threads are put back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from monai_cellreg.benchmarks import timing
from monai_cellreg.benchmarks.timing import (
    Comparison,
    Timing,
    compare,
    gradients,
    one_thread,
    peak_bytes,
    speed_command,
    table,
    write,
)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock with one entry: now."""
    now = [0.0]
    monkeypatch.setattr(timing, "perf_counter", lambda: now[0])
    return now


def taking(clock: list[float], *seconds: float) -> Callable[[], None]:
    """A candidate whose runs take so long."""
    left = iter(seconds)

    def run() -> None:
        clock[0] += next(left)

    return run


def test_ratios_are_medians_over_rounds(clock: list[float]) -> None:
    order: list[str] = []

    def telling(name: str, run: Callable[[], None]) -> Callable[[], None]:
        return lambda: (order.append(name), run())[1]

    # the first run is not counted; in the second round a neighbour slows all ten times
    runs = {"peer": taking(clock, 99, 2, 20, 4, 0), "fast": taking(clock, 99, 1, 12, 1, 0)}
    slow, quick = compare("part", {name: telling(name, run) for name, run in runs.items()}, repeats=3)
    assert (slow.part, slow.candidate, slow.ratio, slow.times_copy) == ("part", "peer", 1.0, None)
    assert (quick.candidate, quick.seconds, quick.best_seconds) == ("fast", 1, 1)
    assert slow.seconds == 4 and slow.best_seconds == 2
    assert quick.ratio == 0.5  # of 0.5, 0.6, 0.25
    assert order[:-2] == ["peer", "fast", "peer", "fast", "fast", "peer", "peer", "fast"]
    assert sorted(order[-2:]) == ["fast", "peer"]  # once more, for the memory


def test_copy_runs_along_and_is_what_times_copy_refers_to(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    copy = taking(clock, 99, 0.5, 0.5)
    monkeypatch.setattr(timing, "_copy", lambda moved_bytes: (asked.append(moved_bytes), copy)[1])
    timings = compare("part", {"peer": taking(clock, 99, 2, 2, 0)}, repeats=2, moved_bytes=4000)
    assert [t.candidate for t in timings] == ["peer"]
    assert timings[0].times_copy == 4 and asked == [4000]


def test_copy_reads_half_of_the_bytes_and_writes_half() -> None:
    assert timing._copy(4000)().nbytes == 2000


def test_one_thread_and_back() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        seen: list[int] = []
        compare("part", {"peer": lambda: seen.append(torch.get_num_threads())}, repeats=1)
        assert set(seen) == {1} and torch.get_num_threads() == 2
        with pytest.raises(KeyError), one_thread():
            raise KeyError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_peak_is_the_largest_sum_at_a_time() -> None:
    def run() -> torch.Tensor:
        first = torch.empty(1000)
        second = torch.empty(3000)
        del first
        third = torch.empty(500)
        del second
        return third

    assert peak_bytes(run) == 16000
    assert peak_bytes(lambda: None) == 0


def test_gradients_of_those_that_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([3.0, 5.0])
    (found,) = gradients(torch.mul, x, y, seed=3)()
    torch.testing.assert_close(found, y * torch.rand(2, generator=torch.Generator().manual_seed(3)))
    assert x.grad is None


def test_files_and_table(tmp_path: Path) -> None:
    timings = [
        Timing("warp", "MONAI", 0.01234, 0.012, 1.0, 20.04, 12_340_000),
        Timing("warp", "ours", 0.004, 0.0039, 0.3241, None, 0),
    ]
    lines = table(timings).splitlines()
    assert lines[0].count("|") == lines[1].count("|") == 7
    assert lines[2:] == ["| warp | MONAI | 12.3 | 1.000 | 20.0 | 12.3 |", "| warp | ours | 4.0 | 0.324 |  | 0.0 |"]
    write(timings, tmp_path / "new", "speed")
    assert (tmp_path / "new" / "speed.md").read_text() == table(timings) + "\n"
    assert [Timing(**row) for row in json.loads((tmp_path / "new" / "speed.json").read_text())] == timings


def test_command_times_every_case_and_leaves_its_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs: list[str] = []
    quick_asked: list[bool] = []

    def cases(*, quick: bool) -> list[Comparison]:
        quick_asked.append(quick)
        return [
            Comparison("warp", {"peer": lambda: runs.append("peer"), "ours": lambda: None}),
            Comparison("loss", {"peer": lambda: None}, moved_bytes=4000),
        ]

    for options, rounds in (([], 3), (["--repeats", "5"], 5), (["--quick"], 2)):
        runs.clear()
        speed_command("speed", "How fast.", cases, repeats=3, arguments=["--out", str(tmp_path / "new"), *options])
        assert len(runs) == 1 + rounds + 1  # one that is not counted, one for the memory
        written = (tmp_path / "new" / "speed.md").read_text()
        assert capsys.readouterr().out == written
        rows = [Timing(**row) for row in json.loads((tmp_path / "new" / "speed.json").read_text())]
        assert [(row.part, row.candidate) for row in rows] == [("warp", "peer"), ("warp", "ours"), ("loss", "peer")]
        assert [row.times_copy is None for row in rows] == [True, True, False]
    assert quick_asked == [False, False, True]
    with pytest.raises(SystemExit):
        speed_command("speed", "How fast.", cases, repeats=3, arguments=["--help"])
    assert "How fast." in capsys.readouterr().out


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(ValueError, match="^warp: 0 candidates and 3 repeats; expected at least one of both"):
        compare("warp", {}, repeats=3)
    with pytest.raises(ValueError, match="^warp: 1 candidates and 0 repeats"):
        compare("warp", {"peer": lambda: None}, repeats=0)
