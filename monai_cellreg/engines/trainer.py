"""MONAI's supervised trainer for objectives that return every term."""

from __future__ import annotations

from typing import Any

import torch
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.utils import CommonKeys
from torch import Tensor

TERMS = "terms"


class RegistrationTrainer(SupervisedTrainer):
    """:class:`monai.engines.SupervisedTrainer` whose ``loss_function`` is an :class:`~monai_cellreg.losses.Objective`.

    ``engine.state.output`` holds the predictions, the loss and, under ``"terms"``, every term as a number for logging.
    ``amp=True`` computes the forward pass in bfloat16, on GPUs and on CPUs alike; it pays where the hardware multiplies
    bfloat16 (coordinates stay float32 in any case).
    """

    def _iteration(self, engine: SupervisedTrainer, batchdata: dict[str, Tensor]) -> dict[str, Any]:
        fixed, truth, args, kwargs = engine.prepare_batch(batchdata, engine.state.device, engine.non_blocking)
        engine.network.train()
        engine.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(fixed.device.type, dtype=torch.bfloat16, enabled=self.amp):
            prediction = engine.inferer(fixed, engine.network, *args, **kwargs)
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        terms = engine.loss_function(prediction, truth)
        engine.fire_event(IterationEvents.LOSS_COMPLETED)
        terms["loss"].backward()
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        engine.optimizer.step()
        numbers = dict(zip(terms, torch.stack([t.detach() for t in terms.values()]).tolist(), strict=True))
        engine.state.output = {
            CommonKeys.IMAGE: fixed,
            CommonKeys.LABEL: truth,
            CommonKeys.PRED: {name: value.detach() for name, value in prediction.items()},
            CommonKeys.LOSS: numbers["loss"],
            TERMS: numbers,
        }
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output
