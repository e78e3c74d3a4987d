"""Cases from a CSV file that lists pairs of files."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from ..data import read_image, read_label
from ..geometry import Pair, SamplingGrid
from ..methods.point_files import read_landmarks

__all__ = ["COLUMNS", "listed_pairs"]

REQUIRED = ("fixed", "moving")
COLUMNS = (*REQUIRED, "fixed_label", "moving_label", "fixed_points", "moving_points")
TOGETHER = (("fixed_label", "moving_label"), ("fixed_points", "moving_points"))


def listed_pairs(path: Path) -> tuple[dict[str, Callable[[], Pair]], str]:
    """The pairs that a CSV file lists, one a row, and the text of the file.

    The columns ``fixed`` and ``moving`` name image files; ``fixed_label`` and ``moving_label`` label files,
    ``fixed_points`` and ``moving_points`` CSV files of landmarks that correspond row by row. All paths are relative to
    the CSV file. The optional columns may be left out, or left empty in a row; each needs its partner.

    Args:
        path: the CSV file.

    Returns:
        Name of the pair (number of its row, and its files) to the function that reads it; the text.

    Raises:
        FileNotFoundError: when the list, or a file in it, does not exist.
        ValueError: for missing or unknown columns, an empty cell where one is needed, or no rows.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"case {path} does not exist; expected a CSV file with the columns {', '.join(COLUMNS)}"
        )
    text = path.read_text(encoding="utf-8-sig")
    rows = csv.DictReader(text.splitlines(), restval="")
    columns = [name.strip() for name in rows.fieldnames or []]
    rows.fieldnames = columns
    wrong = [name for name in columns if name not in COLUMNS] + [name for name in REQUIRED if name not in columns]
    if wrong:
        raise ValueError(
            f"case {path} has the columns {columns}; expected fixed and moving, and what is known of "
            f"{', '.join(COLUMNS[2:])}. Check {', '.join(wrong)}"
        )
    pairs = {}
    for number, row in enumerate(rows, start=2):
        files = {name: value.strip() for name, value in row.items() if name and value and value.strip()}
        _check(path, number, files)
        name = f"{number - 1:03d} {Path(files['fixed']).name} {Path(files['moving']).name}"
        pairs[name] = partial(_pair, {key: path.parent / value for key, value in files.items()})
    if not pairs:
        raise ValueError(f"case {path} lists no pairs; expected a row a pair below the heading {','.join(columns)}")
    return pairs, text


def _check(path: Path, number: int, files: Mapping[str, str]) -> None:
    for name in (*REQUIRED, *(name for couple in TOGETHER if any(n in files for n in couple) for name in couple)):
        if name not in files:
            raise ValueError(f"line {number} of {path} has no {name}; expected a file. Fill in the cell")
        if not (path.parent / files[name]).exists():
            raise FileNotFoundError(
                f"line {number} of {path} names {name} {files[name]!r}, which does not exist; expected a path relative "
                f"to {path.parent}"
            )


def _pair(files: Mapping[str, Path]) -> Pair:
    images = {name: read_image(files[name], color="keep") for name in REQUIRED}
    grids = {f"{name}_grid": SamplingGrid.from_image(image) for name, image in images.items()}
    labels = {name: read_label(files[name]) for name in TOGETHER[0] if name in files}
    landmarks = {
        f"{name}_landmarks": read_landmarks(files[f"{name}_points"], grid, grid.spatial_dims)
        for name, grid in zip(REQUIRED, grids.values(), strict=True)
        if f"{name}_points" in files
    }
    return Pair(**images, **grids, **labels, **landmarks)
