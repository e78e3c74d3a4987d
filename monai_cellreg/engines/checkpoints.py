"""Keeping the best weights and all that a training needs to go on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import Evaluator

from ..utils import atomic_path, check_positive, ensure_writable_dir
from .handlers import is_worker

logger = logging.getLogger(__name__)
LAST, BEST = "last.pt", "model.pt"


class Checkpoints:
    """Writes ``last.pt`` after every epoch and ``model.pt`` (weights alone) when the validation score rises.

    Both are written to a temporary name and renamed, so that a killed run leaves whole files. Add it to the trainer
    after the handlers that validate and that step the learning rate.

    Args:
        output_dir: folder of the run; made when missing.
        network: its weights are kept.
        state: name to object with ``state_dict`` of all else that goes on (optimizer, schedule).
        evaluator: the validation engine; its key metric is the score.
        resume: go on from ``last.pt``.
        patience: stop after so many epochs without a better score.

    Raises:
        FileNotFoundError: when the run starts with ``resume`` and there is no ``last.pt``.
        ValueError: for a ``patience`` below 1; when ``last.pt`` does not fit the training or is not one of ours.
    """

    def __init__(
        self,
        output_dir: str | Path,
        network: torch.nn.Module,
        state: Mapping[str, Any],
        *,
        evaluator: Evaluator,
        resume: bool = False,
        patience: int = 1000,
    ) -> None:
        check_positive("patience", patience)
        self.output_dir = Path(output_dir)
        self.network = getattr(network, "module", network)  # without DistributedDataParallel's wrapper
        self.state, self.evaluator = dict(state), evaluator
        self.resume, self.patience = resume, patience
        self.best_score, self.best_epoch = float("-inf"), 0

    def attach(self, engine: Engine) -> None:
        """Adds this handler to a trainer."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def start(self, engine: Engine) -> None:
        """Checks the folder and, when resuming, restores everything."""
        ensure_writable_dir(self.output_dir)
        if not self.resume:
            return
        path = self.output_dir / LAST
        if not path.is_file():
            raise FileNotFoundError(
                f"resume is set but output_dir {str(self.output_dir)!r} has no {LAST}; expected the folder of a "
                "training that was stopped. Start one without resume, or name its folder"
            )
        saved = load_checkpoint(path)
        try:
            if absent := {"network", "run", *self.state} - saved.keys():
                raise ValueError(f"it lacks {', '.join(sorted(absent))}")
            self.network.load_state_dict(saved["network"])
            for name, item in self.state.items():
                item.load_state_dict(saved[name])
            run = saved["run"]
        except (AttributeError, KeyError, TypeError, RuntimeError, ValueError) as error:
            raise ValueError(
                f"checkpoint {str(path)!r} does not fit this training ({error}); expected one written with the same "
                "settings. Resume with the settings of that run, or start anew without resume"
            ) from error
        for name, what in (("epoch_length", "steps an epoch"), ("max_epochs", "epochs")):
            if run[name] != (now := getattr(engine.state, name)):
                raise ValueError(
                    f"checkpoint {str(path)!r} is of a training with {run[name]} {what}, this one has {now}; expected "
                    "the same data, batch size and max_epochs. To train for longer, start anew from its weights "
                    f"(--initial_weights {self.output_dir / BEST})"
                )
        engine.state.epoch, engine.state.iteration = run["epoch"], run["iteration"]
        self.best_score, self.best_epoch = run["best_score"], run["best_epoch"]
        logger.info("resumed after epoch %d from %s", run["epoch"], path)
        self._stop_without_progress(engine)

    def save(self, engine: Engine) -> None:
        """Writes the checkpoints of the epoch that ended, and stops the training when it no longer improves."""
        metrics, key = self.evaluator.state.metrics, self.evaluator.state.key_metric_name
        score = float(metrics[key]) if self.evaluator.state.epoch and key in metrics else float("-inf")
        weights = {name: value.detach().cpu() for name, value in self.network.state_dict().items()}
        if score > self.best_score:
            self.best_score, self.best_epoch = score, engine.state.epoch
            self._write(BEST, weights)
        run = {
            "epoch": engine.state.epoch,
            "iteration": engine.state.iteration,
            "epoch_length": engine.state.epoch_length,
            "max_epochs": engine.state.max_epochs,
            "best_score": self.best_score,
            "best_epoch": self.best_epoch,
        }
        states = {name: item.state_dict() for name, item in self.state.items()}
        self._write(LAST, {"network": weights, **states, "run": run})
        self._stop_without_progress(engine)

    def _stop_without_progress(self, engine: Engine) -> None:
        if engine.state.epoch - self.best_epoch >= self.patience:
            logger.info("no better %s for %d epochs: stopped", self.evaluator.state.key_metric_name, self.patience)
            engine.terminate()

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        if not is_worker():
            save_checkpoint(self.output_dir / name, content)


def save_checkpoint(path: str | Path, content: Mapping[str, Any]) -> None:
    """Writes a checkpoint atomically."""
    with atomic_path(path) as temporary:
        torch.save(dict(content), temporary)


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Reads a checkpoint to the CPU, weights only.

    Raises:
        FileNotFoundError: when it is missing.
        ValueError: when it is damaged or not a checkpoint.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"checkpoint {str(path)!r} does not exist; expected a file of weights. Train first "
            "(monai-cellreg bundle train NAME) or give the path of another one"
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for foreign files
        raise ValueError(
            f"checkpoint {str(path)!r} cannot be read ({type(error).__name__}); expected a file written by torch.save "
            "with tensors only. It may be cut off, of another program, or hold whole objects: copy or train it anew"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"checkpoint {str(path)!r} holds a {type(content).__name__}; expected a dictionary of tensors")
    return content


def load_weights(network: torch.nn.Module, path: str | Path, *, partial: bool = False) -> torch.nn.Module:
    """Loads weights (``model.pt``, or the network's part of ``last.pt``) into a network and gives it back.

    Args:
        network: any module.
        path: file of the weights.
        partial: the file may lack some of the network's weights, which then stay as they are.

    Raises:
        FileNotFoundError: when the file is missing.
        ValueError: when the file is damaged or of another network.
    """
    content = load_checkpoint(path)
    weights = content.get("network", content)
    try:
        network.load_state_dict({**network.state_dict(), **weights} if partial else weights)
    except (RuntimeError, AttributeError, TypeError) as error:
        raise ValueError(
            f"checkpoint {str(path)!r} is not of this network ({str(error)[:400]}); expected weights of a "
            f"{type(network).__name__} with the same settings (image_size, control_shape, features)"
        ) from error
    return network
