"""The benchmark of digits from pairs to files, with methods that need no training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_cellreg.benchmarks import mnist
from monai_cellreg.benchmarks.contenders import Contender
from monai_cellreg.benchmarks.dirnet_contenders import Entrants, PairedSettings
from monai_cellreg.benchmarks.dirnet_networks import DIGITS
from monai_cellreg.benchmarks.dirnet_training import DirnetRecipe, TrainedDirnet
from monai_cellreg.benchmarks.mnist import run_mnist, save_class_averages
from monai_cellreg.benchmarks.mnist_digits import digit_pairs
from monai_cellreg.benchmarks.paired import PairedCase, measured_pairs
from monai_cellreg.geometry import AffineTransform, Pair, SpatialTransform

CLASSES = np.repeat([4, 9], 6)


class Centre:
    """Moves the brightest row of the moving image by a share of the way to that of the fixed one."""

    def __init__(self, share: float) -> None:
        self.share = share

    def register(self, pair: Pair) -> SpatialTransform:
        rows = [float(np.asarray(x)[0].sum(1).argmax()) for x in (pair.fixed, pair.moving)]
        return AffineTransform.translation([self.share * (rows[1] - rows[0]), 0.0])


def digits() -> PairedCase:
    """Bars in other rows: thick fours and thin nines."""
    images = np.zeros((12, 20, 20), np.uint8)
    for k, digit in enumerate(CLASSES):
        row = 5 + 2 * (k % 6)
        images[k, row - (digit == 4) : row + 1 + (digit == 4), 3:17] = 255
        images[k, row, 3:17] = 254 if digit == 4 else 255
    return digit_pairs(images, CLASSES, 4)


CONTENDERS = [Contender("DIRNet", Centre(1.0), "DIRNet-0"), Contender("DIRNet", Centre(0.0), "DIRNet-1")]
ELASTIX = Contender("elastix-paper", Centre(0.5), "elastix-paper")


def test_tables_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    networks = [TrainedDirnet("DIRNet", 0, tmp_path, [], {}, {1: 0.5, 2: 0.75})]
    monkeypatch.setattr(mnist, "entrants", lambda *_: Entrants([CONTENDERS[0], ELASTIX], networks))
    settings = PairedSettings(["DIRNet", "elastix-paper"], DIGITS, DirnetRecipe("train_mnist.json", {}))
    lines, tables = run_mnist(digits(), tmp_path / "out", settings)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "rows.jsonl", "results.csv", "results.json", "table.md", "report.html", "class_averages.png",
        "learning_curves.png",
    }  # fmt: skip
    first, second = (part.splitlines() for part in tables.split("\n\n") if part.startswith("|"))
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in first]
    assert [row[0] for row in cells if "--" not in row[0]] == ["method", "unregistered", "DIRNet", "elastix-paper"]
    table = {row[0]: dict(zip(cells[0], row, strict=True)) for row in cells[2:]}
    assert float(table["DIRNet"]["NCC"].split()[0]) > float(table["elastix-paper"]["NCC"].split()[0])
    assert table["DIRNet"]["above elastix-paper"].startswith("+") and table["DIRNet"]["p, digits"] == "0.5"
    by_digit = [[cell.strip() for cell in line.strip("|").split("|")] for line in second]
    assert by_digit[0] == ["method", "4", "9"]
    ncc = np.array([[float(value) for value in row[1:]] for row in by_digit[2:]])
    assert lines[1].scores["ncc"].mean == pytest.approx(ncc[1].mean(), abs=1e-3)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64") == 2


def test_averages_are_sharp_where_digits_lie_on_the_fixed_one(tmp_path: Path) -> None:
    case = digits()
    rows = measured_pairs(case, CONTENDERS, tmp_path)
    save_class_averages(tmp_path / "a.png", case, rows)
    picture = np.asarray(Image.open(tmp_path / "a.png").convert("L"), float) / 255
    rows_shown = np.array_split(picture, 3)  # moving, fixed, DIRNet of the first seed
    moving, fixed, registered = (row[10:-10, 45:600] for row in rows_shown)
    assert np.abs(registered - fixed).mean() < 0.02 < np.abs(moving - fixed).mean()
