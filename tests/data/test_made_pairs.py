"""Made pairs are as hard as the paper's, at every image size, and their truth registers them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from monai_cellreg.data import made_pairs, simulated_items, spread

SIZE = 65  # the 5 x 5 control points lie on voxels
NAMES = ("fixed", "moving", "fixed_label", "moving_label", "fixed_to_moving")

Pairs = list[dict[str, Any]]


@cache
def nuclei(image_size: int = SIZE, count: int = 24) -> Pairs:
    return simulated_items(count, image_size=image_size, seed=3)


@cache
def pairs(image_size: int = SIZE, seed: int = 1) -> Pairs:
    return made_pairs(nuclei(image_size), seed=seed)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float(((one > 0.5) & (other > 0.5)).sum() / ((one > 0.5) | (other > 0.5)).sum())


def unregistered_iou(made: Pairs) -> float:
    return float(np.mean([iou(pair["fixed_label"].numpy(), pair["moving_label"].numpy()) for pair in made]))


@pytest.mark.parametrize("image_size", [SIZE, 48])
@pytest.mark.parametrize("seed", [1, 2])
def test_unregistered_overlap_is_that_of_the_paper(image_size: int, seed: int) -> None:
    assert 0.86 <= unregistered_iou(pairs(image_size, seed)) <= 0.88


def test_wanted_overlap_is_reached() -> None:
    assert unregistered_iou(made_pairs(nuclei(), unregistered_iou=0.8)) == pytest.approx(0.8, abs=0.01)


def test_truth_registers_the_labels_and_its_opposite_does_not() -> None:
    def registered(pair: dict[str, Any], sign: int) -> float:
        where = np.indices((SIZE, SIZE)) + sign * pair["fixed_to_moving"].numpy()
        warped = map_coordinates(pair["moving_label"][0].numpy(), where, order=1, mode="nearest")
        return iou(warped, pair["fixed_label"][0].numpy())

    assert np.mean([registered(pair, 1) for pair in pairs()]) > 0.97
    assert np.mean([registered(pair, -1) for pair in pairs()]) < 0.8


def test_control_points_have_no_mean_shift_and_no_map_folds() -> None:
    for pair in pairs():
        field = pair["fixed_to_moving"].double().numpy()
        np.testing.assert_allclose(field[:, :: SIZE // 4, :: SIZE // 4].mean((1, 2)), 0, atol=1e-4)
        rows = [np.stack(np.gradient(component), axis=-1) for component in field]
        assert np.linalg.det(np.stack(rows, axis=-2) + np.eye(2)).min() > 0
        assert np.abs(field).max() > 0.5


def test_format() -> None:
    for item, pair in zip(nuclei(), pairs(), strict=True):
        assert set(pair) == {*NAMES, "group"}
        assert pair["group"] == item["group"]
        assert [tuple(pair[name].shape) for name in NAMES] == [(1, SIZE, SIZE)] * 4 + [(2, SIZE, SIZE)]
        for side in ("fixed", "moving"):
            assert pair[side].min() == 0 and pair[side].max() == 1
            assert set(pair[f"{side}_label"].unique().tolist()) == {0.0, 1.0}


def test_scene_keeps_its_place_and_intensities_drift() -> None:
    for item, pair in zip(nuclei(), pairs(), strict=True):
        assert np.array_equal(pair["moving_label"].numpy(), item["label"])
        assert 0.005 < np.abs(pair["moving"].numpy() - item["image"]).mean() < 0.5


def test_seed_alone_decides() -> None:
    again, other = made_pairs(nuclei()), pairs(seed=2)
    for name in NAMES:
        assert all(torch.equal(a[name], b[name]) for a, b in zip(pairs(), again, strict=True))
    assert not any(torch.equal(a["fixed_to_moving"], b["fixed_to_moving"]) for a, b in zip(pairs(), other, strict=True))


@pytest.mark.parametrize("wanted", [0.2, 1.5])
def test_overlap_out_of_reach_is_refused(wanted: float) -> None:
    with pytest.raises(ValueError, match=rf"unregistered_iou is {wanted}; the deformations reach \d\.\d+"):
        made_pairs(nuclei(count=4), unregistered_iou=wanted)


def test_no_items_and_items_of_several_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"items are 0, of the shapes \[\]; expected at least one"):
        made_pairs([])
    with pytest.raises(ValueError, match=r"items are 8, of the shapes \[\(1, 48, 48\), \(1, 65, 65\)\].* Resize them"):
        made_pairs(nuclei(48, 4) + nuclei(SIZE, 4))


@pytest.mark.parametrize(
    "total, count, chosen",
    [(7, 3, [0, 3, 6]), (10, 4, [0, 3, 6, 9]), (3, 5, [0, 1, 2]), (4, 4, [0, 1, 2, 3]), (9, 1, [0])],
)
def test_spread_takes_items_evenly(total: int, count: int, chosen: list[int]) -> None:
    items = [{"id": k} for k in range(total)]
    assert [item["id"] for item in spread(items, count)] == chosen
