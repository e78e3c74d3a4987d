"""What the evaluator reports of a batch, counted again in NumPy and SciPy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch import nn


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def folded_share(field: np.ndarray) -> float:
    rows = [np.stack(np.gradient(component), axis=-1) for component in field]
    return float(np.mean(np.linalg.det(np.stack(rows, axis=-2) + np.eye(2)) <= 0))


@pytest.fixture(scope="module")
def measured(prepare: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, dict, list[dict]]:
    """Metrics of the evaluator, predictions and pairs of one batch, of a network that displaces at random."""
    training = prepare(tmp_path_factory.mktemp("metrics"))
    network, evaluator, pairs = (training.part(name) for name in ("network", "validate::evaluator", "validate::pairs"))
    nn.init.normal_(network.registration.stages[0].network.out.weight, std=0.03)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # a single pass settles the statistics
    fixed, moving = (torch.stack([pair[side] for pair in pairs]) for side in ("fixed", "moving"))
    network.train()(fixed, moving)
    evaluator.run()
    with torch.no_grad():
        predicted = {name: value.double().numpy() for name, value in network.eval()(fixed, moving).items()}
    training.workflow.finalize()
    truth = [{name: pair[name].double().numpy() for name in pair if name != "group"} for pair in pairs]
    return evaluator.state.metrics, predicted, truth


def test_network_is_wrong_enough_to_tell(measured: tuple[dict, dict, list[dict]]) -> None:
    metrics, predicted, _ = measured
    assert metrics["registration_iou"] < metrics["unregistered_iou"] < 0.88
    assert 0 < metrics["segmentation_iou"] < 1 and metrics["folding_fraction"] > 0
    assert len(predicted["fixed_to_moving"]) == 4


def test_registration_iou(measured: tuple[dict, dict, list[dict]]) -> None:
    metrics, predicted, truth = measured
    values = []
    for pair, field in zip(truth, predicted["fixed_to_moving"], strict=True):
        where = np.indices(field.shape[1:]) + field
        warped = map_coordinates(pair["moving_label"][0], where, order=0, mode="nearest")
        values.append(iou(warped > 0.5, pair["fixed_label"][0] > 0.5))
    assert metrics["registration_iou"] == pytest.approx(np.mean(values), abs=1e-6)


def test_unregistered_iou(measured: tuple[dict, dict, list[dict]]) -> None:
    metrics, _, truth = measured
    values = [iou(pair["moving_label"] > 0.5, pair["fixed_label"] > 0.5) for pair in truth]
    assert metrics["unregistered_iou"] == pytest.approx(np.mean(values), abs=1e-6)


def test_segmentation_iou(measured: tuple[dict, dict, list[dict]]) -> None:
    metrics, predicted, truth = measured
    values = [
        iou(heat_map > 0.5, pair[f"{side}_label"] > 0.5)
        for side in ("fixed", "moving")
        for heat_map, pair in zip(predicted[f"{side}_heat_map"], truth, strict=True)
    ]
    assert metrics["segmentation_iou"] == pytest.approx(np.mean(values), abs=1e-6)


def test_grid_error_and_folding(measured: tuple[dict, dict, list[dict]]) -> None:
    metrics, predicted, truth = measured
    fields = predicted["fixed_to_moving"]
    errors = [
        np.sqrt(((f - pair["fixed_to_moving"]) ** 2).sum(0)).mean() for f, pair in zip(fields, truth, strict=True)
    ]
    assert metrics["grid_error_px"] == pytest.approx(np.mean(errors), rel=1e-4)
    assert metrics["folding_fraction"] == pytest.approx(np.mean([folded_share(f) for f in fields]), abs=1e-3)


def test_epochs_of_a_training_are_measured_afresh(prepare: Callable[..., Any], tmp_path: Path) -> None:
    metrics = prepare(tmp_path, max_epochs=2, learning_rate=0.0).run().metrics
    assert metrics[1]["unregistered_iou"] == metrics[2]["unregistered_iou"]
    assert metrics[1]["registration_iou"] == metrics[1]["unregistered_iou"]  # the identity
