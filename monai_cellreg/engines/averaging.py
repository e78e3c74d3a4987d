"""The mean of the weights over a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch.optim.swa_utils import AveragedModel

from .checkpoints import save_checkpoint
from .handlers import is_worker

AVERAGE = "average.pt"


class WeightAverage:
    """Writes ``average.pt``: the mean of the weights after every epoch so far, with the statistics of the last one.

    Epochs differ in what they make of images unlike those of the training more than of images like them; their mean is
    better there than the best epoch of a validation on images like those of the training.

    Add it to the trainer before :class:`Checkpoints`, which should keep its state, so that a resumed training gives the
    same mean.

    Args:
        output_dir: folder of the run.
        network: its weights are averaged.

    References:
        Izmailov et al., Averaging weights leads to wider optima and better generalization, UAI 2018.
    """

    def __init__(self, output_dir: str | Path, network: torch.nn.Module) -> None:
        self.output_dir = Path(output_dir)
        self.network = getattr(network, "module", network)  # without DistributedDataParallel's wrapper
        self.average = AveragedModel(self.network)

    def attach(self, engine: Engine) -> None:
        """Adds this handler to a trainer."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Takes in the weights of the epoch that ended, and writes the mean."""
        self.average.update_parameters(self.network)
        if not is_worker():
            weights = self.average.module.state_dict()
            save_checkpoint(self.output_dir / AVERAGE, {name: value.cpu() for name, value in weights.items()})

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs."""
        return self.average.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from there."""
        self.average.load_state_dict(state)
