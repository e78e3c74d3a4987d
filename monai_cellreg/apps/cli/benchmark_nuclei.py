"""``monai-cellreg benchmark nuclei``: what only this case of the benchmarks takes, and how it is run."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .options import DONE, shows_progress

if TYPE_CHECKING:
    from monai_cellreg.benchmarks.nuclei_sequences import Sequences

__all__ = ["NUCLEI", "add_nuclei_options", "given_nuclei_options", "run_nuclei_case"]

NUCLEI = "nuclei"
WHAT = """Only for the case nuclei: films of single nuclei, every frame registered to the first, by the networks of the
paper (Affine, Gaussian, TPS, FlowNet, Affine-FlowNet, Gaussian-FlowNet, TPS-FlowNet register the given segmentations;
TPS-Joint and TPS-Joint-Cycle the images alone) and by any other method. Networks are trained first and kept in
OUT/networks."""
OPTIONS = (
    ("data", str, "DIR", "folder in the layout of the Cell Tracking Challenge: every nucleus seen whole in 3 frames or "
                         "more is a film, followed by its tracking label (01_GT/TRA), else by its number"),
    ("films", int, "N", "without --data: number of simulated films (default: 10, quick: 3)"),
    ("frames", int, "N", "at most so many frames of a film, from its first (default: 13, quick: 4)"),
    ("frame_size", int, "N", "side of the films' frames in pixels (default: 160, quick: 64)"),
    ("weights", str, "DIR", "folder of trained networks, NAME-SEED/model.pt; only what it lacks is trained"),
    ("train", str, "DIR", "folder of images to train on (default: simulated nuclei alone)"),
    ("simulated", int, "N", "simulated nuclei to train on (default: 1600, quick: 160, with --train: 0)"),
    ("image_size", int, "N", "side of the networks' images, a multiple of 32 (default: 96, quick: 64)"),
    ("max_epochs", int, "N", "times that each nucleus is trained on (default: 5, quick: 2)"),
    ("seeds", int, "N", "networks of each kind, with other chance (default: 1)"),
    ("jobs", int, "N", "trainings side by side, one thread each (default: 2)"),
)  # fmt: skip
FULL = {"films": 10, "frames": 13, "frame_size": 160, "simulated": 1600, "image_size": 96, "max_epochs": 5}
QUICK = {"films": 3, "frames": 4, "frame_size": 64, "simulated": 160, "image_size": 64, "max_epochs": 2}
MADE_PAIRS, QUICK_MADE_PAIRS = 400, 32


def add_nuclei_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that only this case takes."""
    group = parser.add_argument_group(NUCLEI, WHAT)
    for name, kind, metavar, what in OPTIONS:
        group.add_argument(f"--{name}", type=kind, metavar=metavar, help=what)
    group.add_argument("--amp", action="store_true", default=None, help="train in bfloat16")


def given_nuclei_options(options: argparse.Namespace) -> list[str]:
    """Names of the options of this case alone that were given."""
    return [name for name in (*(name for name, *_ in OPTIONS), "amp") if getattr(options, name) is not None]


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
