"""The arithmetic of the tables of pairs, against SciPy and by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import wilcoxon

from monai_cellreg.benchmarks.paired_summary import summarise_pairs

Rows = list[dict[str, Any]]
GROUPS = [0, 0, 0, 1, 1, 2, 3, 3, 4, 5, 5, 5]


def rows(values: dict[str, list[np.ndarray]]) -> Rows:
    """Rows of methods with one array of Dice a seed."""
    found: Rows = []
    for pair, group in enumerate(GROUPS):
        for name, seeds in values.items():
            for seed, dice in enumerate(seeds):
                row = {"pair": f"p{pair}", "group": f"g{group}", "name": name, "method": f"{name}-{seed}"}
                found.append(row | {"dice": float(dice[pair]), "seconds": 1.0 + pair + 10 * seed, "failure": None})
    return found


@pytest.fixture
def values() -> dict[str, list[np.ndarray]]:
    rng = np.random.default_rng(2)
    base = rng.uniform(0.6, 0.9, len(GROUPS))
    noise = [rng.normal(0.03, 0.05, len(GROUPS)) for _ in range(3)]
    return {"unregistered": [base - 0.2], "elastix-paper": [base], "net": [base + n for n in noise]}


def test_scores_are_over_pairs_and_tests_over_pairs_and_groups(values: dict[str, list[np.ndarray]]) -> None:
    lines = {line.method: line for line in summarise_pairs(rows(values), ["dice"], peer="elastix-paper")}
    net, elastix = np.mean(values["net"], axis=0), values["elastix-paper"][0]
    found = lines["net"].scores["dice"]
    assert (found.mean, found.std) == (pytest.approx(net.mean()), pytest.approx(net.std(ddof=1)))
    assert found.gain == pytest.approx((net - elastix).mean())
    assert found.p_pairs == pytest.approx(wilcoxon(net, elastix).pvalue)
    means = [[x[np.array(GROUPS) == g].mean() for g in range(6)] for x in (net, elastix)]
    assert found.p_groups == pytest.approx(wilcoxon(*means).pvalue) != pytest.approx(found.p_pairs)
    own = lines["elastix-paper"].scores["dice"]
    assert math.isnan(own.gain) and math.isnan(own.p_pairs) and math.isnan(own.p_groups)
    assert (lines["net"].seeds, lines["net"].pairs, lines["net"].groups) == (3, 12, 6)
    assert list(lines) == ["unregistered", "elastix-paper", "net"]


def test_time_is_the_median_without_failures_and_beside_the_peer(values: dict[str, list[np.ndarray]]) -> None:
    made = rows({name: values[name] for name in ("unregistered", "elastix-paper")})
    made[1] |= {"failure": "no", "seconds": 999.0}
    none, elastix = summarise_pairs(made, ["dice"], peer="elastix-paper")
    assert elastix.seconds == np.median(np.arange(2.0, 13.0)) and elastix.failed == 1 and elastix.of_peer == 1.0
    assert math.isnan(none.seconds) and math.isnan(none.of_peer)


def test_without_the_peer_or_with_few_pairs_nothing_is_tested(values: dict[str, list[np.ndarray]]) -> None:
    (line,) = summarise_pairs(rows({"net": values["net"]}), ["dice"], peer="elastix-paper")
    assert math.isnan(line.scores["dice"].p_pairs) and math.isnan(line.of_peer)
    made = [row for row in rows(values) if row["pair"] in ("p0", "p1")]
    net = summarise_pairs(made, ["dice"], peer="elastix-paper")[-1].scores["dice"]
    assert math.isfinite(net.p_pairs) and math.isnan(net.p_groups)


def test_an_infinite_distance_is_not_hidden() -> None:
    made = rows({"elastix-paper": [np.ones(12)], "net": [np.r_[np.inf, np.ones(11)]]})
    found = summarise_pairs(made, ["dice"], peer="elastix-paper")[-1].scores["dice"]
    assert found.mean == math.inf and math.isnan(found.std) and math.isnan(found.p_pairs)
