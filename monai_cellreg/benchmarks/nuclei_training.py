"""The networks of the benchmark, trained side by side with one recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..methods import Method, bundle_method
from ..utils import check_positive
from .nuclei_networks import NETWORKS
from .runs import WEIGHTS, evaluated, fingerprint, is_finished, settings_of, share_done, trained
from .side_by_side import run_side_by_side

__all__ = ["Recipe", "TrainedNetwork", "trained_networks"]

BATCH_SIZE = 8
VALIDATION_PAIRS = 96  # of each epoch, at most
MADE = "made"  # folder of the figures on made pairs


@dataclass(frozen=True)
class Recipe:
    """How every network is trained and measured.

    Args:
        folder: images to train on; ``None`` for simulated nuclei alone.
        simulated: simulated nuclei beside those of the folder.
        image_size: side of the network's images in pixels.
        max_epochs: times that each nucleus is seen.
        seeds: networks of each kind, with the seeds 0, 1 ...
        amp: train in bfloat16.
        made_pairs: held-out pairs that are made to measure each network.
        weights: folder of trained networks, NAME-SEED/model.pt, that need no training.
        jobs: trainings side by side, one thread each.

    Raises:
        ValueError: for a number that is too small, or nothing to train on.
    """

    folder: str | None = None
    simulated: int = 1600
    image_size: int = 96
    max_epochs: int = 5
    seeds: int = 1
    amp: bool = False
    made_pairs: int = 400
    weights: str | None = None
    jobs: int = 2

    def __post_init__(self) -> None:
        for name in ("image_size", "max_epochs", "seeds", "made_pairs", "jobs"):
            check_positive(name, getattr(self, name))
        least = 0 if self.folder else 1
        if self.simulated < least:
            raise ValueError(f"simulated is {self.simulated}; expected {least} or more, or a folder to train on")
        if self.weights is not None and not Path(self.weights).is_dir():
            raise FileNotFoundError(f"weights {self.weights!r} is not a folder; expected one with NAME-SEED/model.pt")

    def training(self, name: str, seed: int) -> dict[str, Any]:
        """The overrides of the training of a network."""
        return {
            **NETWORKS[name].settings,
            **({} if self.folder is None else {"dataset_dir": self.folder}),
            "simulated": self.simulated,
            "image_size": self.image_size,
            "max_epochs": self.max_epochs,
            "batch_size": BATCH_SIZE,
            "seed": seed,
            "amp": self.amp,
            "validation_items": min(VALIDATION_PAIRS, self.made_pairs),
        }

    def held_out(self) -> dict[str, Any]:
        """The overrides that say of which nuclei held-out pairs are made."""
        if self.folder is None:
            return {"simulated": min(self.simulated, self.made_pairs), "validation_items": self.made_pairs}
        return {"dataset_dir": self.folder, "simulated": self.simulated, "validation_items": self.made_pairs}


@dataclass(frozen=True)
class TrainedNetwork:
    """A network with its weights, and what it reaches on made pairs that were never trained on.

    Args:
        name: in :data:`~monai_cellreg.benchmarks.nuclei_networks.NETWORKS`.
        seed: of its training.
        weights: file.
        image_size: side of its images in pixels.
        made: figures by pair, in the same order for all networks.
    """

    name: str
    seed: int
    weights: Path
    image_size: int
    made: list[dict[str, float]]

    @property
    def fingerprint(self) -> str:
        """Text that differs for other weights."""
        return fingerprint(self.weights)

    def method(self) -> Method:
        """The network as a method that registers in a single pass, as in the paper."""
        entry = NETWORKS[self.name]
        told = {"transformer": entry.transformer, "image_size": self.image_size, "refinement": None}
        return bundle_method(entry.bundle, {**told, "checkpoint": str(self.weights)})


@dataclass(frozen=True)
class _Task:
    """One network to be trained and measured."""

    name: str
    seed: int
    recipe: Recipe
    folder: Path
    resume: bool

    @property
    def given(self) -> Path | None:
        """The folder of the network where it needs no training."""
        folder = None if self.recipe.weights is None else Path(self.recipe.weights) / self.folder.name
        return folder if folder is not None and (folder / WEIGHTS).is_file() else None

    @property
    def is_done(self) -> bool:
        """Whether everything can be read back."""
        ready = self.given is not None or (self.resume and is_finished(self.folder))
        return ready and is_finished(self.folder / MADE)

    def run(self) -> TrainedNetwork:
        """Trains and measures, as far as the folder lacks it."""
        entry, recipe = NETWORKS[self.name], self.recipe
        if (given := self.given) is not None:
            weights, size = given / WEIGHTS, settings_of(given).get("image_size", recipe.image_size)
        else:
            told = recipe.training(self.name, self.seed)
            weights, size = trained(entry.bundle, self.folder, told, resume=self.resume), recipe.image_size
        told = {**recipe.held_out(), "image_size": size, "transformer": entry.transformer, "seed": self.seed}
        made = evaluated(entry.bundle, self.folder / MADE, told, weights=weights)
        return TrainedNetwork(self.name, self.seed, weights, size, made)

    def share_done(self) -> float:
        """The share of the epochs that is done."""
        return share_done(self.folder)


def trained_networks(
    names: Sequence[str], folder: Path, recipe: Recipe, *, resume: bool = True, progress: bool = False
) -> list[TrainedNetwork]:
    """Networks with all seeds of the recipe; those that the folder holds are used again, stopped ones go on.

    Args:
        names: of the networks.
        folder: where each gets its folder NAME-SEED.
        recipe: how they are trained.
        resume: ``False`` trains again whatever the folder holds.
        progress: show a progress bar on stderr.

    Returns:
        The networks by name, then by seed.

    Raises:
        ValueError: when the folder holds a network of another recipe, or weights of another network.
    """
    tasks = [
        _Task(name, seed, recipe, folder / f"{name}-{seed}", resume) for name in names for seed in range(recipe.seeds)
    ]
    run_side_by_side([task for task in tasks if not task.is_done], recipe.jobs, progress=progress)
    return [replace(task, resume=True).run() for task in tasks]
