"""What a benchmark has measured, kept as soon as it is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..utils import atomic_path

__all__ = ["Journal", "Row"]

Row = dict[str, Any]


class Journal:
    """Rows of finished pairs in a file of one JSON object a line; the first line says what was run.

    Args:
        path: the file; it is made, or read and written anew without what had failed, which is tried again.
        identity: text that differs for runs whose rows must not be mixed.
        resume: ``False`` leaves out what the file holds.

    Attributes:
        rows: by ``pair`` and ``method``; each row also has ``failure``, text or ``None``.

    Raises:
        ValueError: when the file holds rows of another identity.
    """

    def __init__(self, path: Path, identity: str, *, resume: bool) -> None:
        self.path = path
        lines = path.read_text(encoding="utf-8").splitlines() if resume and path.is_file() else []
        found = [json.loads(line) for line in lines if line.endswith("}")]  # a killed run may have cut the last line
        if found and found[0].get("identity") != identity:
            raise ValueError(
                f"folder {path.parent} holds the results of another case, other pairs, threads or version; choose "
                "another folder, or start again with --no-resume"
            )
        done = [row for row in found[1:] if row["failure"] is None]
        self.rows: dict[tuple[str, str], Row] = {(row["pair"], row["method"]): row for row in done}
        with atomic_path(path) as temporary:
            kept = [{"identity": identity}, *self.rows.values()]
            Path(temporary).write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")

    def add(self, row: Row) -> None:
        """Keeps a row, in memory and in the file."""
        self.rows[row["pair"], row["method"]] = row
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
