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

from monai_cellreg.engines import additional_metrics, prepare_label_pairs, prepare_pairs, registration_iou_metric
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
