"""The files of an evaluation say of every pair what can be computed for that pair alone."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.inferers import SimpleInferer
from PIL import Image
from torch import Tensor, nn

from monai_cellreg.engines import (
    additional_metrics,
    image_pair_metrics,
    prepare_image_pairs,
    prepare_label_pairs,
    prepare_pairs,
    registration_iou_metric,
    registration_ncc_metric,
)
from monai_cellreg.geometry import warp
from monai_cellreg.report import evaluation as evaluation_module
from monai_cellreg.report import pair_rows, save_evaluation

SHAPE = (24, 32)
SHIFT = (2, -3)


class Told(nn.Module):
    """Stands in for the network: takes the images for heat maps and always answers the same shift."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, fixed: Tensor, moving: Tensor) -> dict[str, Tensor]:
        field = torch.tensor(SHIFT, dtype=torch.float32).reshape(1, 2, 1, 1).expand(len(fixed), 2, *SHAPE)
        return {"fixed_heat_map": fixed, "moving_heat_map": moving, "fixed_to_moving": field}


def made(count: int, groups: int = 2) -> list[dict[str, Any]]:
    """Pairs of random blocks, each different, with a truth that is a shift of its own."""
    rng = np.random.default_rng(0)

    def block() -> Tensor:
        mask = torch.zeros(1, *SHAPE)
        row, column = rng.integers(3, 8), rng.integers(4, 12)
        mask[0, row : row + rng.integers(6, 12), column : column + rng.integers(8, 16)] = 1
        return mask

    names = ("fixed", "moving", "fixed_label", "moving_label")
    return [
        {
            **{name: block() for name in names},
            "fixed_to_moving": torch.tensor([2.0 + k, -3.0]).reshape(2, 1, 1).expand(2, *SHAPE),
            "group": f"group{k % groups}",
        }
        for k in range(count)
    ]


def evaluated(pairs: list[dict[str, Any]], *, prepare: Any = prepare_pairs) -> SupervisedEvaluator:
    """An engine that has run over the pairs, four at a time."""
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(pairs), batch_size=4),
        network=Told(),
        prepare_batch=prepare,
        inferer=SimpleInferer(),
        key_val_metric=registration_iou_metric(),
        additional_metrics=additional_metrics(),
        decollate=False,
    )
    evaluator.run()
    return evaluator


def iou(a: Tensor, b: Tensor) -> float:
    return float(((a > 0.5) & (b > 0.5)).sum() / ((a > 0.5) | (b > 0.5)).sum())


def by_hand(pair: dict[str, Any], number: int) -> dict[str, float]:
    """What is expected of pair ``number``; the labels lie so far inside that a shift rolls none of them out."""
    warped = torch.roll(pair["moving_label"], (-SHIFT[0], -SHIFT[1]), dims=(1, 2))
    sides = [iou(pair[side], pair[f"{side}_label"]) for side in ("fixed", "moving")]
    return {
        "registration_iou": iou(warped, pair["fixed_label"]),
        "unregistered_iou": iou(pair["moving_label"], pair["fixed_label"]),
        "segmentation_iou": sum(sides) / 2,
        "grid_error_px": float(number),
        "folding_fraction": 0.0,
    }


def test_rows_are_those_of_their_pairs_whatever_the_batches() -> None:
    pairs = made(6)
    rows = pair_rows(evaluated(pairs), pairs)
    assert [row["pair"] for row in rows] == list(range(6))
    assert [row["group"] for row in rows] == ["group0", "group1"] * 3
    for number, (row, pair) in enumerate(zip(rows, pairs, strict=True)):
        expected = by_hand(pair, number)
        assert {name: row[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert len({row["segmentation_iou"] for row in rows}) == 6


def test_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pairs = made(6)
    with caplog.at_level(logging.INFO, logger="monai_cellreg"):
        save_evaluation(evaluated(pairs), pairs, tmp_path / "deep" / "evaluation")
    folder = tmp_path / "deep" / "evaluation"
    assert sorted(path.name for path in folder.iterdir()) == ["metrics.json", "pairs.csv", "pairs.png"]
    expected = [by_hand(pair, number) for number, pair in enumerate(pairs)]
    means = json.loads((folder / "metrics.json").read_text())
    assert means.pop("pairs") == 6
    assert means == pytest.approx({name: np.mean([e[name] for e in expected]) for name in expected[0]}, abs=1e-6)
    with (folder / "pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["pair", "group", *sorted(expected[0])]
    for row, wanted in zip(rows, expected, strict=True):
        assert {name: float(row[name]) for name in wanted} == pytest.approx(wanted, abs=1e-6)
    (table,) = (record.getMessage() for record in caplog.records if "written to" in record.getMessage())
    lines = table.splitlines()
    assert lines[0] == f"6 pairs; written to {folder}"
    first = [wanted["registration_iou"] for wanted in expected[::2]]
    assert lines[2].split()[0] == "group0" and f"{np.mean(first):.3f}" in lines[2]
    assert [line.split()[0] for line in lines[3:]] == ["group1", "mean"]


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (4, 4), (9, 4)])
def test_picture_has_at_most_four_pairs_from_first_to_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, rows: int
) -> None:
    shown: list[Any] = []
    original = evaluation_module.save_before_after

    def listen(path: Path, pictures: list[Any]) -> None:
        shown.extend(pictures)
        original(path, pictures)

    monkeypatch.setattr(evaluation_module, "save_before_after", listen)
    pairs = made(count, groups=count)
    save_evaluation(evaluated(pairs), pairs, tmp_path)
    assert Image.open(tmp_path / "pairs.png").size[0] == 1200
    assert len(shown) == rows
    assert (shown[0].name, shown[-1].name) == ("group0", f"group{count - 1}")
    last = shown[-1]
    np.testing.assert_array_equal(last.moving, pairs[-1]["moving"][0])
    np.testing.assert_array_equal(last.fixed_mask, pairs[-1]["fixed_label"][0])
    np.testing.assert_array_equal(last.displacement_vox[:, 5, 6], SHIFT)
    assert last.iou_after == pytest.approx(by_hand(pairs[-1], 0)["registration_iou"], abs=1e-6)


