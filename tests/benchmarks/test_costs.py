"""Every public loss and metric has its cost measured, and a complete row in the docs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from monai_cellreg import losses, metrics
from monai_cellreg.benchmarks import costs

PAGE = Path(__file__).resolve().parents[2] / "docs" / "losses_and_metrics.md"
WITHOUT_COST = {"Objective", "Term", "average_rank", "image_diagonal", "landmark_errors", "registration_iou"}


def public_names() -> set[str]:
    return {*losses.__all__, *metrics.__all__} - WITHOUT_COST


def test_command_measures_every_loss_and_metric(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    costs.main(["--quick", "--out", str(tmp_path)])
    rows = json.loads((tmp_path / "costs.json").read_text())
    assert {row["candidate"] for row in rows} == public_names()
    assert rows[0]["candidate"] == costs.PEER and rows[0]["ratio"] == 1
    assert (tmp_path / "costs.md").read_text() == capsys.readouterr().out


def test_page_has_a_complete_row_for_each() -> None:
    text = PAGE.read_text(encoding="utf-8")
    rows = {
        row[0]: row[1:] for row in re.findall(r"^\| `(\w+)` \| (.+) \| (.*) \| (.+) \| (.+) \|$", text, re.MULTILINE)
    }
    assert set(rows) == public_names()
    assert all(re.fullmatch(r"\d+(\.\d+)?", cost) for *_, cost in rows.values())
    assert all(f"`{name}`" in text for name in WITHOUT_COST)
