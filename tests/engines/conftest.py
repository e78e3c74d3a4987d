"""The joint bundle's training in small, stopped or resumed at will."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ignite.engine import Events
from monai.engines import Evaluator, Trainer
from torch import Tensor

from monai_cellreg.engines import StrictConfigWorkflow

TRAIN = Path(__file__).resolve().parents[2] / "bundles" / "joint" / "train.json"
TINY = {"image_size": 32, "simulated": 16, "batch_size": 4, "max_epochs": 4, "validation_items": 4}


class Killed(RuntimeError):
    """What stops a training in the middle."""


@dataclass
class Training:
    """A training of the bundle and what it logged: the loss terms of every iteration, the metrics of every epoch."""

    workflow: StrictConfigWorkflow
    terms: dict[int, dict[str, float]] = field(default_factory=dict)
    metrics: dict[int, dict[str, float]] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)

    def part(self, name: str) -> Any:
        """A resolved part of the configuration."""
        return self.workflow.parser.get_parsed_content(name)

    def run(self, stop_at: int | None = None) -> Training:
        """Trains, up to a ``Killed`` after iteration ``stop_at``, and logs."""
        trainer: Trainer = self.part("train::trainer")
        evaluator: Evaluator = self.part("validate::evaluator")

        @trainer.on(Events.ITERATION_COMPLETED)
        def log_terms() -> None:
            self.terms[trainer.state.iteration] = trainer.state.output["terms"]
            if trainer.state.iteration == stop_at:
                raise Killed(f"after iteration {stop_at}")

        @evaluator.on(Events.COMPLETED)
        def log_metrics() -> None:
            self.metrics[trainer.state.epoch] = dict(evaluator.state.metrics)

        try:
            trainer.run()
        except Killed:
            assert stop_at is not None
        finally:
            self.workflow.finalize()
        self.weights = {name: value.clone() for name, value in self.part("network").state_dict().items()}
        return self


@pytest.fixture(scope="session")
def prepare() -> Callable[..., Training]:
    """Gives a function from an output folder and overrides to a training that is set up."""

    def prepared(output_dir: Path, **overrides: Any) -> Training:
        workflow = StrictConfigWorkflow(str(TRAIN), overrides={**TINY, "output_dir": str(output_dir), **overrides})
        workflow.initialize()
        return Training(workflow)

    return prepared
