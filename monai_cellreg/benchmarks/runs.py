"""Trainings and evaluations of a bundle, as the benchmarks need them."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..methods import run_bundle


def train_and_evaluate(name: str, output_dir: Path, settings: Mapping[str, Any]) -> list[dict[str, float]]:
    """Trains, measures the best weights on groups never trained on, and gives the figures of every pair.

    A run that has been measured is read back; one that was stopped goes on where it was. Pairs are registered in
    a single pass, as in the paper.

    Args:
        name: of the bundle.
        output_dir: folder of the run.
        settings: overrides of its ``train.json``.

    Returns:
        One dictionary a pair: metric to value.
    """
    result = output_dir / "test" / "pairs.csv"
    if not result.is_file():
        resume = (output_dir / "last.pt").is_file()
        run_bundle(name, [], {**settings, "output_dir": str(output_dir), "resume": resume})
        test = {"output_dir": str(output_dir / "test"), "checkpoint": str(output_dir / "model.pt"), "passes": 1}
        run_bundle(name, ["evaluate.json"], {**settings, **test})
    with open(result, newline="") as file:
        return [{k: float(v) for k, v in row.items() if k not in ("pair", "group")} for row in csv.DictReader(file)]
