"""A folder of images, optionally with labels of the same names and groups in an index file.

Layout: `images/*` (or the images directly in the folder), optional `labels/<same name>` in any supported format,
optional `index.csv` with the columns `id` (file name without extension) and `group`. Nuclei of the Data Science Bowl
2018 (BBBC038, CC0; Caicedo et al. 2019, Nature Methods 16:1247) suit this layout: there `group` should name pictures of
one size and look, because many are cut from the same fields.
"""

from __future__ import annotations

import csv
from os import PathLike
from pathlib import Path
from typing import Any

from ..readers import file_suffix, page_count

__all__ = ["IMAGE_SUFFIXES", "list_items"]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".ome.tif", ".ome.tiff", ".nii", ".nii.gz")


def _stem(path: Path) -> str:
    return path.name[: len(path.name) - len(file_suffix(path))]


def _images_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if file_suffix(p) in IMAGE_SUFFIXES and not p.name.startswith("."))


def _by_stem(files: list[Path]) -> dict[str, Path]:
    stems: dict[str, Path] = {}
    for path in files:
        other = stems.setdefault(_stem(path), path)
        if other is not path:
            raise ValueError(f"{str(path)!r} and {other.name!r} differ in their extension only; expected unique names")
    return stems


def _groups(root: Path, stems: dict[str, Path]) -> dict[str, str]:
    """Gives each name its group: from `index.csv`, else the name itself."""
    index = root / "index.csv"
    if not index.is_file():
        return {stem: stem for stem in stems}
    with index.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        if not {"id", "group"} <= set(rows.fieldnames or ()):
            raise ValueError(f"{str(index)!r} has the columns {rows.fieldnames}; expected 'id' and 'group' among them")
        groups = {row["id"]: row["group"] for row in rows}
    unnamed = sorted(stem for stem in stems if not groups.get(stem))
    if unnamed:
        raise ValueError(
            f"{str(index)!r} gives no group for {len(unnamed)} images, the first {unnamed[0]!r}; expected a row for "
            "each, its id the file name without extension"
        )
    return groups


def list_items(root: str | PathLike[str]) -> list[dict[str, Any]]:
    """Lists the images of a folder, page by page, in the order of their names.

    Args:
        root: Folder as the module describes it.

    Returns:
        One dictionary a page: "image" (path), "label" (path or None), "page" (None for a single-page file) and "group";
        without `index.csv` each file is its own group, all its pages included. Empty where there is no image.

    Raises:
        ValueError: If two files share a name, or `index.csv` lacks a column or an image.
        ImageReadError: If a file's pages cannot be counted.
    """
    root = Path(root)
    stems = _by_stem(_images_in(root / "images") or _images_in(root))
    labels = _by_stem(_images_in(root / "labels"))
    groups = _groups(root, stems)
    items = []
    for stem, path in stems.items():
        label = str(labels[stem]) if stem in labels else None
        count = page_count(path)
        for page in range(count):
            items.append(
                {"image": str(path), "label": label, "page": page if count > 1 else None, "group": groups[stem]}
            )
    return items
