"""The learning curves of the networks that a benchmark has trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..report import save_curves
from .dirnet_training import TrainedDirnet

__all__ = ["CURVES", "save_learning_curves"]

CURVES = "learning_curves.png"


def save_learning_curves(folder: Path, networks: Sequence[TrainedDirnet]) -> None:
    """Writes the validation loss by epoch, a curve a network, the mean over its seeds; nothing where none is known.

    The loss is that of the paper: 1 less the correlation of the fixed and the warped image, without what is added to
    it in training.

    Args:
        folder: for ``learning_curves.png``.
        networks: with their curves.
    """
    curves = {}
    for name in dict.fromkeys(network.name for network in networks):
        seeds = [network.curve for network in networks if network.name == name]
        epochs = sorted(set.intersection(*(set(curve) for curve in seeds)))
        curves[name] = {epoch: 1 - float(np.mean([curve[epoch] for curve in seeds])) for epoch in epochs}
    if any(curves.values()):
        save_curves(folder / CURVES, curves, across="epoch", up="1 − NCC of validation pairs")
