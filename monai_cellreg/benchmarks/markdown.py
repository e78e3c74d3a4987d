"""Tables as Markdown, which also reads well on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["markdown_table"]


def markdown_table(columns: Mapping[str, Sequence[str]]) -> str:
    """A table with aligned columns; those that nothing fills are left out.

    Args:
        columns: heading to cells, as many in each.

    Example:
        >>> print(markdown_table({"method": ["auto", "b"], "IoU": ["0.9", ""], "note": ["", ""]}))
        | method | IoU |
        | ------ | --- |
        | auto   | 0.9 |
        | b      |     |
    """
    filled = [[head, "---", *cells] for head, cells in columns.items() if any(cells)]
    widths = [max(map(len, column)) for column in filled]
    rows = zip(*filled, strict=True)
    return "\n".join(
        "| " + " | ".join(c.ljust(w, "-" if c == "---" else " ") for c, w in zip(row, widths, strict=True)) + " |"
        for row in rows
    )
