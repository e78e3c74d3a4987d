"""Who takes part in a benchmark, and what each gives for a pair."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from torch import nn

from ..geometry import AffineTransform, Pair, SpatialTransform
from ..methods import METHODS, BatchMethod, Method, load_method
from ..utils import check_choice
from .journal import Row

__all__ = [
    "Contender",
    "Found",
    "check_methods",
    "found_scores",
    "identity_map",
    "named_contenders",
    "network_of",
    "without_labels",
]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """What a method gave for one pair.

    Args:
        transform: the map; ``None`` where there is none.
        seconds: taken, the share of the pair where several were registered at once.
        failure: why there is no map; ``None`` where there is one.
    """

    transform: SpatialTransform | None
    seconds: float
    failure: str | None = None


@dataclass(frozen=True)
class Contender:
    """A method under the name by which its rows are told apart.

    Args:
        name: in the tables.
        method: what registers.
        label: of the rows: the name, and the seed of a network that was trained here.
        weights: text that differs for other weights; empty without any.
    """

    name: str
    method: Method
    label: str
    weights: str = ""

    def register(self, pairs: Sequence[Pair]) -> list[Found]:
        """The maps of several pairs, in one batch where the method can.

        Only networks that register segmentations see the labels. A batch that is refused is registered one by one, so
        that the pair at fault is known.

        Args:
            pairs: with labels.
        """
        segmented = getattr(network_of(self.method), "takes_segmentations", False)
        seen = list(pairs) if segmented else [without_labels(pair) for pair in pairs]
        if isinstance(self.method, BatchMethod):
            start = time.perf_counter()
            try:
                maps = self.method.register_batch(seen)
                seconds = (time.perf_counter() - start) / len(seen)
                return [Found(transform, seconds) for transform in maps]
            except Exception as error:
                logger.info("%s registers one by one: %s", self.label, error)
        return [self._one(pair) for pair in seen]

    def _one(self, pair: Pair) -> Found:
        start = time.perf_counter()
        try:
            transform = self.method.register(pair)
            return Found(transform, time.perf_counter() - start)
        except Exception as error:
            failure = _in_words(error)
            logger.warning("%s failed: %s", self.label, failure)
            return Found(None, time.perf_counter() - start, failure)


def without_labels(pair: Pair) -> Pair:
    """The same images with nothing known of them."""
    return Pair(pair.fixed, pair.moving, pair.fixed_grid, pair.moving_grid)


def identity_map(pair: Pair) -> SpatialTransform:
    """The map of a pair that is not registered."""
    return AffineTransform(np.eye(pair.fixed_grid.spatial_dims + 1))


def found_scores(pair: Pair, found: Found, score: Callable[[Pair, SpatialTransform], Row]) -> Row:
    """``failure``, ``seconds`` and the scores of a map; of the identity where there is none, or one without scores.

    Args:
        pair: what was registered.
        found: what a method gave for it.
        score: gives the scores of a map of a pair.
    """
    failure = found.failure
    if found.transform is not None:
        try:
            return {"failure": None, "seconds": found.seconds, **score(pair, found.transform)}
        except Exception as error:
            failure = _in_words(error)
    return {"failure": failure, "seconds": found.seconds, **score(pair, identity_map(pair))}


def network_of(method: Method) -> nn.Module | None:
    """The network of a learned method; ``None`` of others."""
    network = getattr(method, "network", None)
    return network if isinstance(network, nn.Module) else None


def check_methods(names: Sequence[str], networks: Iterable[str]) -> None:
    """Raises a ``ValueError`` for no method, one named twice or one that is not known.

    Args:
        names: that were asked for.
        networks: names that a benchmark knows beside the table of methods.
    """
    if not names or len(set(names)) != len(names):
        raise ValueError(f"methods is {list(names)}, expected one or more different names")
    known = list(dict.fromkeys([*networks, *METHODS]))
    for name in names:
        check_choice("method", name, known)


def named_contenders(names: Sequence[str]) -> tuple[list[Contender], list[str]]:
    """The methods of the table of methods, and a note on each that cannot run here.

    Args:
        names: of methods.

    Returns:
        Those that can run; a sentence on each that lacks its extra or its weights.
    """
    contenders, notes = [], []
    for name in names:
        try:
            method = load_method(name)
        except (ImportError, FileNotFoundError) as error:
            notes.append(f"{name} is left out: {' '.join(str(error).split())}")
            continue
        contenders.append(Contender(name, method, name, _weights_of(method)))
    return contenders, notes


def _weights_of(method: Method) -> str:
    """Text that differs for other weights; empty without any."""
    network = network_of(method)
    if network is None:
        return ""
    told = sha256()
    for name, values in network.state_dict().items():
        told.update(name.encode() + values.detach().cpu().contiguous().numpy().tobytes())
    return told.hexdigest()[:16]


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
