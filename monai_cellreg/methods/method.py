"""What every method answers, and the learned ones."""

from __future__ import annotations

from typing import Protocol

import torch

from ..geometry import Pair, SpatialTransform
from ..inferers import PairInferer


class Method(Protocol):
    """A way to register: a network, a classical program or an optimisation."""

    def register(self, pair: Pair) -> SpatialTransform:
        """The map from fixed to moving world points."""


class LearnedMethod:
    """A trained network with the inferer that brings pairs to it.

    Args:
        network: the network with its weights.
        inferer: called with the pair and the network.
    """

    def __init__(self, network: torch.nn.Module, inferer: PairInferer) -> None:
        self.network, self.inferer = network, inferer

    def register(self, pair: Pair) -> SpatialTransform:
        """The map from fixed to moving world points."""
        return self.inferer(pair, self.network)
