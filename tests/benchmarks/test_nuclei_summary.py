"""The arithmetic of the tables, against SciPy and by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from monai_cellreg.benchmarks.nuclei_networks import OTHERS, TABLES
from monai_cellreg.benchmarks.nuclei_summary import scored, summarise_nuclei
from monai_cellreg.benchmarks.nuclei_table import nuclei_tables
from monai_cellreg.benchmarks.nuclei_training import TrainedNetwork

Rows = list[dict[str, Any]]
IOU = {
    "unregistered": {"a": [0.80, 0.90], "b": [0.70]},
    "TPS-Joint-0": {"a": [0.90, 0.94], "b": [0.80]},
    "TPS-Joint-1": {"a": [0.92, 0.96], "b": [0.84]},
    "TPS-Joint-Cycle-0": {"a": [0.96, 0.96], "b": [0.90]},
    "TPS-Joint-Cycle-1": {"a": [0.94, 0.94], "b": [0.88]},
    "elastix": {"a": [0.86, 0.88], "b": [0.75]},
}
SECONDS = {"TPS-Joint-Cycle": 0.1, "elastix": 4.0}


def rows() -> Rows:
    found = []
    for method, films in IOU.items():
        name = method.rstrip("-01")
        for film, frames in films.items():
            for t, iou in enumerate(frames, start=1):
                row = {"method": method, "name": name, "sequence": film, "frame": t, "iou_after": iou, "failure": None}
                row |= {"folding_fraction": 0.01 * t, "seconds": SECONDS.get(name, 1.0) * t}
                found.append(row | ({"segmentation_iou": iou + 0.03} if "Joint" in name else {}))
    found[-1] |= {"failure": "no", "seconds": 99.0}
    return found


def networks() -> list[TrainedNetwork]:
    made = {"TPS-Joint": [[0.90, 0.92], [0.94, 0.92]], "TPS-Joint-Cycle": [[0.95, 0.93], [0.97, 0.97]]}
    return [
        TrainedNetwork(name, seed, Path("model.pt"), 96, [figures(k, iou) for k, iou in enumerate(pairs)])
        for name, seeds in made.items()
        for seed, pairs in enumerate(seeds)
    ]


def figures(pair: int, iou: float) -> dict[str, float]:
    return {"registration_iou": iou, "unregistered_iou": 0.87 + pair / 100, "segmentation_iou": 0.9}


def test_a_score_counts_units_not_runs() -> None:
    rng = np.random.default_rng(0)
    above = rng.uniform(0.8, 0.95, (3, 40))
    values = above + rng.normal(0.004, 0.02, (3, 40))
    found = scored(values, above)
    gains = (values - above).mean(axis=0)
    assert (found.mean, found.units) == (pytest.approx(values.mean()), 40)
    assert found.std == pytest.approx(np.std(values.mean(0), ddof=1))
    assert found.gain == pytest.approx(gains.mean())
    assert found.gain_by_seed == pytest.approx([(v - a).mean() for v, a in zip(values, above, strict=True)])
    assert found.p_value == pytest.approx(stats.wilcoxon(gains).pvalue)
    assert found.p_value != pytest.approx(stats.wilcoxon(values.ravel(), above.ravel()).pvalue)
    assert scored(values[:2], above).gain_by_seed == scored(values[:1], above[:1]).gain_by_seed == []
    alone = scored(values[:, :1])
    assert math.isnan(scored(values[:, :1], above[:, :1]).p_value)
    assert math.isnan(alone.std) and math.isnan(alone.p_value) and math.isnan(alone.gain)


def test_lines_by_hand() -> None:
    lines = summarise_nuclei(rows(), networks())
    assert [(line.table, line.method) for line in lines] == [
        (TABLES[1], "unregistered"), (TABLES[1], "TPS-Joint"), (TABLES[1], "TPS-Joint-Cycle"),
        (OTHERS, "unregistered"), (OTHERS, "elastix"),
    ]  # fmt: skip
    none, joint, cycle, _, elastix = lines
    assert none.iou.mean == pytest.approx((0.85 + 0.70) / 2)  # films count alike, whatever their length
    assert none.iou.std == pytest.approx(0.15 / math.sqrt(2))
    assert (none.paper_iou, joint.paper_iou, cycle.paper_segmentation_iou) == (0.865, 0.938, 0.972)
    assert none.made_iou is not None and none.made_iou.mean == pytest.approx(0.875)
    assert joint.iou.mean == pytest.approx((0.93 + 0.82) / 2) and joint.seeds == 2
    assert joint.iou.gain == pytest.approx(0.1) and joint.iou.gain_by_seed == []
    assert cycle.iou.gain == pytest.approx((0.95 + 0.89) / 2 - 0.875)
    assert cycle.iou.gain_by_seed == pytest.approx([(0.96 + 0.90 - 0.92 - 0.80) / 2, (0.94 + 0.88 - 0.94 - 0.84) / 2])
    assert cycle.made_iou is not None and cycle.made_iou.mean == pytest.approx(0.955)
    assert cycle.made_iou.gain_by_seed == pytest.approx([0.03, 0.04])
    assert cycle.segmentation_iou is not None and cycle.segmentation_iou.mean == pytest.approx(0.92 + 0.03)
    assert cycle.made_segmentation_iou is not None and cycle.made_segmentation_iou.mean == pytest.approx(0.9)
    assert cycle.seconds == pytest.approx(0.1) and cycle.of_elastix == pytest.approx(0.1 / 6.0)  # median of 4 and 8
    assert (elastix.failed, elastix.frames, elastix.seconds) == (1, 3, pytest.approx(6.0))
    assert cycle.folding_fraction == pytest.approx((2 * 0.01 + 0.02) / 3)
    assert elastix.made_iou is None and elastix.segmentation_iou is None and math.isnan(none.seconds)


def test_tables_stand_beside_the_paper() -> None:
    text = nuclei_tables(summarise_nuclei(rows(), networks()), ["ants is left out: no extra"])
    blocks = text.split("\n\n")
    assert [block for block in blocks if block.startswith("## ")] == [f"## {TABLES[1]}", f"## {OTHERS}"]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in blocks[1].splitlines()]
    table = {row[0]: dict(zip(cells[0], row, strict=True)) for row in cells[2:]}
    assert table["TPS-Joint-Cycle"]["paper"] == "0.952" and table["TPS-Joint-Cycle"]["IoU"] == "0.920 ± 0.042"
    assert table["TPS-Joint"]["segmentation in the paper"] == "0.968" and table["TPS-Joint"]["seeds"] == "2"
    assert table["TPS-Joint-Cycle"]["of elastix's time"] == "0.017"
    assert len({len(line) for line in blocks[1].splitlines()}) == 1
    assert "Order on the films: unregistered < TPS-Joint < TPS-Joint-Cycle; as in the paper." in blocks
    gains = "TPS-Joint-Cycle above TPS-Joint on the films, seed by seed: +0.0700 / +0.0200; mean +0.0450"
    assert any(block.startswith(gains) for block in blocks)
    assert "elastix gave no map for 1 of 3 frames: unregistered." in blocks
    assert blocks[-1] == "ants is left out: no extra\n"
    assert "paper" not in blocks[blocks.index(f"## {OTHERS}") + 1]


def test_another_order_is_told() -> None:
    swapped = [{**row, "iou_after": 1 - row["iou_after"]} for row in rows()]
    text = nuclei_tables(summarise_nuclei(swapped))
    assert "Order on the films: TPS-Joint-Cycle < TPS-Joint < unregistered; not as in the paper." in text
    assert "made pairs" not in text
