"""Time and memory of ways to compute one thing, side by side."""

from __future__ import annotations

import argparse
import gc
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from tqdm import tqdm

from ..utils import atomic_path

Candidate = Callable[[], object]
COPY = "copy of as many bytes"


@dataclass(frozen=True)
class Comparison:
    """One thing to compute.

    Args:
        part: its name.
        candidates: name to callable, the peer first.
        moved_bytes: what any way has to read and write at least; 0 where it is not known.
    """

    part: str
    candidates: Mapping[str, Candidate]
    moved_bytes: int = 0


@dataclass(frozen=True)
class Timing:
    """What one candidate took.

    Args:
        part: what was computed.
        candidate: by which of the ways.
        seconds: median of the runs.
        best_seconds: fastest run.
        ratio: median over the rounds of the time relative to the first candidate's in the same round.
        times_copy: likewise relative to :data:`COPY`, the limit that the memory sets; ``None`` where it is not known.
        peak_bytes: largest sum of PyTorch's CPU memory taken during a run, above what was taken before.
    """

    part: str
    candidate: str
    seconds: float
    best_seconds: float
    ratio: float
    times_copy: float | None
    peak_bytes: int


def speed_command(
    name: str,
    description: str | None,
    cases: Callable[..., Iterable[Comparison]],
    *,
    repeats: int,
    arguments: Sequence[str] | None = None,
) -> None:
    """A command that times cases, prints a table and writes ``NAME.md`` and ``NAME.json``.

    Args:
        name: of the files.
        description: what ``--help`` tells.
        cases: called with ``quick``, whether tiny sizes will do; gives the cases, best one by one since each holds its
            arrays.
        repeats: rounds of every case unless the user says otherwise.
        arguments: of the command line; those of the process when omitted.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", default="runs/bench", help="folder for the table (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=repeats, help="rounds of every part (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes and two rounds: only whether it runs")
    options = parser.parse_args(arguments)
    timings: list[Timing] = []
    for case in cases(quick=options.quick):
        rounds = 2 if options.quick else options.repeats
        timings += compare(case.part, case.candidates, repeats=rounds, moved_bytes=case.moved_bytes)
    write(timings, Path(options.out), name)
    print(table(timings))


def compare(part: str, candidates: Mapping[str, Candidate], *, repeats: int, moved_bytes: int = 0) -> list[Timing]:
    """Runs candidates in turn, in this process, on one thread.

    A neighbour on the machine slows candidates of the same round alike, so that ratios within a round hold where
    seconds do not. Each round begins with another candidate.

    Args:
        part: what is computed.
        candidates: name to callable; the first is the peer that ratios refer to.
        repeats: number of rounds, after one that is not counted.
        moved_bytes: what any way has to read and write at least; a copy that moves as much runs along. 0: none.

    Returns:
        One timing a candidate.

    Raises:
        ValueError: when there is no candidate, or no round.
    """
    if not candidates or repeats < 1:
        raise ValueError(f"{part}: {len(candidates)} candidates and {repeats} repeats; expected at least one of both")
    runs = dict(candidates)
    if moved_bytes:
        runs[COPY] = _copy(moved_bytes)
    names = list(runs)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    with one_thread():
        for run in runs.values():
            run()
        for turn in tqdm(range(repeats), desc=part, leave=False):
            for place in range(len(names)):
                name = names[(turn + place) % len(names)]
                seconds[name].append(_seconds(runs[name]))
        peaks = {name: peak_bytes(run) for name, run in candidates.items()}
    return [
        Timing(
            part,
            name,
            median(seconds[name]),
            min(seconds[name]),
            _ratio(seconds[name], seconds[names[0]]),
            _ratio(seconds[name], seconds[COPY]) if moved_bytes else None,
            peaks[name],
        )
        for name in candidates
    ]


def peak_bytes(run: Candidate) -> int:
    """Largest sum of CPU memory that PyTorch takes during a call, in bytes, above what was taken before."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler tells of its own start and end
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run()
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return max(accumulate((event.nbytes() for event in events), initial=0))


@contextmanager
def one_thread() -> Iterator[None]:
    """Sets PyTorch to one thread, and back."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def table(timings: Sequence[Timing]) -> str:
    """A Markdown table; ratios below 1 are faster than the first way of each part."""
    lines = ["| part | way | ms | ratio | times copy | peak MB |", "|---|---|---|---|---|---|"]
    for t in timings:
        copy = "" if t.times_copy is None else f"{t.times_copy:.1f}"
        lines.append(
            f"| {t.part} | {t.candidate} | {1e3 * t.seconds:.1f} | {t.ratio:.3f} | {copy} | {t.peak_bytes / 1e6:.1f} |"
        )
    return "\n".join(lines)


def write(timings: Sequence[Timing], out: Path, name: str) -> None:
    """Writes ``NAME.md`` and ``NAME.json`` into a folder, which is made."""
    for suffix, text in ((".md", table(timings)), (".json", json.dumps([asdict(t) for t in timings], indent=2))):
        with atomic_path(out / f"{name}{suffix}") as temporary:
            Path(temporary).write_text(text + "\n", encoding="utf-8")


def gradients(function: Callable[..., Tensor], *inputs: Tensor, seed: int = 0) -> Candidate:
    """A candidate that calls a function and differentiates it with respect to those inputs that require it."""
    wanted = [x for x in inputs if x.requires_grad]
    with torch.no_grad():
        shape = function(*inputs).shape
    cotangent = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    return lambda: torch.autograd.grad(function(*inputs), wanted, cotangent)


def _seconds(run: Candidate) -> float:
    collecting = gc.isenabled()
    gc.disable()
    try:
        start = perf_counter()
        run()
        return perf_counter() - start
    finally:
        if collecting:
            gc.enable()


def _ratio(times: Sequence[float], others: Sequence[float]) -> float:
    return median(a / b for a, b in zip(times, others, strict=True))


def _copy(moved_bytes: int) -> Candidate:
    """Half of the bytes are read, half written."""
    source = torch.ones(max(moved_bytes // 8, 1))
    target = torch.empty_like(source)
    return lambda: target.copy_(source)
