"""``monai-cellreg benchmark mnist``: handwritten digits, registered by DIRNet and other methods."""

from __future__ import annotations

import argparse
from typing import Any

from .options import DONE, shows_progress

__all__ = ["run_mnist_case"]

PAIRS, QUICK_PAIRS = 100, 5
QUICK = {"max_epochs": 2, "pairs_per_epoch": 3200}


def run_mnist_case(options: argparse.Namespace) -> int:
    """Runs the benchmark and prints its tables."""
    from monai_cellreg.benchmarks.dirnet_contenders import PairedSettings
    from monai_cellreg.benchmarks.dirnet_networks import DIGITS
    from monai_cellreg.benchmarks.dirnet_training import DirnetRecipe
    from monai_cellreg.benchmarks.mnist import DEFAULT_METHODS, run_mnist
    from monai_cellreg.benchmarks.mnist_digits import read_digit_pairs

    if options.data is None:
        raise ValueError(
            "data is missing; expected --data and a folder with MNIST's train-images-idx3-ubyte, "
            "train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, or with images-idx3-ubyte and "
            "labels-idx1-ubyte alone, plain or as .gz"
        )
    recipe = DirnetRecipe(
        "train_mnist.json",
        {"dataset_dir": options.data},
        _training(options),
        seeds=1 if options.seeds is None else options.seeds,
        weights=options.weights,
        jobs=2 if options.jobs is None else options.jobs,
    )
    methods = tuple(options.methods or DEFAULT_METHODS)
    settings = PairedSettings(methods, DIGITS, recipe, options.threads, options.resume, shows_progress(options))
    count = (QUICK_PAIRS if options.quick else PAIRS) if options.pairs is None else options.pairs
    case = read_digit_pairs(options.data, count).limited(options.limit)
    _, tables = run_mnist(case, options.out, settings)
    if not options.quiet:
        print(f"{tables}\nwritten to {options.out}")
    return DONE


def _training(options: argparse.Namespace) -> dict[str, Any]:
    """What trainings are told beside their data."""
    given = {"max_epochs": options.max_epochs, "pairs_per_epoch": options.pairs_per_epoch}
    return (QUICK if options.quick else {}) | {name: value for name, value in given.items() if value is not None}
