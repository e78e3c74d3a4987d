"""Joint registration with and without the cycle loss, the paper's Table 2."""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import ttest_rel

from ..report import iou_table
from ..utils import atomic_path
from .runs import train_and_evaluate

ARMS = {"TPS-Joint": 0.0, "TPS-Joint-Cycle": 0.1}  # weight of the cycle loss
COLUMNS = ("unregistered_iou", "segmentation_iou", "registration_iou", "grid_error_px")


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains both arms with every seed on the same pairs, prints the table and writes ``table.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset_dir", help="folder of labelled images (default: simulated nuclei)")
    parser.add_argument("--out", default="runs/benchmark_joint", help="folder of the runs (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds (default: %(default)s)")
    parser.add_argument("--image_size", type=int, default=96)
    parser.add_argument("--max_epochs", type=int, default=5)
    parser.add_argument("--max_nuclei", type=int, default=4, help="nuclei cut from one field (default: %(default)s)")
    parser.add_argument("--amp", action="store_true", help="train in bfloat16")
    parser.add_argument("--jobs", type=int, default=2, help="trainings side by side, one thread each")
    options = parser.parse_args(arguments)
    tasks = [(arm, seed, options) for seed in range(options.seeds) for arm in ARMS]
    with ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = dict(zip([task[:2] for task in tasks], pool.map(_one, tasks), strict=True))
    table = [{"method": f"{arm} seed {seed}", **_means(found[arm, seed])} for arm, seed, _ in tasks]
    summary = compare(found, options.seeds)
    print(iou_table(table))
    print(json.dumps(summary, indent=2))
    with atomic_path(Path(options.out) / "table.json") as temporary:
        Path(temporary).write_text(json.dumps({"rows": table, "comparison": summary}, indent=2) + "\n")


def compare(found: dict[tuple[str, int], list[dict[str, float]]], seeds: int) -> dict[str, Any]:
    """Registration IoU with against without the cycle loss: means, gain of each seed, paired t-test over all pairs.

    Args:
        found: arm and seed to the figures of every pair, in the same order for all.
        seeds: number of seeds.
    """
    scores = {
        arm: np.array([[row["registration_iou"] for row in found[arm, seed]] for seed in range(seeds)]) for arm in ARMS
    }
    without, with_cycle = scores.values()
    gain = with_cycle.mean(0) - without.mean(0)  # a pair's mean over seeds: pairs are the independent units
    return {
        "registration_iou": {arm: float(value.mean()) for arm, value in scores.items()},
        "gain_by_seed": (with_cycle - without).mean(1).tolist(),
        "gain": float(gain.mean()),
        "pairs": int(gain.size),
        "p_value": float(ttest_rel(with_cycle.mean(0), without.mean(0)).pvalue),
    }


def _one(task: tuple[str, int, argparse.Namespace]) -> list[dict[str, float]]:
    arm, seed, options = task
    torch.set_num_threads(1)
    settings: dict[str, Any] = {
        "objective::terms::cycle::weight": ARMS[arm],
        "seed": seed,
        "image_size": options.image_size,
        "max_epochs": options.max_epochs,
        "crops::max_nuclei": options.max_nuclei,
        "crops::min_area_px": 100,  # every nucleus, touching ones too: more pairs, more groups
        "crops::gap_px": 0,
        "amp": options.amp,
    }
    if options.dataset_dir:
        settings["dataset_dir"] = options.dataset_dir
    return train_and_evaluate("joint", Path(options.out) / f"{arm}-{seed}", settings)


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    return {column: float(np.mean([row[column] for row in rows])) for column in COLUMNS}


if __name__ == "__main__":
    main()
