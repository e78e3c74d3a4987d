"""What every method of the benchmark of nuclei reached, beside the paper and tested against the one above it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .cases_summary import UNREGISTERED, paired_p_value
from .journal import Row
from .nuclei_networks import NETWORKS, OTHERS, PAPER_UNREGISTERED, TABLES, table_of
from .nuclei_training import TrainedNetwork

__all__ = ["NucleiSummary", "Score", "scored", "summarise_nuclei"]

Scores = NDArray[np.floating]
Measures = Mapping[str, Scores]
PEER = "elastix"  # whose time the others are compared with


@dataclass(frozen=True)
class Score:
    """A score over units (films, or made pairs), each averaged over the seeds.

    Args:
        mean: over the units.
        std: of the sample of units; NaN for a single one.
        units: their number.
        gain: mean above that of the method above in the table; NaN for the first one.
        p_value: Wilcoxon's signed-rank test against the method above, two-sided, over units: seeds of a unit are not
            independent; NaN for the first one, and for a single unit.
        gain_by_seed: where both have the same seeds, more than one.
    """

    mean: float
    std: float
    units: int
    gain: float = math.nan
    p_value: float = math.nan
    gain_by_seed: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class NucleiSummary:
    """A line of a table.

    Args:
        method: its name.
        table: heading of its table.
        seeds: networks that it stands for; 1 for what is not trained here.
        frames: registered frames, each counted once a seed.
        failed: frames without a map; they count as unregistered.
        paper_iou: registration IoU in the paper.
        paper_segmentation_iou: segmentation IoU in the paper.
        iou: registration IoU of later frames with the first, a film the mean over its frames.
        segmentation_iou: of the later frames, likewise; of methods that segment.
        made_iou: registration IoU of held-out made pairs, of networks that were trained here.
        made_segmentation_iou: likewise, of networks that segment.
        folding_fraction: mean over frames.
        seconds: median a frame, where there was no failure.
        of_elastix: share of the seconds of elastix in the same run; NaN where it did not run.
    """

    method: str
    table: str
    seeds: int
    frames: int
    failed: int
    paper_iou: float | None
    paper_segmentation_iou: float | None
    iou: Score
    segmentation_iou: Score | None
    made_iou: Score | None
    made_segmentation_iou: Score | None
    folding_fraction: float
    seconds: float
    of_elastix: float


def scored(values: Scores, above: Scores | None = None) -> Score:
    """A score, tested against that of the method above.

    Args:
        values: (seeds, units).
        above: (seeds, units), the same units in the same order; the number of seeds may differ.
    """
    units = values.mean(axis=0)
    std = float(units.std(ddof=1)) if units.size > 1 else math.nan
    if above is None:
        return Score(float(units.mean()), std, units.size)
    others = above.mean(axis=0)
    comparable = values.shape == above.shape and len(values) > 1
    by_seed = (values - above).mean(axis=1).tolist() if comparable else []
    gain = float((units - others).mean())
    p_value = paired_p_value(units, others) if units.size > 1 else math.nan
    return Score(float(units.mean()), std, units.size, gain, p_value, by_seed)


def summarise_nuclei(rows: Sequence[Row], networks: Sequence[TrainedNetwork] = ()) -> list[NucleiSummary]:
    """The lines of all tables, in their order; each table starts with the unregistered frames.

    Args:
        rows: as :func:`~monai_cellreg.benchmarks.nuclei_run.measured` gives them.
        networks: those that were trained for the benchmark.
    """
    by_name: dict[str, list[Row]] = {}
    for row in rows:
        by_name.setdefault(row["name"], []).append(row)
    peer = _seconds(by_name.get(PEER, []))
    lines = []
    for table in TABLES:
        members = [name for name in by_name if name != UNREGISTERED and table_of(name) == table]
        above: Measures | None = None
        for name in [UNREGISTERED, *members] if members else []:
            known = members if name == UNREGISTERED else [name]
            trained = [network for network in networks if network.name in known]
            measures = _measures(by_name[name], trained, "unregistered" if name == UNREGISTERED else "registration")
            lines.append(_line(name, table, by_name[name], measures, above or {}, peer))
            above = measures
    return lines


def _measures(rows: Sequence[Row], networks: Sequence[TrainedNetwork], when: str) -> Measures:
    """Scores (seeds, units) by name, as far as they are known; of unregistered pairs, those of any network."""
    metrics = {"made_iou": f"{when}_iou"}
    if networks and when == "unregistered":
        networks = networks[:1]
    elif networks and NETWORKS[networks[0].name].paper_segmentation_iou is not None:
        metrics["made_segmentation_iou"] = "segmentation_iou"
    measures = {"iou": _by_film(rows, "iou_after")}
    if "segmentation_iou" in rows[0]:
        measures["segmentation_iou"] = _by_film(rows, "segmentation_iou")
    for name, metric in metrics.items() if networks else ():
        measures[name] = np.array([[pair[metric] for pair in network.made] for network in networks])
    return measures


def _by_film(rows: Sequence[Row], score: str) -> Scores:
    """Means over the frames of each film, (seeds, films), both in the order of the rows."""
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        found.setdefault(row["method"], {}).setdefault(row["sequence"], []).append(row[score])
    return np.array([[np.mean(frames) for frames in films.values()] for films in found.values()])


def _line(
    name: str, table: str, rows: Sequence[Row], measures: Measures, above: Measures, peer_seconds: float
) -> NucleiSummary:
    scores = {key: scored(values, above.get(key)) for key, values in measures.items()}
    entry, seconds = NETWORKS.get(name), _seconds(rows)
    in_paper = PAPER_UNREGISTERED if name == UNREGISTERED and table != OTHERS else None
    return NucleiSummary(
        method=name,
        table=table,
        seeds=len(measures["iou"]),
        frames=len(rows),
        failed=sum(row["failure"] is not None for row in rows),
        paper_iou=entry.paper_iou if entry else in_paper,
        paper_segmentation_iou=entry.paper_segmentation_iou if entry else None,
        iou=scores["iou"],
        segmentation_iou=scores.get("segmentation_iou"),
        made_iou=scores.get("made_iou"),
        made_segmentation_iou=scores.get("made_segmentation_iou"),
        folding_fraction=float(np.mean([row["folding_fraction"] for row in rows])),
        seconds=seconds,
        of_elastix=seconds / peer_seconds,
    )


def _seconds(rows: Sequence[Row]) -> float:
    """Median time of a frame that was registered; NaN for none."""
    taken = [row["seconds"] for row in rows if row["failure"] is None and row["name"] != UNREGISTERED]
    return float(np.median(taken)) if taken else math.nan