def test_picture_shows_what_the_network_saw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(evaluation_module, "save_before_after", lambda path, pictures: shown.extend(pictures))
    pairs = made(1)
    save_evaluation(evaluated(pairs, prepare=prepare_label_pairs), pairs, tmp_path)
    np.testing.assert_array_equal(shown[0].fixed, pairs[0]["fixed_label"][0])


def test_many_groups_are_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pairs = made(21, groups=21)
    with caplog.at_level(logging.INFO, logger="monai_cellreg"):
        save_evaluation(evaluated(pairs), pairs, tmp_path)
    lines = caplog.records[-1].getMessage().splitlines()
    assert len(lines) == 3 and lines[2].split()[0] == "all"
    mean = np.mean([by_hand(pair, 0)["registration_iou"] for pair in pairs])
    assert f"{mean:.3f}" in lines[2]


def test_group_of_any_name_stays_a_group(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pairs = made(4)
    for pair in pairs[::2]:
        pair["group"] = "all"
    with caplog.at_level(logging.INFO, logger="monai_cellreg"):
        save_evaluation(evaluated(pairs), pairs, tmp_path)
    row = caplog.records[-1].getMessage().splitlines()[2]
    mean = np.mean([by_hand(pair, 0)["registration_iou"] for pair in pairs[::2]])
    assert row.split()[0] == "all" and f"{mean:.3f}" in row


def test_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    pairs = made(2)
    with pytest.raises(NotADirectoryError, match="folder .*file cannot be made because .*file is not a folder"):
        save_evaluation(evaluated(pairs), pairs, tmp_path / "file")


class Shifting(nn.Module):
    """As a network without heat maps: always answers one shift along each axis."""

    def forward(self, fixed: Tensor, moving: Tensor) -> dict[str, Tensor]:
        dims = fixed.ndim - 2
        field = torch.tensor([5.0, *SHIFT][-dims:]).reshape(1, dims, *[1] * dims)
        field = field.expand(len(fixed), dims, *fixed.shape[2:])
        return {"fixed_to_moving": field, "warped_moving": warp(moving, field)}


def unknown(count: int, shape: tuple[int, ...] = SHAPE, *, labels: bool = False, groups: int = 2) -> list[dict]:
    """Pairs of random images of which no map is known; those with an odd number lack label 2 on both sides."""
    rng = np.random.default_rng(1)
    pairs: list[dict] = []
    for k in range(count):
        images = torch.from_numpy(rng.random((2, 1, *shape))).float()
        pairs.append({"fixed": images[0], "moving": images[1], "group": f"group{k % groups}"})
        if labels:
            values = torch.from_numpy(rng.integers(0, 2 if k % 2 else 3, (2, 1, *shape))).float()
            pairs[-1] |= {"fixed_label": values[0], "moving_label": values[1]}
    return pairs


def evaluated_images(pairs: list[dict], labels: list[int]) -> SupervisedEvaluator:
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(pairs), batch_size=4),
        network=Shifting(),
        prepare_batch=prepare_image_pairs,
        inferer=SimpleInferer(),
        key_val_metric=registration_ncc_metric(),
        additional_metrics=image_pair_metrics(labels),
        decollate=False,
    )
    evaluator.run()
    return evaluator


