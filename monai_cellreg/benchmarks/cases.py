"""Cases that registration methods are compared on: built-in ones that need no download, and lists of files."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..geometry import Pair
from ..utils import check_choice
from .cases_listed import listed_pairs
from .cases_simulated import simulated_nuclei
from .cases_warps import known_warps

__all__ = ["BUILT_IN", "Case", "evenly_chosen", "load_case"]

QUICK_PAIRS = 4

BUILT_IN = {
    "simulated-nuclei": "films of simulated nuclei with exact labels and maps",
    "known-warps": "micrographs of scikit-image, grey, in colour and in two stains, warped by known maps",
}
_MAKERS = {"simulated-nuclei": simulated_nuclei, "known-warps": known_warps}


@dataclass(frozen=True)
class Case:
    """Named pairs, each loaded when its turn comes.

    Args:
        name: a built-in name, or that of the CSV file.
        pairs: name of the pair to the function that loads it, in their order.
        fingerprint: text that differs for other pairs of the same names.
    """

    name: str
    pairs: dict[str, Callable[[], Pair]]
    fingerprint: str

    def limited(self, count: int | None) -> Case:
        """At most ``count`` of the pairs, spread evenly; all for ``None``."""
        if count is None:
            return self
        return replace(self, pairs={name: self.pairs[name] for name in evenly_chosen(list(self.pairs), count)})


def evenly_chosen(names: Sequence[str], count: int) -> list[str]:
    """At most ``count`` names of pairs, spread evenly, the first and the last among them.

    Raises:
        ValueError: for fewer than one.
    """
    if count < 1:
        raise ValueError(f"limit is {count}, expected a number of pairs of at least 1; leave it out for all")
    return [names[k] for k in np.linspace(0, len(names) - 1, min(count, len(names))).round().astype(int)]


def load_case(case: str | os.PathLike[str], *, quick: bool = False) -> Case:
    """A case by name, or the pairs that a CSV file lists.

    Args:
        case: one of :data:`BUILT_IN`, or the path of a file that ends in ``.csv`` (see
            :func:`~monai_cellreg.benchmarks.cases_listed.listed_pairs` for its columns).
        quick: few and, of the built-in cases, small pairs, to try a method in a minute.

    Raises:
        ValueError: for an unknown name, or a list that cannot be used.
        FileNotFoundError: when the list, or a file in it, does not exist.

    Example:
        >>> len(load_case("simulated-nuclei", quick=True).pairs)
        4
    """
    if str(case).lower().endswith(".csv"):
        pairs, text = listed_pairs(Path(case))
        found = Case(Path(case).name, pairs, text)
        return found.limited(QUICK_PAIRS) if quick else found
    check_choice("case", str(case), [*BUILT_IN, "FILE.csv"])
    return Case(str(case), _MAKERS[str(case)](quick=quick), "quick" if quick else "full")
