"""Who takes part in the benchmark of nuclei, and how each registers the frames of a film."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from monai.transforms import Resize
from torch import Tensor

from ..geometry import Pair, SpatialTransform
from ..methods import METHODS, BatchMethod, LearnedMethod, Method, bundle_dir, load_method
from ..transforms import normalise, to_grey
from ..utils import check_choice, plain
from .nuclei_networks import NETWORKS
from .nuclei_sequences import without_labels
from .nuclei_training import TrainedNetwork
from .runs import WEIGHTS, fingerprint

__all__ = [
    "DEFAULT_METHODS",
    "QUICK_METHODS",
    "Contender",
    "Found",
    "check_methods",
    "named_contenders",
    "network_contender",
]

logger = logging.getLogger(__name__)

DEFAULT_METHODS = (*NETWORKS, "auto", "elastix", "simpleitk", "ants", "segreg", "joint")
"""The networks of the paper in its order, then the others."""

QUICK_METHODS = (*NETWORKS, "auto", "elastix")


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
        """The maps of all pairs of a film, in one batch where the method can.

        Only networks that register segmentations see the labels. A batch that is refused is registered one by one, so
        that the pair at fault is known.

        Args:
            pairs: with labels.
        """
        segmented = isinstance(self.method, LearnedMethod) and self.method.network.takes_segmentations
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
            failure = f"{type(error).__name__}: {' '.join(str(error).split())}"
            logger.warning("%s failed: %s", self.label, failure)
            return Found(None, time.perf_counter() - start, failure)

    def segmented(self, image: Tensor) -> Tensor | None:
        """The mask (1, H, W), bool, that the network finds in an image; ``None`` of methods that do not segment.

        Args:
            image: (C, H, W), one or three channels.
        """
        if not isinstance(self.method, LearnedMethod) or self.method.network.takes_segmentations:
            return None
        network = self.method.network.eval()
        seen = _resized(normalise(to_grey(plain(image))[None])[0], network.image_size)
        with torch.no_grad():
            logits = network.logits(seen[None].to(next(network.parameters()).device))
        return _resized(torch.sigmoid(logits.float())[0].cpu(), tuple(image.shape[1:])) > 0.5


def _resized(image: Tensor, size: tuple[int, ...]) -> Tensor:
    """An image (1, H, W) at another size, smoothed first where it shrinks."""
    if tuple(image.shape[1:]) == tuple(size):
        return image
    return torch.as_tensor(plain(Resize(size, mode="bilinear", anti_aliasing=True)(image)))


def check_methods(names: Sequence[str]) -> None:
    """Raises a ``ValueError`` for no method, one named twice or one that is not known."""
    if not names or len(set(names)) != len(names):
        raise ValueError(f"methods is {list(names)}, expected one or more different names")
    for name in names:
        check_choice("method", name, [*NETWORKS, *METHODS])


def network_contender(network: TrainedNetwork) -> Contender:
    """A network that was trained for the benchmark."""
    return Contender(network.name, network.method(), f"{network.name}-{network.seed}", network.fingerprint)


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
        shipped = bundle_dir(name) / "models" / WEIGHTS if isinstance(method, LearnedMethod) else None
        contenders.append(Contender(name, method, name, "" if shipped is None else fingerprint(shipped)))
    return contenders, notes
