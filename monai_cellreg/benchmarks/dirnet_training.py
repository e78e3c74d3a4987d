"""The networks of the bundle dirnet that a benchmark measures, trained side by side on the data of the benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..methods import bundle_method
from ..utils import check_positive
from .contenders import Contender
from .dirnet_networks import BUNDLE, NetworkEntry
from .runs import WEIGHTS, fingerprint, is_finished, learning_curve, settings_of, share_done, trained
from .side_by_side import run_side_by_side

__all__ = ["DirnetRecipe", "TrainedDirnet", "trained_dirnets"]

SHAPE = ("image_size", "pixel_size", "variant", "channels", "levels", "affine")  # settings that weights depend on
REFINEMENT = {"_target_": "monai_cellreg.methods.Refinement", "iterations": 20, "overlap": 0.0}
VALIDATED = "registration_ncc"


@dataclass(frozen=True)
class DirnetRecipe:
    """How every network is trained.

    Args:
        overlay: configuration file of the bundle, beside ``train.json``.
        data: overrides that say what is trained on.
        settings: further overrides of the training; what is left out is as in the overlay.
        seeds: networks of each kind, with the seeds 0, 1 ...
        weights: folder of trained networks, NAME-SEED/model.pt, that need no training, or the weights of the only one.
        jobs: trainings side by side, one thread each.

    Raises:
        ValueError: for a number that is too small.
        FileNotFoundError: for weights that do not exist.
    """

    overlay: str
    data: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    seeds: int = 1
    weights: str | None = None
    jobs: int = 2

    def __post_init__(self) -> None:
        for name in ("seeds", "jobs"):
            check_positive(name, getattr(self, name))
        for name in ("max_epochs", "pairs_per_epoch"):
            check_positive(name, self.settings.get(name, 1))
        if self.weights is not None and not Path(self.weights).exists():
            raise FileNotFoundError(
                f"weights {self.weights!r} does not exist; expected a folder with NAME-SEED/model.pt, or weights"
            )

    def in_words(self) -> str:
        """What networks were trained on, and how."""
        told = {**self.data, **self.settings}
        what = ", ".join(f"{name} {value}" for name, value in told.items() if value is not None)
        how = f"{self.overlay}, {what}, seeds: {self.seeds}"
        return how if self.weights is None else f"weights of {self.weights} where it has them, else {how}"

    def given(self, label: str) -> Path | None:
        """The weights of a network that needs no training."""
        if self.weights is None:
            return None
        path = Path(self.weights)
        path = path if path.is_file() else path / label / WEIGHTS
        return path if path.is_file() else None


@dataclass(frozen=True)
class TrainedDirnet:
    """A network with its weights.

    Args:
        name: of the network.
        seed: of its training.
        weights: file.
        overlays: configuration files of the bundle that it was trained by.
        shape: the settings that the weights depend on, where they differ from the overlays.
        curve: epoch to the correlation of the validation pairs; empty where that is not known.
    """

    name: str
    seed: int
    weights: Path
    overlays: Sequence[str]
    shape: Mapping[str, Any]
    curve: Mapping[int, float]

    def contender(self, name: str, *, refined: bool = False) -> Contender:
        """The network as it takes part.

        Args:
            name: under which it does.
            refined: fit each map to its pair in a few steps, in place of the network's single pass.
        """
        told = {**self.shape, "checkpoint": str(self.weights), "refinement": REFINEMENT if refined else None}
        method = bundle_method(BUNDLE, told, overlays=self.overlays)
        return Contender(name, method, f"{name}-{self.seed}", fingerprint(self.weights))


@dataclass(frozen=True)
class _Task:
    """One network to be trained."""

    name: str
    seed: int
    entry: NetworkEntry
    recipe: DirnetRecipe
    folder: Path
    resume: bool

    @property
    def told(self) -> dict[str, Any]:
        """The overrides of the training."""
        return {**self.recipe.settings, **self.entry.settings, **self.recipe.data, "seed": self.seed}

    @property
    def overlays(self) -> list[str]:
        """The configuration files beside ``train.json``."""
        return [self.recipe.overlay, *self.entry.overlays]

    @property
    def given(self) -> Path | None:
        """The weights where they need no training."""
        return self.recipe.given(self.folder.name)

    @property
    def is_done(self) -> bool:
        """Whether everything can be read back."""
        return self.given is not None or (self.resume and is_finished(self.folder))

    def run(self) -> None:
        """Trains, as far as the folder lacks it."""
        trained(BUNDLE, self.folder, self.told, overlays=self.overlays, resume=self.resume)

    def share_done(self) -> float:
        """The share of the epochs that is done."""
        return share_done(self.folder)

    def result(self) -> TrainedDirnet:
        """What was trained or given."""
        weights = self.given
        if weights is None:  # also tells of a folder that holds another training
            weights = trained(BUNDLE, self.folder, self.told, overlays=self.overlays)
        told = settings_of(weights.parent) or {"overlays": self.overlays, **self.told}
        shape = {key: told[key] for key in SHAPE if key in told}
        curve = learning_curve(weights.parent, VALIDATED)
        return TrainedDirnet(self.name, self.seed, weights, told["overlays"], shape, curve)


def trained_dirnets(
    entries: Mapping[str, NetworkEntry],
    folder: Path,
    recipe: DirnetRecipe,
    *,
    resume: bool = True,
    progress: bool = False,
) -> list[TrainedDirnet]:
    """Networks with all seeds of the recipe; those that the folder holds are used again, stopped ones go on.

    Args:
        entries: the networks by their names, those whose weights are another's left out.
        folder: where each gets its folder NAME-SEED.
        recipe: how they are trained.
        resume: ``False`` trains again whatever the folder holds.
        progress: show a progress bar on stderr.

    Returns:
        The networks by name, then by seed.

    Raises:
        ValueError: when the folder holds a network of another recipe.
    """
    tasks = [
        _Task(name, seed, entry, recipe, folder / f"{name}-{seed}", resume)
        for name, entry in entries.items()
        for seed in range(recipe.seeds)
    ]
    run_side_by_side([task for task in tasks if not task.is_done], recipe.jobs, progress=progress)
    return [task.result() for task in tasks]
