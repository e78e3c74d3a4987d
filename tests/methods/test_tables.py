from __future__ import annotations

import csv
from pathlib import Path

import pytest

from monai_cellreg.methods.tables import read_table, write_table


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_what_is_not_changed_is_written_as_it_was(tmp_path: Path, delimiter: str) -> None:
    rows = [["a", "b"], ["1", f"x{delimiter}y"], ["", 'say "hi"'], ["two\nlines", "3.140"], ["short"]]
    with (tmp_path / "in.csv").open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file, delimiter=delimiter).writerows([*rows[:2], [], *rows[2:]])
    table = read_table(tmp_path / "in.csv", "input")
    assert (table.header, table.rows, table.delimiter) == (rows[0], rows[1:], delimiter)
    assert table.lines == [2, 4, 6, 7]  # blank lines and lines within a cell count
    write_table(tmp_path / "out.csv", table)
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file, delimiter=delimiter)) == rows


def test_empty_file_and_one_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("")
    assert read_table(tmp_path / "empty.csv", "input").header == []
    (tmp_path / "bad.csv").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(ValueError, match="landmarks '.*bad.csv': no text in UTF-8; expected a table"):
        read_table(tmp_path / "bad.csv", "landmarks")
