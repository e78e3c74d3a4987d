"""The results of the benchmark of nuclei as files."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..methods.json_files import write_json
from ..report import BenchmarkPage, write_benchmark_page
from ..report.pictures import media_uri
from ..utils import atomic_path
from .cases_summary import UNREGISTERED
from .journal import Row
from .nuclei_networks import NETWORKS, TABLES, table_of
from .nuclei_summary import NucleiSummary
from .nuclei_table import nuclei_tables

__all__ = ["GALLERY", "write_nuclei_results"]

GALLERY = "gallery.png"
COLUMNS = ("sequence", "frame", "name", "method", "iou_before", "iou_after", "segmentation_iou")
MORE_COLUMNS = ("folding_fraction", "seconds", "failure", "weights")
ON_PAGE = {"iou_after": "iou"} | {name: name for name in ("segmentation_iou", "folding_fraction", "seconds")}
CAPTION = "First and last frame of a few films; outlines are the true nuclei, white is agreement"


def write_nuclei_results(
    folder: Path,
    rows: Sequence[Row],
    lines: Sequence[NucleiSummary],
    *,
    notes: Sequence[str],
    parameters: Mapping[str, object],
) -> str:
    """Writes ``results.csv`` (a row a frame and method), ``results.json``, ``table.md`` and ``report.html``.

    Args:
        folder: for the files; the page shows the gallery that lies in it.
        rows: of all frames.
        lines: of the tables.
        notes: sentences on what was left out.
        parameters: what was run.

    Returns:
        The tables.
    """
    tables = nuclei_tables(lines, notes)
    with atomic_path(folder / "results.csv") as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=[*COLUMNS, *MORE_COLUMNS], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    with atomic_path(folder / "table.md") as temporary:
        Path(temporary).write_text(tables, encoding="utf-8")
    told = {"version": __version__, "parameters": dict(parameters), "notes": list(notes)}
    write_json(folder / "results.json", {**told, "methods": [asdict(line) for line in lines]})
    gallery = folder / GALLERY
    shown = {CAPTION: media_uri("image/png", gallery.read_bytes())} if gallery.is_file() else {}
    page = BenchmarkPage(
        _page_rows(rows),
        title="Benchmark nuclei",
        reference=UNREGISTERED,
        note=["All frames of a film registered to its first one; networks of several seeds as their mean.", *notes],
        parameters=parameters,
        pictures=shown,
    )
    write_benchmark_page(folder / "report.html", page)
    return tables


def _page_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """A row a table, method and frame; networks of several seeds as their mean, with the paper's figure in the name."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row["name"], row["pair"]), []).append(row)
    tables = {table_of(row["name"]) for row in rows if row["name"] != UNREGISTERED}
    page = []
    for table in (table for table in TABLES if table in tables):
        for (name, pair), group in found.items():
            if name == UNREGISTERED or table_of(name) == table:
                page.append({"case": table, "pair": pair, "method": _titled(name), **_means(group)})
    return page


def _titled(name: str) -> str:
    paper = NETWORKS[name].paper_iou if name in NETWORKS else None
    return name if paper is None else f"{name} (paper {paper:.3f})"


def _means(group: Sequence[Row]) -> dict[str, Any]:
    shown = {key: title for key, title in ON_PAGE.items() if key in group[0]}
    scores = {title: float(np.mean([row[key] for row in group])) for key, title in shown.items()}
    failures = [row["failure"] for row in group if row["failure"]]
    return {**scores, "failure": failures[0] if failures else None}
