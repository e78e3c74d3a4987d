"""Tables as text: what is not changed is written as it was read."""

from __future__ import annotations

import csv
import io
import os
from dataclasses import dataclass
from pathlib import Path

from ..utils import atomic_path

__all__ = ["Table", "read_table", "write_table"]


@dataclass(frozen=True)
class Table:
    """A CSV or TSV file, cell by cell.

    Args:
        header: names of the columns; empty for an empty file.
        rows: cells of each row; a row may be shorter than the header.
        lines: the line of the file on which each row ends, from 1, for error texts.
        delimiter: comma, semicolon or tab.
    """

    header: list[str]
    rows: list[list[str]]
    lines: list[int]
    delimiter: str


def read_table(path: str | os.PathLike[str], name: str) -> Table:
    """A table with the delimiter that its first line has most of; blank lines are left out.

    Args:
        path: the file.
        name: what errors call it.

    Raises:
        ValueError: when the file is no text.
        OSError: when it cannot be read.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} {os.fspath(path)!r}: no text in UTF-8; expected a table of points") from error
    delimiter = max("\t;,", key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    found = [(reader.line_num, row) for row in reader if row]
    rows, lines = [row for _, row in found], [line for line, _ in found]
    return Table(rows[0] if rows else [], rows[1:], lines[1:], delimiter)


def write_table(path: str | os.PathLike[str], table: Table) -> None:
    """Writes a table, completely or not at all.

    Raises:
        OSError: when the file cannot be written.
    """
    with atomic_path(path) as temporary, Path(temporary).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=table.delimiter, lineterminator="\n")
        writer.writerows([table.header, *table.rows])
