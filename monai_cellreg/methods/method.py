"""What every method answers, and the learned ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from torch import nn

from ..engines.instance import Registered
from ..geometry import Pair, SpatialTransform
from ..inferers import PairPrediction
from .refinement import Refinement


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


@runtime_checkable
class BatchMethod(Method, Protocol):
    """A method that registers several pairs at once, faster than one by one."""

    def register_batch(self, pairs: Sequence[Pair]) -> list[SpatialTransform]:
        """The maps from fixed to moving world points, in the order of the pairs."""


class Inferer(Protocol):
    """Brings pairs to the kind of network that it was made for."""

    def account(self, pair: Pair, network: Any) -> tuple[str, ...]:
        """What a user should know of how the pair is registered, a sentence each."""

    def batch(self, pairs: Sequence[Pair], network: Any) -> list[PairPrediction]:
        """What the network finds of pairs."""


class LearnedMethod:
    """A trained network with the inferer that brings pairs to it.

    Args:
        network: the network with its weights.
        inferer: called with pairs and the network.
        refinement: improves each map by optimisation; none when omitted.
    """

    def __init__(self, network: nn.Module, inferer: Inferer, refinement: Refinement | None = None) -> None:
        self.network, self.inferer, self.refinement = network, inferer, refinement

    def register(self, pair: Pair) -> SpatialTransform:
        """The map from fixed to moving world points."""
        return self.register_batch([pair])[0]

    def run(self, pair: Pair) -> Registered:
        """The map, and what the inferer says of it."""
        return Registered(self.register(pair), self.account(pair))

    def account(self, pair: Pair) -> tuple[str, ...]:
        """What the inferer says of how a pair is registered, a sentence each."""
        return self.inferer.account(pair, self.network)

    def register_batch(self, pairs: Sequence[Pair]) -> list[SpatialTransform]:
        """The maps of several pairs, found in one run of the network, each then refined on its own."""
        found = self.inferer.batch(pairs, self.network)
        return [each.transform if self.refinement is None else self.refinement(each) for each in found]


def found_by(method: Method, pair: Pair) -> tuple[SpatialTransform, tuple[str, ...]]:
    """A method's map, and its account where it gives one."""
    if isinstance(method, AccountableMethod):
        found = method.run(pair)
        return found.transform, tuple(found.account)
    return method.register(pair), ()


def all_found_by(method: Method, pairs: Sequence[Pair]) -> list[tuple[SpatialTransform, tuple[str, ...]]]:
    """A method's maps of several pairs, found at once where it can, and its accounts where it gives them."""
    if isinstance(method, LearnedMethod):
        return [(found, method.account(p)) for p, found in zip(pairs, method.register_batch(pairs), strict=True)]
    if isinstance(method, BatchMethod) and not isinstance(method, AccountableMethod):
        return [(found, ()) for found in method.register_batch(pairs)]
    return [found_by(method, pair) for pair in pairs]
