"""The results of a benchmark of pairs as files."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from .. import __version__
from ..methods.json_files import write_json
from ..report import BenchmarkPage, write_benchmark_page
from ..report.pictures import media_uri
from ..utils import atomic_path
from .cases_summary import UNREGISTERED
from .journal import Row
from .paired_summary import PairedSummary

__all__ = ["Told", "write_paired_results"]

COLUMNS = ("group", "pair", "name", "method", "seconds", "failure", "weights")


@dataclass(frozen=True)
class Told:
    """What is said beside the figures.

    Args:
        title: of the page, which names the benchmark.
        scores: names of what is told of each pair.
        unit: of lengths.
        notes: sentences on what was measured, and on what was left out.
        parameters: what was run.
        pictures: caption to a PNG in the folder, shown on the page where it exists.
        title_of: name of a method to what it is called on the page.
    """

    title: str
    scores: Sequence[str]
    unit: str = ""
    notes: Sequence[str] = ()
    parameters: Mapping[str, object] = field(default_factory=dict)
    pictures: Mapping[str, str] = field(default_factory=dict)
    title_of: Callable[[str], str] = str


def write_paired_results(
    folder: Path, rows: Sequence[Row], lines: Sequence[PairedSummary], tables: str, told: Told
) -> None:
    """Writes ``results.csv`` (a row a pair and method), ``results.json``, ``table.md`` and ``report.html``.

    Args:
        folder: for the files; the page shows pictures that lie in it.
        rows: of all pairs.
        lines: a summary a method.
        tables: what ``table.md`` holds.
        told: what is said beside.
    """
    columns = [*COLUMNS[:4], *told.scores, *COLUMNS[4:]]
    with atomic_path(folder / "results.csv") as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    with atomic_path(folder / "table.md") as temporary:
        Path(temporary).write_text(tables, encoding="utf-8")
    content = {"version": __version__, "parameters": dict(told.parameters), "notes": list(told.notes)}
    write_json(folder / "results.json", {**content, "unit": told.unit, "methods": [asdict(line) for line in lines]})
    files = {caption: folder / name for caption, name in told.pictures.items()}
    shown = {caption: media_uri("image/png", path.read_bytes()) for caption, path in files.items() if path.is_file()}
    page = BenchmarkPage(
        _page_rows(rows, told),
        title=told.title,
        unit=told.unit,
        reference=UNREGISTERED,
        note=told.notes,
        parameters=told.parameters,
        pictures=shown,
    )
    write_benchmark_page(folder / "report.html", page)


def _page_rows(rows: Sequence[Row], told: Told) -> list[Row]:
    """A row a pair and method; networks of several seeds as their mean."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row["name"], row["pair"]), []).append(row)
    page = []
    for (name, pair), group in found.items():
        scores = {score: float(np.mean([row[score] for row in group])) for score in (*told.scores, "seconds")}
        failures = [row["failure"] for row in group if row["failure"]]
        head = {"case": told.title, "pair": pair, "method": told.title_of(name)}
        page.append({**head, **scores, "failure": failures[0] if failures else None})
    return page
