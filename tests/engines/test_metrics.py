"""What the evaluator reports of a batch, counted again in NumPy and SciPy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.inferers import SimpleInferer
from scipy.ndimage import map_coordinates
from torch import Tensor, nn

from monai_cellreg.engines import image_pair_metrics, prepare_image_pairs, registration_ncc_metric
from monai_cellreg.geometry import warp


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


SHIFT = (2.0, -3.0)


class Shifting(nn.Module):
    """Stands in for a network without heat maps: always answers the same shift."""

    def forward(self, fixed: Tensor, moving: Tensor) -> dict[str, Tensor]:
        field = torch.tensor(SHIFT).reshape(1, 2, 1, 1).expand(len(fixed), 2, *fixed.shape[2:])
        return {"fixed_to_moving": field, "warped_moving": warp(moving, field)}


def image_pairs(*, labelled: bool) -> list[dict[str, Any]]:
    """Five pairs of smooth pictures, with labels 0 to 3 in stripes; the last lacks label 2 on both sides."""
    rng = np.random.default_rng(0)
    pairs: list[dict[str, Any]] = []
    for k in range(5):
        field = rng.normal(size=(2, 1, 16, 21)).cumsum(2).cumsum(3)
        pairs.append({side: torch.from_numpy(image).float() for side, image in zip(SIDES, field, strict=True)})
        pairs[-1]["group"] = "all"
        if labelled:
            values = rng.integers(0, 4, (2, 1, 4, 1)) % (2 if k == 4 else 4)
            labels = np.repeat(values, 4, 2) * np.ones((1, 1, 1, 21))
            pairs[-1] |= {f"{s}_label": torch.from_numpy(x).float() for s, x in zip(SIDES, labels, strict=True)}
    return pairs


SIDES = ("fixed", "moving")


def shifted(image: Tensor, order: int) -> np.ndarray:
    where = np.indices(image.shape[1:]) + np.array(SHIFT)[:, None, None]
    return map_coordinates(image[0].double().numpy(), where, order=order, mode="nearest")


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Mean over the labels 1 and 2 that either has."""
    known = [label for label in (1, 2) if (one == label).any() or (other == label).any()]
    values = [2 * ((one == x) & (other == x)).sum() / ((one == x).sum() + (other == x).sum()) for x in known]
    return float(np.mean(values)) if known else np.nan


def metrics_of(pairs: list[dict[str, Any]], labels: list[int]) -> dict[str, float]:
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(pairs), batch_size=2),
        network=Shifting(),
        prepare_batch=prepare_image_pairs,
        inferer=SimpleInferer(),
        key_val_metric=registration_ncc_metric(),
        additional_metrics=image_pair_metrics(labels),
        decollate=False,
    )
    evaluator.run()
    return evaluator.state.metrics


def test_pairs_without_a_known_map_are_measured_by_their_images_and_labels() -> None:
    pairs = image_pairs(labelled=True)
    found = metrics_of(pairs, [1, 2])
    fixed, moving = ([pair[side][0].numpy().ravel() for pair in pairs] for side in SIDES)
    warped = [shifted(pair["moving"], 1).ravel() for pair in pairs]
    expected = {
        "unregistered_ncc": np.mean([np.corrcoef(*both)[0, 1] for both in zip(fixed, moving, strict=True)]),
        "registration_ncc": np.mean([np.corrcoef(*both)[0, 1] for both in zip(fixed, warped, strict=True)]),
        "unregistered_dice": np.nanmean([dice(*(pair[f"{side}_label"].numpy() for side in SIDES)) for pair in pairs]),
        "registration_dice": np.nanmean(
            [dice(pair["fixed_label"][0].numpy(), shifted(pair["moving_label"], 0)) for pair in pairs]
        ),
        "folding_fraction": 0.0,
    }
    assert found == pytest.approx(expected, abs=1e-5)
    assert abs(expected["registration_ncc"] - expected["unregistered_ncc"]) > 0.01
    assert expected["registration_dice"] != pytest.approx(expected["unregistered_dice"], abs=0.01)


def test_pairs_without_labels_are_measured_by_their_images() -> None:
    found = metrics_of(image_pairs(labelled=False), [])
    assert set(found) == {"registration_ncc", "unregistered_ncc", "folding_fraction"}
