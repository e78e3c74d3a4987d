"""Who takes part in the benchmarks of hearts and digits: elastix as in the paper, networks, and any other method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..utils import check_positive
from .contenders import Contender, check_methods, named_contenders
from .dirnet_networks import NetworkEntry
from .dirnet_training import DirnetRecipe, TrainedDirnet, trained_dirnets
from .paper_elastix import PAPER_ELASTIX, paper_elastix

__all__ = ["Entrants", "PairedSettings", "entrants", "trained_entries"]


@dataclass(frozen=True)
class PairedSettings:
    """How a benchmark of pairs is run.

    Args:
        methods: names, of networks of the benchmark, of elastix as in the paper, and of the table of methods.
        networks: the networks of the benchmark by their names.
        recipe: how they are trained.
        threads: processor threads that a method may use.
        resume: go on where an earlier run in the same folder ended, in place of starting again.
        progress: show progress bars on stderr.

    Raises:
        ValueError: for no method, an unknown one or one named twice, or fewer than one thread.
    """

    methods: Sequence[str]
    networks: Mapping[str, NetworkEntry]
    recipe: DirnetRecipe
    threads: int = 1
    resume: bool = True
    progress: bool = False

    def __post_init__(self) -> None:
        check_methods(self.methods, [PAPER_ELASTIX, *self.networks])
        check_positive("threads", self.threads)


@dataclass(frozen=True)
class Entrants:
    """Those who take part.

    Args:
        contenders: in the order in which they were named.
        networks: that were trained or given.
        notes: a sentence on each method that is left out.
    """

    contenders: Sequence[Contender]
    networks: Sequence[TrainedDirnet] = ()
    notes: Sequence[str] = field(default_factory=list)


def trained_entries(settings: PairedSettings) -> dict[str, NetworkEntry]:
    """The networks that have weights of their own, of those that are asked for."""
    named = {name: entry for name, entry in settings.networks.items() if name in settings.methods}
    wanted = {entry.trained_as or name for name, entry in named.items()}
    return {name: entry for name, entry in settings.networks.items() if name in wanted}


def entrants(settings: PairedSettings, folder: Path, control_spacing_vox: int) -> Entrants:
    """All methods that can run, their networks trained first.

    Args:
        settings: what is asked for.
        folder: where networks are kept.
        control_spacing_vox: of elastix as in the paper.

    Raises:
        ValueError: when no method can run, or the folder holds networks of another recipe.
    """
    listed = [name for name in settings.methods if name not in settings.networks and name != PAPER_ELASTIX]
    others, notes = named_contenders(listed)
    if len(listed) == len(settings.methods) and not others:
        raise ValueError(f"methods is {list(settings.methods)}, of which none can run here: {' '.join(notes)}")
    networks = trained_dirnets(
        trained_entries(settings), folder, settings.recipe, resume=settings.resume, progress=settings.progress
    )
    found = {contender.name: [contender] for contender in others}
    elastix = paper_elastix(control_spacing_vox, threads=settings.threads)
    found[PAPER_ELASTIX] = [Contender(PAPER_ELASTIX, elastix, PAPER_ELASTIX)]
    for name, entry in settings.networks.items():
        own = [network for network in networks if network.name == (entry.trained_as or name)]
        if name in settings.methods:
            found[name] = [network.contender(name, refined=entry.refined) for network in own]
    contenders = [contender for name in settings.methods for contender in found.get(name, [])]
    return Entrants(contenders, networks, notes)
