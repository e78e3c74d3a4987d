"""What a benchmark of pairs writes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from monai_cellreg.benchmarks.paired_files import Told, write_paired_results
from monai_cellreg.benchmarks.paired_summary import summarise_pairs


def test_files_agree_with_the_rows(tmp_path: Path) -> None:
    rows = [
        {"pair": pair, "group": "g", "name": name, "method": f"{name}-{seed}", "weights": "", "failure": failure,
         "seconds": 1.0, "dice": dice + 0.1 * seed, "warped": "x"}
        for pair, dice, failure in (("a", 0.5, None), ("b", 0.7, "no way"))
        for name, seeds in (("unregistered", 1), ("net", 2))
        for seed in range(seeds)
    ]  # fmt: skip
    Image.new("L", (3, 2)).save(tmp_path / "shown.png")
    lines = summarise_pairs(rows, ["dice"], peer="none")
    told = Told(
        "Benchmark <it>",
        ["dice"],
        notes=["Said of it."],
        parameters={"Threads": 1},
        pictures={"A picture": "shown.png", "Another": "absent.png"},
        title_of=lambda name: f"{name}!",
    )
    write_paired_results(tmp_path, rows, lines, "the table\n", told)
    with (tmp_path / "results.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [(row["pair"], row["method"], float(row["dice"])) for row in read] == [
        (row["pair"], row["method"], row["dice"]) for row in rows
    ]
    assert "warped" not in read[0] and (tmp_path / "table.md").read_text() == "the table\n"
    written = json.loads((tmp_path / "results.json").read_text(), parse_constant=pytest.fail)
    assert written["methods"][1]["scores"]["dice"]["mean"] == pytest.approx(0.65) and written["notes"]
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "A picture" in page and "Another" not in page and "Said of it." in page and "net!" in page
    assert page.count("<tr><td data-value=") == 4  # seeds as their mean
    assert 'data-value="0.55"' in page and "no way" in page
