"""The table of hearts in another unit than the paper's."""

from __future__ import annotations

import math

from monai_cellreg.benchmarks.dirnet_table import hearts_table, remarks
from monai_cellreg.benchmarks.paired_summary import PairedScore, PairedSummary


def line(method: str, *, seeds: int = 1, failed: int = 0) -> PairedSummary:
    scores = {name: PairedScore(0.5, 0.25) for name in ("dice", "hd95", "msd", "ncc")}
    folded = {"folding_fraction": PairedScore(0.0012, 0.0)}
    return PairedSummary(method, seeds, 8, 2, failed, scores | folded, math.nan, math.nan)


def test_units_and_empty_columns() -> None:
    head, _, *rows = hearts_table([line("DIRNet-B2", seeds=3), line("auto")], "px", "elastix-paper").splitlines()
    heads = [cell.strip() for cell in head.strip("|").split("|")]
    expected = ["method", "paper Dice", "Dice", "paper HD95, mm", "HD95, px", "paper MAD, mm", "MAD, px", "NCC"]
    assert heads == [*expected, "folding, %", "seeds"]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert cells[0][1:6:2] == ["0.78 ± 0.09", "5.48 ± 2.36", "2.01 ± 0.89"]
    assert cells[0][2:7:2] == ["0.500 ± 0.250", "0.50 ± 0.25", "0.50 ± 0.25"]
    assert cells[0][7:] == ["0.500", "0.12", "3"] and cells[1][1] == "" and cells[1][-1] == ""


def test_failures_are_told() -> None:
    assert remarks([line("a"), line("b", seeds=3, failed=2)]) == ["b gave no map for 2 of 24 pairs: unregistered."]