def logged_table(caplog: pytest.LogCaptureFixture) -> list[list[str]]:
    """The words of each line of the table."""
    return [line.split() for line in caplog.records[-1].getMessage().splitlines()[1:]]


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is drawn."""
    shown: list[Any] = []
    original = evaluation_module.save_before_after

    def listen(path: Path, each: list[Any]) -> None:
        shown.extend(each)
        original(path, each)

    monkeypatch.setattr(evaluation_module, "save_before_after", listen)
    return shown


def test_pairs_without_labels_have_no_outlines(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, pictures: list[Any]
) -> None:
    pairs = unknown(3)
    with caplog.at_level(logging.INFO, logger="monai_cellreg"):
        save_evaluation(evaluated_images(pairs, []), pairs, tmp_path)
    names = ["folding_fraction", "registration_ncc", "unregistered_ncc"]
    assert set(json.loads((tmp_path / "metrics.json").read_text())) == {"pairs", *names}
    head, first, *_ = logged_table(caplog)
    assert head == ["group", *names] and first[0] == "group0"
    before = [np.corrcoef(pair["fixed"].ravel(), pair["moving"].ravel())[0, 1] for pair in pairs]
    assert first[3] == f"{np.mean(before[::2]):.3f}"
    assert len(pictures) == 3 and not any(p.fixed_mask.any() or p.warped_mask.any() for p in pictures)
    np.testing.assert_allclose(pictures[1].warped[:-2, 3:], pairs[1]["moving"][0, 2:, :-3], atol=1e-5)


def test_of_volumes_the_middle_plane_is_drawn_with_what_moves_in_it(tmp_path: Path, pictures: list[Any]) -> None:
    pairs = unknown(2, (11, *SHAPE), labels=True)
    save_evaluation(evaluated_images(pairs, [1, 2]), pairs, tmp_path)
    picture = pictures[0]
    np.testing.assert_array_equal(picture.fixed, pairs[0]["fixed"][0, 5])
    np.testing.assert_array_equal(picture.fixed_mask, pairs[0]["fixed_label"][0, 5] > 0)
    np.testing.assert_allclose(picture.warped[:-2, 3:], pairs[0]["moving"][0, 10, 2:, :-3], atol=1e-5)
    assert picture.displacement_vox.shape == (2, *SHAPE)
    np.testing.assert_array_equal(picture.displacement_vox[:, 5, 6], SHIFT)


def test_what_is_not_known_is_left_out_of_rows_table_and_means(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pairs = unknown(6, labels=True, groups=3)
    for side in ("fixed", "moving"):
        pairs[3][f"{side}_label"][...] = 0  # neither label
    with caplog.at_level(logging.INFO, logger="monai_cellreg"):
        save_evaluation(evaluated_images(pairs, [1, 2]), pairs, tmp_path)
    with (tmp_path / "pairs.csv").open(newline="") as file:
        found = [float(row["unregistered_dice"]) for row in csv.DictReader(file)]
    expected = []
    for pair in pairs:
        fixed, moving = (pair[f"{side}_label"].numpy() for side in ("fixed", "moving"))
        sizes = {label: (fixed == label).sum() + (moving == label).sum() for label in (1, 2)}
        dice = [2 * ((fixed == label) & (moving == label)).sum() / size for label, size in sizes.items() if size]
        expected.append(np.mean(dice) if dice else np.nan)
    assert found == pytest.approx(expected, nan_ok=True) and np.isnan(expected).tolist() == [k == 3 for k in range(6)]
    column = {line[0]: line[4] for line in logged_table(caplog)[1:]}
    means = {f"group{k}": np.nanmean([expected[k], expected[k + 3]]) for k in range(3)}
    means["mean"] = np.mean(list(means.values()))
    assert column == {name: f"{value:.3f}" for name, value in means.items()}


def test_metric_of_no_pair_is_null_and_left_out_of_the_last_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pairs = unknown(4, labels=True)
    for pair in pairs[::2]:
        pair["fixed_label"][...] = pair["moving_label"][...] = 0
    with caplog.at_level(logging.INFO, logger="monai_cellreg"):
        save_evaluation(evaluated_images(pairs, [1]), pairs, tmp_path)
    _, first, second, mean = logged_table(caplog)
    assert (first[4], second[4]) == ("nan", mean[4]) and mean[4] != "nan"
    save_evaluation(evaluated_images(pairs, [7]), pairs, tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text())["registration_dice"] is None


@pytest.mark.parametrize(("patients", "lines"), [(20, 20), (21, 1)])
def test_many_groups_are_a_line_a_subject(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, patients: int, lines: int
) -> None:
    pairs = unknown(42, groups=42)
    for k, pair in enumerate(pairs):
        pair["subject"] = f"patient{k % patients:02d}"
    with caplog.at_level(logging.INFO, logger="monai_cellreg"):
        save_evaluation(evaluated_images(pairs, []), pairs, tmp_path)
    _, first, *_ = table = logged_table(caplog)
    assert first[0] == ("patient00" if lines > 1 else "all") and len(table) == 1 + lines + (lines > 1)
    with (tmp_path / "pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:3] == ["pair", "group", "subject"] and rows[1]["subject"] == "patient01"
    members = [float(row["unregistered_ncc"]) for row in rows if lines == 1 or row["subject"] == "patient00"]
    assert first[3] == f"{np.mean(members):.3f}"


def test_label_of_one_side_is_not_outlined(tmp_path: Path, pictures: list[Any]) -> None:
    (pair,) = pairs = unknown(1, labels=True)
    pair["moving_label"][pair["moving_label"] == 2] = 0
    save_evaluation(evaluated_images(pairs, [1]), pairs, tmp_path)
    np.testing.assert_array_equal(pictures[0].fixed_mask, pair["fixed_label"][0] == 1)
    np.testing.assert_array_equal(pictures[0].moving_mask, pair["moving_label"][0] == 1)
