"""The page of a benchmark run: methods side by side on the same pairs."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from markupsafe import Markup
from scipy.stats import wilcoxon

from .charts import box_plot
from .metric_table import chart_values, format_value, metric_title, metric_unit
from .rendering import write_page

__all__ = ["BenchmarkPage", "write_benchmark_page"]

KEYS = ("case", "pair", "method")
LOWER_IS_BETTER = ("error", "tre", "hd", "distance", "fold", "seconds", "displacement", "loss")  # parts of names
SIGNIFICANT = 0.05

Row = Mapping[str, Any]


@dataclass(frozen=True)
class BenchmarkPage:
    """What the page shows.

    Args:
        rows: one a method and pair: ``method``, ``case``, ``pair``, scores by name (numbers) and, where a method gave
            no map, the reason as ``failure``. A pair may lack a score.
        title: heading of the page.
        unit: unit of lengths.
        note: what a reader must know, a sentence each.
        reference: a method that is measured but does not compete, such as the identity.
        parameters: what was run.
        pictures: caption to a picture as a data URI, shown below the tables.

    Raises:
        ValueError: if there is no row, or a row lacks a key.
    """

    rows: Sequence[Row]
    title: str = "Benchmark"
    unit: str = ""
    note: Sequence[str] = ()
    reference: str = "unregistered"
    parameters: Mapping[str, object] = field(default_factory=dict)
    pictures: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.rows:
            raise ValueError("rows is empty, expected one dictionary a method and pair; run the benchmark first")
        for number, row in enumerate(self.rows):
            missing = [key for key in KEYS if key not in row]
            if missing:
                raise ValueError(
                    f"rows[{number}] has the keys {list(row)}, expected also {', '.join(missing)}; give them in each"
                )


@dataclass(frozen=True)
class Cell:
    """What a method reached in one score: its texts, and whether it is the best of those that compete."""

    mean: str = ""
    spread: str = ""
    test: str = ""
    best: bool = False


def write_benchmark_page(path: str | os.PathLike[str], page: BenchmarkPage) -> None:
    """Writes the page as one HTML file that needs no network; it appears only when it is complete.

    Args:
        path: file to write, ending in ``.html``.
        page: what to show.

    Raises:
        ValueError: if ``path`` does not end in ``.html``.
    """
    write_page(path, "benchmark.html", _context(page))


def _context(page: BenchmarkPage) -> dict[str, Any]:
    names = score_names(page.rows)
    extra = ["failure"] if any(row.get("failure") for row in page.rows) else []
    by_case = {
        case: [row for row in page.rows if row["case"] == case] for case in dict.fromkeys(r["case"] for r in page.rows)
    }
    return {
        "page": page,
        "cases": [_case(page, case, rows) for case, rows in by_case.items()],
        "heads": ["Case", "Pair", "Method", *map(metric_title, names), *map(str.capitalize, extra)],
        "table": [
            [(row[key], row[key]) for key in KEYS]
            + [_number(name, row, page.unit) for name in names]
            + [(row.get(key) or "", row.get(key) or "") for key in extra]
            for row in page.rows
        ],
    }


def _case(page: BenchmarkPage, case: str, rows: Sequence[Row]) -> dict[str, Any]:
    names = score_names(rows)
    methods = list(dict.fromkeys(row["method"] for row in rows))
    values = {name: {m: values_by_pair(rows, m, name) for m in methods} for name in names}
    competing = [method for method in methods if method != page.reference]
    cells = {name: compared(name, values[name], competing, page.unit) for name in names}
    return {
        "name": case,
        "heads": [(metric_title(name), lower_is_better(name)) for name in names],
        "methods": [
            {
                "name": method,
                "pairs": sum(row["method"] == method for row in rows),
                "failed": sum(row["method"] == method and bool(row.get("failure")) for row in rows),
                "cells": [cells[name][method] for name in names],
            }
            for method in methods
        ],
        "plots": [_plot(name, values[name], page.unit) for name in names if _differ(values[name])],
    }


def score_names(rows: Sequence[Row]) -> list[str]:
    """Names of the numbers that the rows hold, in their order."""
    return list(
        dict.fromkeys(
            name
            for row in rows
            for name, value in row.items()
            if name not in KEYS and isinstance(value, (int, float)) and not isinstance(value, bool)
        )
    )


def values_by_pair(rows: Sequence[Row], method: str, name: str) -> dict[str, float]:
    """A method's finite scores by pair."""
    found = {str(row["pair"]): row.get(name) for row in rows if row["method"] == method}
    return {pair: float(value) for pair, value in found.items() if value is not None and math.isfinite(value)}


def lower_is_better(name: str) -> bool:
    """Whether small values of a score are good: those of errors, distances, folds and times."""
    return any(part in name for part in LOWER_IS_BETTER)


def compared(
    name: str, values: Mapping[str, Mapping[str, float]], competing: Sequence[str], unit: str
) -> dict[str, Cell]:
    """The cell of each method in a score; those that compete are tested against the best mean among them.

    The test is Wilcoxon's signed-rank test over the pairs that both methods have, two-sided, without a correction for
    the number of methods.

    Args:
        name: of the score.
        values: score by pair, by method.
        competing: methods among which the best is sought.
        unit: unit of lengths.
    """
    means = {method: float(np.mean(list(found.values()))) for method, found in values.items() if found}
    ranked = sorted((m for m in competing if m in means), key=means.__getitem__, reverse=not lower_is_better(name))
    best = ranked[0] if ranked else None
    cells = {}
    for method, found in values.items():
        if not found:
            cells[method] = Cell()
            continue
        numbers = np.array(list(found.values()))
        spread = f"± {format_value(name, float(numbers.std(ddof=1)), unit)}" if len(numbers) > 1 else ""
        test = ""
        if best is not None and method in competing and method != best:
            test = _tested(found, values[best])
        tied = method in competing and means[method] == means[ranked[0]] != means[ranked[-1]]
        cells[method] = Cell(format_value(name, means[method], unit), spread, test, tied)
    return cells


def _tested(first: Mapping[str, float], second: Mapping[str, float]) -> str:
    """The p-value in words, over the pairs of both."""
    shared = [pair for pair in first if pair in second]
    differences = np.array([first[pair] - second[pair] for pair in shared])
    if len(shared) < 2 or not differences.any():
        return "no difference" if shared and not differences.any() else ""
    p = float(wilcoxon(differences).pvalue)
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < SIGNIFICANT else f"p = {p:.2f}"


def _number(name: str, row: Row, unit: str) -> tuple[object, str]:
    """A score as what it is sorted by and what is read."""
    value = row.get(name)
    return ("", "") if value is None else (value, format_value(name, float(value), unit))


def _differ(values: Mapping[str, Mapping[str, float]]) -> bool:
    """Whether there is anything to see in a plot."""
    return len({value for found in values.values() for value in found.values()}) > 1


def _plot(name: str, values: Mapping[str, Mapping[str, float]], unit: str) -> tuple[str, Markup]:
    """Heading and drawing of a score."""
    unit = metric_unit(name, unit)
    heading = f"{metric_title(name)} in {unit}" if unit else metric_title(name)
    groups = {method: chart_values(name, list(found.values())) for method, found in values.items()}
    return heading, box_plot(groups, title=f"{heading}, by method")
