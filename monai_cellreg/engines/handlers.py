"""Ignite handlers of a training: seeds that make it resumable, and its progress bar."""

from __future__ import annotations

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from ignite.handlers import ProgressBar

from .trainer import TERMS


class EpochSeed:
    """Seeds a generator anew at the start of every epoch, so that an epoch's draws depend on its number alone.

    A training that is resumed after epoch n thus sees the pairs that the uninterrupted one sees.

    Args:
        generator: the generator to seed.
        seed: of the whole training; each process of a distributed one draws other pairs.
    """

    def __init__(self, generator: torch.Generator, seed: int) -> None:
        self.generator, self.seed = generator, int(seed)

    def attach(self, engine: Engine) -> None:
        """Adds this handler to a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Seeds the generator for the epoch that starts."""
        self.generator.manual_seed((self.seed * 1009 + idist.get_rank()) * 1_000_003 + engine.state.epoch)


class TrainingProgress:
    """A progress bar over each epoch with every loss term, and a line per validation with its metrics.

    Args:
        evaluator: the validation engine whose metrics are shown; ``None`` for none.
    """

    def __init__(self, evaluator: Engine | None = None) -> None:
        self.evaluator = evaluator

    def attach(self, engine: Engine) -> None:
        """Adds this handler to a trainer."""
        bar = ProgressBar(persist=False, desc="training")
        bar.attach(engine, output_transform=lambda output: output[TERMS])
        if self.evaluator is not None:

            @self.evaluator.on(Events.COMPLETED)
            def show(evaluator: Engine) -> None:
                metrics = "  ".join(f"{name} {value:.4f}" for name, value in sorted(evaluator.state.metrics.items()))
                bar.log_message(f"epoch {engine.state.epoch}/{engine.state.max_epochs}: {metrics}")


def loss_terms(output: dict) -> dict[str, float]:
    """The loss terms of a trainer's output, for MONAI's TensorBoard and log handlers."""
    return output[TERMS]


def is_worker() -> bool:
    """Whether this is a process of a distributed training other than the first, which alone reports and writes.

    Every process must ask: the first call sets up Ignite's view of the group, in which all take part.
    """
    return idist.get_world_size() > 1 and idist.get_rank() > 0
