"""Registrations found in batches, ahead of the frames that ask for them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ..geometry import Pair, SpatialTransform
from .frame import FAILURES, flaw

logger = logging.getLogger(__name__)

RegisterBatch = Callable[[Sequence[Pair]], Sequence[SpatialTransform]]
"""What registers several pairs at once: the ``register_batch`` of a method."""

BATCH = 32  # frames in memory at once


@dataclass(frozen=True)
class Ready:
    """A registration that was found ahead.

    Args:
        pair: the reference and the frame.
        transform: the map of what was registered, the pair or what a known map leaves of it.
        seconds: the frame's share of the time.
    """

    pair: Pair
    transform: SpatialTransform
    seconds: float


class Lookahead:
    """Registers the frames that come next together with the one that is asked for.

    A batch that the method refuses is left to registrations one by one, which tell the frame that is at fault.

    Args:
        register_batch: registers pairs of one shape; None where the method has no such thing, and nothing is found.
        candidate: the pair of a frame and what is to be registered (the pair itself, or what a known map leaves of it);
            None for a frame that needs no registration.
        order: in which frames will be asked for.
    """

    def __init__(
        self,
        register_batch: RegisterBatch | None,
        candidate: Callable[[int], tuple[Pair, Pair] | None],
        order: Iterable[int],
    ) -> None:
        self.register_batch, self.candidate = register_batch, candidate
        self.waiting = list(order)
        self.ready: dict[int, Ready] = {}

    def take(self, t: int) -> Ready | None:
        """What was found of frame t; None where it has to be registered alone."""
        if self.register_batch is not None and t in self.waiting:
            self._fill(self.register_batch)
        return self.ready.pop(t, None)

    def _fill(self, register_batch: RegisterBatch) -> None:
        chosen: dict[int, tuple[Pair, Pair]] = {}
        while self.waiting and len(chosen) < BATCH:
            t = self.waiting.pop(0)
            pairs = self.candidate(t)
            if pairs is not None and not flaw(pairs[1].moving):
                chosen[t] = pairs
        if not chosen:
            return
        start = time.perf_counter()
        try:
            maps = list(register_batch([asked for _, asked in chosen.values()]))
        except FAILURES as error:
            logger.info("%d frames are registered one by one: %s", len(chosen), error)
            return
        if len(maps) != len(chosen):
            raise TypeError(f"register_batch gave {len(maps)} maps of {len(chosen)} pairs; expected one of each")
        seconds = (time.perf_counter() - start) / len(chosen)
        for (t, (pair, _)), transform in zip(chosen.items(), maps, strict=True):
            self.ready[t] = Ready(pair, transform, seconds)
