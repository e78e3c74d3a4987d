"""``monai-cellreg benchmark cardiac``: slices of the heart, registered by DIRNet, its variants and other methods."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from .options import DONE, shows_progress

if TYPE_CHECKING:
    from monai_cellreg.data.cine_slice import CineSlice

__all__ = ["run_cardiac_case"]

HELD_OUT, QUICK_HELD_OUT = 6, 2
SIMULATED, QUICK_SIMULATED = 24, 4
SMALL = 128  # side of simulated slices, and of the networks' images where time is short
QUICK = {"max_epochs": 2, "pairs_per_epoch": 160, "validation_items": 16}
QUICK_PAIRS = 8


def run_cardiac_case(options: argparse.Namespace) -> int:
    """Runs the benchmark and prints its table."""
    from monai_cellreg.benchmarks.cardiac import DEFAULT_METHODS, QUICK_METHODS, run_cardiac
    from monai_cellreg.benchmarks.cardiac_pairs import heart_pairs, held_out_slices, scored_labels
    from monai_cellreg.benchmarks.dirnet_contenders import PairedSettings
    from monai_cellreg.benchmarks.dirnet_networks import HEARTS
    from monai_cellreg.benchmarks.dirnet_training import DirnetRecipe

    held_out = (QUICK_HELD_OUT if options.quick else HELD_OUT) if options.held_out is None else options.held_out
    recipe = DirnetRecipe(
        "train_cardiac.json",
        _trained_on(options, held_out),
        _training(options),
        seeds=1 if options.seeds is None else options.seeds,
        weights=options.weights,
        jobs=2 if options.jobs is None else options.jobs,
    )
    methods = tuple(options.methods or (QUICK_METHODS if options.quick else DEFAULT_METHODS))
    settings = PairedSettings(methods, HEARTS, recipe, options.threads, options.resume, shows_progress(options))
    slices = held_out_slices(_slices(options, held_out), held_out)
    labels = scored_labels(slices, options.labels)
    name = os.path.basename(os.path.abspath(options.data)) if options.data else "simulated hearts"
    limit = QUICK_PAIRS if options.quick and options.limit is None else options.limit
    _, table = run_cardiac(heart_pairs(name, slices, labels).limited(limit), options.out, settings, labels)
    if not options.quiet:
        print(f"{table}\nwritten to {options.out}")
    return DONE


def _trained_on(options: argparse.Namespace, held_out: int) -> dict[str, Any]:
    """The data of the trainings."""
    if options.data is None:
        usual = QUICK_SIMULATED if options.quick else SIMULATED
        return {"simulated": usual if options.simulated is None else options.simulated}
    if options.simulated is not None:
        raise ValueError(f"simulated is {options.simulated} beside --data {options.data}; expected one of them")
    return {"dataset_dir": options.data, "held_out": held_out}


def _training(options: argparse.Namespace) -> dict[str, Any]:
    """What trainings are told beside their data."""
    size = SMALL if options.image_size is None and (options.quick or options.data is None) else options.image_size
    given = {"max_epochs": options.max_epochs, "pairs_per_epoch": options.pairs_per_epoch}
    given["image_size"] = None if size is None else [size, size]
    return (QUICK if options.quick else {}) | {name: value for name, value in given.items() if value is not None}


def _slices(options: argparse.Namespace, held_out: int) -> list[CineSlice]:
    """The data, or simulated hearts that no training has seen."""
    from monai_cellreg.benchmarks.cases_simulated import FIRST_SEED
    from monai_cellreg.data.cardiac import read_cardiac
    from monai_cellreg.data.synthetic_heart import simulated_cardiac

    if options.data is not None:
        return read_cardiac(options.data)
    return simulated_cardiac(max(held_out, 1), size=(SMALL, SMALL), seed=FIRST_SEED)
