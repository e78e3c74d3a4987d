"""Running methods over the pairs of a case: one row a pair, kept as soon as it is measured."""

from __future__ import annotations

import csv
import json
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .. import __version__
from ..geometry import AffineTransform, Pair
from ..methods import load_method, register
from ..methods.json_files import write_json
from ..report import BenchmarkPage, write_benchmark_page
from ..utils import atomic_path, ensure_writable_dir
from .cases import Case
from .cases_scores import pair_scores
from .cases_summary import SCORES, UNREGISTERED, Summary, summarise
from .journal import Journal, Row
from .threads import limited_threads

__all__ = ["RunSettings", "run_case"]

logger = logging.getLogger(__name__)

ROWS = "rows.jsonl"


@dataclass(frozen=True)
class RunSettings:
    """How a case is run.

    Args:
        methods: names.
        threads: processor threads that a method may use.
        resume: go on where an earlier run of the same case in the same folder ended, in place of starting again.
        progress: show a progress bar on stderr.

    Raises:
        ValueError: for no method, one named twice, or fewer than one thread.
    """

    methods: tuple[str, ...]
    threads: int = 1
    resume: bool = True
    progress: bool = False

    def __post_init__(self) -> None:
        if not self.methods or len(set(self.methods)) != len(self.methods):
            raise ValueError(f"methods is {list(self.methods)}, expected one or more different names")
        if self.threads < 1:
            raise ValueError(f"threads is {self.threads}, expected at least 1")


def run_case(case: Case, out: str | os.PathLike[str], settings: RunSettings) -> list[Summary]:
    """Registers every pair by every method, scores the maps and writes the results.

    Each row is added to ``rows.jsonl`` when its pair is done, so that an interrupted run goes on where it was. At the
    end ``results.csv`` (a row a pair and method), ``results.json`` (a summary a method) and ``report.html`` are
    written. A method that raises does not stop the run: its row keeps the reason and counts as unregistered.

    Args:
        case: the pairs.
        out: folder for the files; made when missing.
        settings: what to run, and how.

    Returns:
        One summary a method, that of the unregistered pairs first.

    Raises:
        ValueError: for an unknown method, or a folder that holds another case.
        OSError: when the folder cannot be written.
    """
    for name in settings.methods:
        load_method(name)  # an unknown name is told before the first pair
    folder = ensure_writable_dir(out)
    journal = Journal(folder / ROWS, _identity_of(case, settings), resume=settings.resume)
    names = (UNREGISTERED, *settings.methods)
    jobs = [(pair, name) for pair in case.pairs for name in names if (pair, name) not in journal.rows]
    loaded: tuple[str, Pair] | None = None
    with limited_threads(settings.threads):
        for pair_name, method in tqdm(jobs, desc=case.name, unit="pair", disable=not settings.progress, leave=False):
            if loaded is None or loaded[0] != pair_name:
                loaded = pair_name, case.pairs[pair_name]()
            journal.add({"pair": pair_name, "method": method, **_row(loaded[1], method)})
    rows = [journal.rows[pair, name] for pair in case.pairs for name in names]
    summaries = summarise(rows, names)
    _write_results(folder, case, settings, rows, summaries)
    return summaries


def _identity_of(case: Case, settings: RunSettings) -> str:
    text = json.dumps([case.name, case.fingerprint, settings.threads, __version__])
    return sha256(text.encode()).hexdigest()


def _row(pair: Pair, method: str) -> Row:
    """Scores of one method on one pair; of the identity where it raises, or its map has no finite scores."""
    identity = AffineTransform(np.eye(pair.fixed_grid.spatial_dims + 1))
    if method == UNREGISTERED:
        return {"failure": None, "seconds": 0.0, **pair_scores(pair, identity)}
    start = time.perf_counter()
    try:
        result = register(pair.fixed, pair.moving, method=method)  # labels and truth stay unseen
        return {"failure": None, "seconds": result.metrics["seconds"], **pair_scores(pair, result.transform)}
    except Exception as error:
        failure = f"{type(error).__name__}: {' '.join(str(error).split())}"
        logger.warning("%s failed: %s", method, failure)
        return {"failure": failure, "seconds": time.perf_counter() - start, **pair_scores(pair, identity)}


def _write_results(
    folder: Path, case: Case, settings: RunSettings, rows: Sequence[Row], summaries: Sequence[Summary]
) -> None:
    columns = ["pair", "method", "failure", *(score for score in SCORES if any(score in row for row in rows))]
    with atomic_path(folder / "results.csv") as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=columns)
        writer.writeheader()
        writer.writerows(rows)
    page = BenchmarkPage(
        [{"case": case.name, **row} for row in rows],
        title=f"Benchmark {case.name}",
        reference=UNREGISTERED,
        parameters={"Methods": ", ".join(settings.methods), "Pairs": len(case.pairs), "Threads": settings.threads},
    )
    write_benchmark_page(folder / "report.html", page)
    content = {"case": case.name, "version": __version__, "threads": settings.threads}
    write_json(folder / "results.json", {**content, "methods": [asdict(summary) for summary in summaries]})
