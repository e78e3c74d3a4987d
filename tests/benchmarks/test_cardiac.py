"""The benchmark of hearts from pairs to files, with methods that need no training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_cellreg.benchmarks import cardiac, dirnet_contenders
from monai_cellreg.benchmarks.cardiac import run_cardiac
from monai_cellreg.benchmarks.cardiac_pairs import heart_pairs
from monai_cellreg.benchmarks.contenders import Contender
from monai_cellreg.benchmarks.dirnet_contenders import Entrants, PairedSettings
from monai_cellreg.benchmarks.dirnet_networks import HEARTS
from monai_cellreg.benchmarks.dirnet_training import DirnetRecipe, TrainedDirnet
from monai_cellreg.data.synthetic_heart import simulated_cardiac
from monai_cellreg.geometry import AffineTransform, Pair, SpatialTransform


class Shrink:
    """Answers with a scaling about the middle: by more than one where the fixed heart is the wider one."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def register(self, pair: Pair) -> SpatialTransform:
        wider = float((pair.fixed > 0.5).sum()) > float((pair.moving > 0.5).sum())
        factor = 1 / self.factor if wider else self.factor
        middle = 1.4 * (np.array(pair.fixed_grid.shape) - 1) / 2
        return AffineTransform(np.block([[np.eye(2) * factor, ((1 - factor) * middle)[:, None]], [0, 0, 1]]))


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run on two small hearts by elastix and two networks, which are other things here."""
    case = heart_pairs("made", simulated_cardiac(2, slices=1, phases=4, size=(96, 112), seed=4), [2])
    names = {"elastix-paper": 1.05, "DIRNet-C1": 1.2, "DIRNet-best-refined": 1.1}
    contenders = [Contender(name, Shrink(factor), name) for name, factor in names.items()]
    networks = [TrainedDirnet("DIRNet-C1", 0, tmp_path, [], {}, {1: 0.5, 2: 0.75})]

    def found(*_: object) -> Entrants:
        return Entrants(contenders, networks, ["ants is left out."])

    monkeypatch.setattr(cardiac, "entrants", found)
    settings = PairedSettings(list(names), HEARTS, DirnetRecipe("train_cardiac.json", {"simulated": 2}))
    lines, table = run_cardiac(case, tmp_path / "out", settings, [2])
    assert [line.method for line in lines] == ["unregistered", *names]
    assert table == (tmp_path / "out" / "table.md").read_text()
    return tmp_path / "out"


def test_files_are_there_and_agree(out: Path) -> None:
    assert {path.name for path in out.iterdir()} == {
        "rows.jsonl", "results.csv", "results.json", "table.md", "report.html", "gallery.png", "learning_curves.png"
    }  # fmt: skip
    written = json.loads((out / "results.json").read_text(), parse_constant=pytest.fail)
    assert written["unit"] == "mm" and [line["pairs"] for line in written["methods"]] == [4] * 4
    assert (written["parameters"]["Patients"], written["parameters"]["Pairs"]) == (2, 4)
    width, height = Image.open(out / "gallery.png").size
    assert width == 1200 and height > 1200 * 4 * 96 / 112 / 5  # five columns, four rows
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "DIRNet-C1 (paper 0.80 ± 0.08)" in page and page.count("data:image/png;base64") == 2


def test_table_stands_beside_the_paper(out: Path) -> None:
    text = (out / "table.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    table = {row[0]: dict(zip(rows[0], row, strict=True)) for row in rows[2:]}
    dice = {name: float(row["Dice"].split()[0]) for name, row in table.items()}
    assert dice["unregistered"] < dice["elastix-paper"] < dice["DIRNet-best-refined"]
    assert [table["DIRNet-C1"][f"paper {name}, mm"] for name in ("HD95", "MAD")] == ["5.03 ± 2.30", "1.83 ± 0.89"]
    assert table["DIRNet-best-refined"]["paper Dice"] == "" and table["elastix-paper"]["above elastix-paper"] == ""
    assert table["DIRNet-best-refined"]["above elastix-paper"].startswith("+0.")
    assert table["DIRNet-C1"]["p, pairs"] != table["DIRNet-C1"]["p, patients"] != ""
    assert "HD95, mm" in rows[0] and "Scored: LV myocardium" in text and "with 1 thread." in text
    assert text.endswith("ants is left out.\n")


def test_nothing_is_drawn_of_networks_without_a_log(tmp_path: Path) -> None:
    networks = [TrainedDirnet("DIRNet", 0, tmp_path, [], {}, {})]
    cardiac.save_learning_curves(tmp_path, networks)
    assert not (tmp_path / "learning_curves.png").exists()
    assert dirnet_contenders.PAPER_ELASTIX in cardiac.DEFAULT_METHODS
