"""The benchmark of nuclei: the paper's two tables, with everything else that registers beside them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..utils import check_positive, ensure_writable_dir
from .contenders import check_methods, named_contenders
from .nuclei_contenders import DEFAULT_METHODS, network_contender
from .nuclei_files import GALLERY, write_nuclei_results
from .nuclei_gallery import save_nuclei_gallery
from .nuclei_networks import NETWORKS
from .nuclei_run import measured
from .nuclei_sequences import Sequences
from .nuclei_summary import NucleiSummary, summarise_nuclei
from .nuclei_training import Recipe, trained_networks

__all__ = ["NucleiSettings", "run_nuclei"]


@dataclass(frozen=True)
class NucleiSettings:
    """How the benchmark is run.

    Args:
        methods: names, of networks of the paper and of the table of methods.
        recipe: how networks are trained.
        threads: processor threads that a method may use.
        resume: go on where an earlier run in the same folder ended, in place of starting again.
        progress: show progress bars on stderr.

    Raises:
        ValueError: for no method, an unknown one or one named twice, or fewer than one thread.
    """

    methods: Sequence[str] = DEFAULT_METHODS
    recipe: Recipe = field(default_factory=Recipe)
    threads: int = 1
    resume: bool = True
    progress: bool = False

    def __post_init__(self) -> None:
        check_methods(self.methods, NETWORKS)
        check_positive("threads", self.threads)


def run_nuclei(
    sequences: Sequences, out: str | os.PathLike[str], settings: NucleiSettings
) -> tuple[list[NucleiSummary], str]:
    """Trains what is missing, registers all frames of every film to its first by every method, and writes the results.

    ``networks/NAME-SEED/`` keeps the networks and ``rows.jsonl`` what was measured, so that an interrupted run goes on
    where it was. At the end ``results.csv``, ``results.json``, ``table.md``, ``report.html`` and ``gallery.png`` are
    written.

    Args:
        sequences: the films.
        out: folder for the files; made when missing.
        settings: what to run, and how.

    Returns:
        The lines of the tables, and the tables as text.

    Raises:
        ValueError: when no method can run, or the folder holds other films or networks.
        OSError: when the folder cannot be written.
    """
    folder = ensure_writable_dir(out)
    others, notes = named_contenders([name for name in settings.methods if name not in NETWORKS])
    names = [name for name in NETWORKS if name in settings.methods]
    if not names and not others:
        raise ValueError(f"methods is {list(settings.methods)}, of which none can run here: {' '.join(notes)}")
    networks = trained_networks(
        names, folder / "networks", settings.recipe, resume=settings.resume, progress=settings.progress
    )
    contenders = [*map(network_contender, networks), *others]
    rows = measured(
        sequences,
        contenders,
        folder,
        threads=settings.threads,
        resume=settings.resume,
        progress=settings.progress,
    )
    lines = summarise_nuclei(rows, networks)
    save_nuclei_gallery(folder / GALLERY, sequences, contenders, lines)
    parameters = {
        "Films": sequences.name,
        "Frames registered": len({row["pair"] for row in rows}),
        "Methods": ", ".join(settings.methods),
        "Threads": settings.threads,
        "Training": _in_words(settings.recipe),
    }
    return lines, write_nuclei_results(folder, rows, lines, notes=notes, parameters=parameters)


def _in_words(recipe: Recipe) -> str:
    """What networks were trained on."""
    nuclei = [f"{recipe.simulated} simulated nuclei"] if recipe.simulated else []
    nuclei += [f"those of {os.path.basename(os.path.normpath(recipe.folder))}"] if recipe.folder else []
    what = f"{' and '.join(nuclei)}, {recipe.image_size} pixels, {recipe.max_epochs} epochs, seeds: {recipe.seeds}"
    return what if recipe.weights is None else f"weights of {recipe.weights} where it has them, else {what}"
