"""What every method reached over the pairs of a data set, tested against one of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .cases_summary import UNREGISTERED, paired_p_value
from .journal import Row

__all__ = ["PairedScore", "PairedSummary", "summarise_pairs"]

Values = NDArray[np.floating]


@dataclass(frozen=True)
class PairedScore:
    """A score over pairs, each averaged over the seeds of a network.

    Args:
        mean: over the pairs.
        std: of the sample of pairs; NaN for a single one.
        gain: mean above that of the peer; NaN for the peer itself, and where it did not run.
        p_pairs: Wilcoxon's signed-rank test against the peer, two-sided, over pairs; NaN as above.
        p_groups: likewise over the means of groups (patients, digits), which are independent; NaN for a single group.
    """

    mean: float
    std: float
    gain: float = math.nan
    p_pairs: float = math.nan
    p_groups: float = math.nan


@dataclass(frozen=True)
class PairedSummary:
    """What a method reached.

    Args:
        method: its name.
        seeds: networks that it stands for; 1 for what is not trained here.
        pairs: their number.
        groups: number of groups that they are of.
        failed: registrations without a map, over all seeds; they count as unregistered.
        scores: by name.
        seconds: median a pair, where there was no failure; NaN without any.
        of_peer: share of the seconds of the peer; NaN where it did not run.
    """

    method: str
    seeds: int
    pairs: int
    groups: int
    failed: int
    scores: dict[str, PairedScore]
    seconds: float
    of_peer: float


def summarise_pairs(rows: Sequence[Row], scores: Sequence[str], *, peer: str) -> list[PairedSummary]:
    """A summary of each method, in the order of the rows.

    Args:
        rows: as :func:`~monai_cellreg.benchmarks.paired.measured_pairs` gives them.
        scores: names of what is summarised.
        peer: name of the method that the others are tested against.
    """
    by_name: dict[str, list[Row]] = {}
    for row in rows:
        by_name.setdefault(row["name"], []).append(row)
    seconds = {name: _seconds(found) for name, found in by_name.items()}
    peers = {score: _by_seed(by_name[peer], score).mean(axis=0) for score in scores} if peer in by_name else {}
    summaries = []
    for name, found in by_name.items():
        others = {} if name == peer else peers
        first = [row for row in found if row["method"] == found[0]["method"]]
        groups = np.array([row["group"] for row in first])
        measured = {score: _score(_by_seed(found, score).mean(axis=0), groups, others.get(score)) for score in scores}
        summaries.append(
            PairedSummary(
                method=name,
                seeds=len(found) // len(first),
                pairs=len(first),
                groups=len(set(groups)),
                failed=sum(row["failure"] is not None for row in found),
                scores=measured,
                seconds=seconds[name],
                of_peer=seconds[name] / seconds.get(peer, math.nan),
            )
        )
    return summaries


def _by_seed(rows: Sequence[Row], score: str) -> Values:
    """(seeds, pairs), each in the order of the rows."""
    found: dict[str, list[float]] = {}
    for row in rows:
        found.setdefault(row["method"], []).append(row[score])
    return np.array(list(found.values()), dtype=float)


def _score(values: Values, groups: NDArray[np.str_], others: Values | None) -> PairedScore:
    """The score of values (N,) of pairs of groups (N,), tested against others (N,) of the same pairs."""
    std = float(values.std(ddof=1)) if values.size > 1 and np.isfinite(values).all() else math.nan
    if others is None:
        return PairedScore(float(values.mean()), std)
    names = np.unique(groups)
    means = [np.array([x[groups == name].mean() for name in names]) for x in (values, others)]
    p_pairs = paired_p_value(values, others) if values.size > 1 else math.nan
    p_groups = paired_p_value(*means) if len(names) > 1 else math.nan
    return PairedScore(float(values.mean()), std, float((values - others).mean()), p_pairs, p_groups)


def _seconds(rows: Sequence[Row]) -> float:
    """Median time of a pair that was registered; NaN for none."""
    taken = [row["seconds"] for row in rows if row["failure"] is None and row["name"] != UNREGISTERED]
    return float(np.median(taken)) if taken else math.nan
