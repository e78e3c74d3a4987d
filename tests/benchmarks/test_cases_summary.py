"""Means, deviations and the paired test, against NumPy, SciPy and hand-made rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import wilcoxon

from monai_cellreg.benchmarks.cases_summary import UNREGISTERED, summarise, summary_table

RNG = np.random.default_rng(0)
A, B = RNG.random(8), RNG.random(8) + 0.3
METHODS = (UNREGISTERED, "a", "b")


def rows(**columns: np.ndarray) -> list[dict[str, Any]]:
    """Rows of methods in an order that is not that of the pairs."""
    return [
        {"pair": f"p{k}", "method": name, "failure": None, "seconds": 1.0 + k, "dice": float(values[k])}
        for name, values in columns.items()
        for k in RNG.permutation(len(values))
    ]


def test_summaries_are_those_of_numpy_and_scipy() -> None:
    zero, first, second = summarise(rows(**{UNREGISTERED: 2 * B, "a": A, "b": B}), METHODS)
    assert (first.method, first.pairs, first.failed) == ("a", 8, 0)
    expected = {"mean": A.mean(), "std": A.std(ddof=1), "median": np.median(A), "p_value": wilcoxon(B, A).pvalue}
    assert first.scores["dice"] == pytest.approx(expected)
    assert list(second.scores) == ["dice", "seconds"]
    assert math.isnan(second.scores["dice"]["p_value"]) and math.isnan(zero.scores["dice"]["p_value"])
    assert second.scores["seconds"]["p_value"] == 1  # all equal, and the first of them counts as the best


def test_of_an_error_the_smallest_is_the_best() -> None:
    told = [{**row, "hd95": row.pop("dice")} for row in rows(**{UNREGISTERED: A, "a": A, "b": B})]
    _, first, second = summarise(told, METHODS)
    assert math.isnan(first.scores["hd95"]["p_value"]) and second.scores["hd95"]["p_value"] < 1


def test_pairs_are_matched_by_name() -> None:
    shuffled = [{**row, "dice": A[int(row["pair"][1])] + 0.1} for row in rows(b=A)]
    second = summarise(rows(**{UNREGISTERED: A, "a": A}) + shuffled, METHODS)[1]
    assert second.scores["dice"]["p_value"] == pytest.approx(2 / 2**8)  # all eight pairs moved one way


def test_failures_are_counted_and_their_seconds_are_not() -> None:
    told = rows(**{UNREGISTERED: A, "a": A})
    failed = next(row for row in told if row["method"] == "a" and row["pair"] == "p7")
    failed.update(failure="ValueError: no", seconds=1000.0)
    summary = summarise(told, METHODS[:2])[1]
    assert summary.failed == 1
    assert summary.scores["seconds"]["median"] == 4
    assert summary.scores["dice"]["mean"] == pytest.approx(A.mean())  # its scores are those of the identity


def test_a_lost_label_makes_the_mean_infinite_and_spoils_no_table() -> None:
    told = rows(**{UNREGISTERED: A, "a": A, "b": np.where(A == A.max(), np.inf, A)})
    summaries = summarise(told, METHODS)
    assert summaries[2].scores["dice"]["mean"] == math.inf
    assert math.isnan(summaries[1].scores["dice"]["p_value"])
    assert "inf" in summary_table(summaries)


def test_pairs_may_have_scores_of_their_own() -> None:
    told = rows(**{UNREGISTERED: A, "a": A})
    for row in told:
        if row["pair"] == "p0":
            row["tre_median"] = row.pop("dice")
    summary = summarise(told, METHODS[:2])[1]
    assert summary.scores["dice"]["mean"] == pytest.approx(A[1:].mean())
    assert summary.scores["tre_median"]["mean"] == pytest.approx(A[0])


def test_unequal_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"different pairs, or none \(unregistered 8, a 7\)"):
        summarise(rows(**{UNREGISTERED: A, "a": A[1:]}), METHODS[:2])
    with pytest.raises(ValueError, match="or none"):
        summarise([], METHODS[:2])


def test_the_table_is_aligned_and_shows_the_test_of_the_deciding_score() -> None:
    summaries = summarise(rows(**{UNREGISTERED: 0 * A, "a": A, "b": B}), METHODS)
    head, zero, first, second = summary_table(summaries).splitlines()
    assert len({len(line) for line in (head, zero, first, second)}) == 1
    assert head.split() == ["method", "pairs", "failed", "dice", "median", "seconds", "p", "(dice)"]
    assert second.split() == ["b", "8", "0", f"{B.mean():.4g}", "±", f"{B.std(ddof=1):.2g}", "4.50"]
    assert first.split()[-1] == f"{wilcoxon(B, A).pvalue:.2g}"
