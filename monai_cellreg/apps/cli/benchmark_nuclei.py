"""``monai-cellreg benchmark nuclei``: films of nuclei, registered by the networks of the paper and other methods."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .options import DONE, shows_progress

if TYPE_CHECKING:
    from monai_cellreg.benchmarks.nuclei_sequences import Sequences

__all__ = ["run_nuclei_case"]

FULL = {"films": 10, "frames": 13, "frame_size": 160, "simulated": 1600, "image_size": 96, "max_epochs": 5}
QUICK = {"films": 3, "frames": 4, "frame_size": 64, "simulated": 160, "image_size": 64, "max_epochs": 2}
MADE_PAIRS, QUICK_MADE_PAIRS = 400, 32


def run_nuclei_case(options: argparse.Namespace) -> int:
    """Runs the benchmark and prints its tables."""
    from monai_cellreg.benchmarks.nuclei import NucleiSettings, run_nuclei
    from monai_cellreg.benchmarks.nuclei_contenders import DEFAULT_METHODS, QUICK_METHODS
    from monai_cellreg.benchmarks.nuclei_training import Recipe

    usual = {name: value for name, value in vars(options).items() if value is not None}
    usual = (QUICK if options.quick else FULL) | ({"simulated": 0} if options.train else {}) | usual
    recipe = Recipe(
        folder=options.train,
        simulated=usual["simulated"],
        image_size=usual["image_size"],
        max_epochs=usual["max_epochs"],
        seeds=usual.get("seeds", 1),
        amp=bool(options.amp),
        made_pairs=QUICK_MADE_PAIRS if options.quick else MADE_PAIRS,
        weights=options.weights,
        jobs=usual.get("jobs", 2),
    )
    methods = options.methods or (QUICK_METHODS if options.quick else DEFAULT_METHODS)
    settings = NucleiSettings(tuple(methods), recipe, options.threads, options.resume, shows_progress(options))
    _, tables = run_nuclei(_sequences(options, usual), options.out, settings)
    if not options.quiet:
        print(f"{tables}\nwritten to {options.out}")
    return DONE


def _sequences(options: argparse.Namespace, usual: Mapping[str, Any]) -> Sequences:
    """The films that are asked for."""
    from monai_cellreg.benchmarks.nuclei_sequences import simulated_films, tracked_nuclei

    sizes = {"size": usual["frame_size"], "most_frames": usual["frames"]}
    if options.data is None:
        return simulated_films(usual["films"], **sizes).limited(options.limit)
    if options.films is not None:
        raise ValueError(f"films is {options.films} beside --data {options.data}; expected one of them. Give --limit")
    limit = QUICK["films"] if options.quick and options.limit is None else options.limit
    return tracked_nuclei(options.data, **sizes).limited(limit)
