"""What every method answers, and the learned ones."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch

from ..geometry import Pair, SpatialTransform
from ..inferers import PairInferer


class Method(Protocol):
    """A way to register: a network, a classical program or an optimisation."""

    def register(self, pair: Pair) -> SpatialTransform:
        """The map from fixed to moving world points."""


class Found(Protocol):
    """A map with an account of how it was found."""

    @property
    def transform(self) -> SpatialTransform:
        """From fixed to moving world points."""

    @property
    def account(self) -> tuple[str, ...]:
        """What was done and why, a sentence each."""


@runtime_checkable
class AccountableMethod(Method, Protocol):
    """A method that makes choices, and says which."""

    def run(self, pair: Pair) -> Found:
        """The map from fixed to moving world points, and the account."""


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


def found_by(method: Method, pair: Pair) -> tuple[SpatialTransform, tuple[str, ...]]:
    """A method's map, and its account where it gives one."""
    if isinstance(method, AccountableMethod):
        found = method.run(pair)
        return found.transform, tuple(found.account)
    return method.register(pair), ()
