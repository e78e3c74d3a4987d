"""What methods reached over all pairs of a case, side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import wilcoxon

from ..report.benchmark_page import lower_is_better

__all__ = ["SCORES", "UNREGISTERED", "Summary", "paired_p_value", "summarise", "summary_table"]

UNREGISTERED = "unregistered"
"""The identity, measured beside the methods."""

SCORES = ("map_error_px", "rtre_median", "tre_median", "dice", "hd95", "ncc", "folding_fraction", "seconds")
"""Every score in the order of the tables; the first one that a case has decides between methods."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Summary:
    """What a method reached over all pairs of a case.

    Args:
        method: its name.
        pairs: number of pairs.
        failed: how many of them it gave no map for; they count as unregistered.
        scores: score to ``mean``, ``std`` (of the sample), ``median`` and ``p_value`` of Wilcoxon's signed-rank test
            against the best method in that score, paired by pair; NaN for the best itself, for unregistered pairs and
            where scores are infinite.
    """

    method: str
    pairs: int
    failed: int
    scores: dict[str, dict[str, float]]


def summarise(rows: Sequence[Row], methods: Sequence[str]) -> list[Summary]:
    """A summary of each method; in each score the best one, :data:`UNREGISTERED` aside, is what others are tested by.

    Args:
        rows: one a pair and method: ``pair``, ``method``, ``failure`` (text or ``None``) and its scores. Pairs may have
            different scores; each counts over the pairs that have it. Seconds count where there was no failure.
        methods: names in their order.

    Raises:
        ValueError: when the methods were not run on the same pairs, or on none.
    """
    by_method = {name: {row["pair"]: row for row in rows if row["method"] == name} for name in methods}
    if not rows or len({frozenset(found) for found in by_method.values()}) > 1:
        counts = ", ".join(f"{name} {len(found)}" for name, found in by_method.items())
        raise ValueError(f"methods were run on different pairs, or none ({counts}); expected the same. Run the rest")
    scores: dict[str, dict[str, dict[str, float]]] = {name: {} for name in methods}
    for score in (score for score in SCORES if any(score in row for row in rows)):
        columns = {name: _column(found, score) for name, found in by_method.items()}
        figures = {name: _statistics(column) for name, column in columns.items()}
        best = _best(score, {name: figures[name]["mean"] for name in methods if name != UNREGISTERED})
        for name, column in columns.items():
            tested = best is not None and name not in (UNREGISTERED, best)
            p_value = paired_p_value(column, columns[best]) if tested else math.nan
            scores[name][score] = figures[name] | {"p_value": p_value}
    return [
        Summary(name, len(found), sum(row["failure"] is not None for row in found.values()), scores[name])
        for name, found in by_method.items()
    ]


def _best(score: str, means: Mapping[str, float]) -> str | None:
    """The method with the best mean; the first of several; none where no mean is known."""
    known = {name: mean if lower_is_better(score) else -mean for name, mean in means.items() if not math.isnan(mean)}
    return min(known, key=known.__getitem__, default=None)


def _column(found: Mapping[str, Row], score: str) -> np.ndarray:
    """The values of a score in the order of the pairs' names; NaN for the seconds of a failure."""
    rows = [found[pair] for pair in sorted(found) if score in found[pair]]
    return np.array([math.nan if score == "seconds" and row["failure"] else row[score] for row in rows], dtype=float)


def _statistics(values: np.ndarray) -> dict[str, float]:
    known = values[~np.isnan(values)]
    spread = known.std(ddof=1) if len(known) > 1 and np.isfinite(known).all() else math.nan
    centre = (known.mean(), np.median(known)) if len(known) else (math.nan, math.nan)
    return {"mean": float(centre[0]), "std": float(spread), "median": float(centre[1])}


def paired_p_value(values: np.ndarray, others: np.ndarray) -> float:
    """Wilcoxon's signed-rank test, pair by pair, two-sided; 1 where all pairs are equal, which it cannot rank itself.

    Args:
        values: (N,) scores of one method.
        others: (N,) scores of another one, of the same pairs in the same order.

    Returns:
        The p-value; NaN where a score is not finite.
    """
    if not np.isfinite([values, others]).all():
        return math.nan
    return 1.0 if (values == others).all() else float(wilcoxon(values, others).pvalue)


def summary_table(summaries: Sequence[Summary]) -> str:
    """An aligned plain-text table: mean ± standard deviation of each score, median seconds, and the test.

    The last column is the p-value of the deciding score against the best method.
    """
    main = next(iter(summaries[0].scores))
    shown = [name for name in summaries[0].scores if name != "seconds"]
    lines = [["method", "pairs", "failed", *shown, "median seconds", f"p ({main})"]]
    for summary in summaries:
        cells = [_spread(summary.scores[name]) for name in shown]
        p_value = summary.scores[main]["p_value"]
        lines.append(
            [summary.method, str(summary.pairs), str(summary.failed), *cells]
            + [f"{summary.scores['seconds']['median']:.2f}", "" if math.isnan(p_value) else f"{p_value:.2g}"]
        )
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    return "\n".join(
        "  ".join(c.ljust(w) if k == 0 else c.rjust(w) for k, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    )


def _spread(score: Mapping[str, float]) -> str:
    return f"{score['mean']:.4g}" + ("" if math.isnan(score["std"]) else f" ± {score['std']:.2g}")
