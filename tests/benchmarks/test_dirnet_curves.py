"""Learning curves of networks of several seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from monai_cellreg.benchmarks import dirnet_curves
from monai_cellreg.benchmarks.dirnet_curves import CURVES, save_learning_curves
from monai_cellreg.benchmarks.dirnet_training import TrainedDirnet


def test_the_loss_is_the_mean_over_seeds_at_their_common_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(dirnet_curves, "save_curves", lambda path, curves, across, up: drawn.append((path, curves)))
    curves = [("A", {1: 0.5, 2: 0.7, 3: 0.9}), ("A", {1: 0.6, 2: 0.8}), ("B", {2: 0.25})]
    networks = [TrainedDirnet(name, k, tmp_path, [], {}, curve) for k, (name, curve) in enumerate(curves)]
    save_learning_curves(tmp_path, networks)
    assert drawn == [(tmp_path / CURVES, {"A": {1: pytest.approx(0.45), 2: pytest.approx(0.25)}, "B": {2: 0.75}})]
    save_learning_curves(tmp_path, [])
    assert len(drawn) == 1
