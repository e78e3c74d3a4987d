"""Pairs of a data set, registered one by one by every method of a benchmark."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from .. import __version__
from ..geometry import Pair, SpatialTransform
from ..utils import plain
from .cases import evenly_chosen
from .cases_summary import UNREGISTERED
from .contenders import Contender, Found, found_scores, identity_map
from .journal import Journal, Row
from .threads import limited_threads

__all__ = ["PairedCase", "measured_pairs"]

ROWS = "rows.jsonl"


@dataclass(frozen=True)
class PairedCase:
    """What is registered, and how it is scored.

    Args:
        name: what the pairs are, in words.
        pairs: every pair by its name, in their order.
        groups: name of a pair to what it is of (a patient, a digit): pairs of one group are not independent.
        score: gives the scores of a map of a pair.
    """

    name: str
    pairs: Mapping[str, Pair]
    groups: Mapping[str, str]
    score: Callable[[Pair, SpatialTransform], Row]

    def limited(self, count: int | None) -> PairedCase:
        """At most ``count`` of the pairs, spread evenly; all for ``None``."""
        if count is None:
            return self
        return replace(self, pairs={name: self.pairs[name] for name in evenly_chosen(list(self.pairs), count)})

    @property
    def fingerprint(self) -> str:
        """Text that differs for other pairs."""
        told = sha256(self.name.encode())
        for name, pair in self.pairs.items():
            told.update(name.encode() + pair.fixed_grid.affine.tobytes() + pair.moving_grid.affine.tobytes())
            for image in (pair.fixed, pair.moving, pair.fixed_label, pair.moving_label):
                if image is not None:
                    told.update(np.ascontiguousarray(plain(torch.as_tensor(image)).numpy()).tobytes())
        return told.hexdigest()


def measured_pairs(
    case: PairedCase,
    contenders: Sequence[Contender],
    folder: Path,
    *,
    threads: int = 1,
    resume: bool = True,
    progress: bool = False,
) -> list[Row]:
    """Registers every pair by every method, each pair on its own, and scores the maps.

    A row is added to ``rows.jsonl`` as soon as it is measured, so that an interrupted run goes on where it was; a
    network with other weights than its rows is measured again. Where a method gives no map, its row keeps the reason
    and counts as unregistered.

    Args:
        case: the pairs.
        contenders: the methods; each with a label of its own.
        folder: for the rows; it exists.
        threads: processor threads that a method may use.
        resume: go on where an earlier run in the folder ended.
        progress: show a progress bar on stderr.

    Returns:
        One row a pair and method: ``pair``, ``method`` (the label), ``name``, ``group``, ``weights``, ``failure``,
        ``seconds`` and the scores; of each pair the unregistered one comes first.

    Raises:
        ValueError: when the folder holds the rows of other pairs.
    """
    identity = json.dumps([case.name, case.fingerprint, threads, __version__])
    journal = Journal(folder / ROWS, sha256(identity.encode()).hexdigest(), resume=resume)
    entrants = {UNREGISTERED: None, **{contender.label: contender for contender in contenders}}
    weights = {label: contender.weights if contender else "" for label, contender in entrants.items()}
    jobs = [(name, label) for name in case.pairs for label in entrants]
    missing = [job for job in jobs if journal.rows.get(job, {"weights": None})["weights"] != weights[job[1]]]
    with limited_threads(threads):
        for name, label in tqdm(missing, desc="registering", unit="pair", disable=not progress, leave=False):
            pair, contender = case.pairs[name], entrants[label]
            found = contender.register([pair])[0] if contender else Found(identity_map(pair), 0.0)
            title = contender.name if contender else UNREGISTERED
            head = {"pair": name, "method": label, "name": title, "group": case.groups[name], "weights": weights[label]}
            journal.add({**head, **found_scores(pair, found, case.score)})
    return [journal.rows[job] for job in jobs]
