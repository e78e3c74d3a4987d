"""Tables as Markdown."""

from __future__ import annotations

from monai_cellreg.benchmarks.markdown import markdown_table


def test_columns_are_aligned_and_empty_ones_left_out() -> None:
    table = markdown_table({"method": ["auto", "b"], "none": ["", ""], "Dice ± std": ["0.9", ""]})
    assert table.splitlines() == [
        "| method | Dice ± std |",
        "| ------ | ---------- |",
        "| auto   | 0.9        |",
        "| b      |            |",
    ]
