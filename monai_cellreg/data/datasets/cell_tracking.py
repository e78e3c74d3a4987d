"""The layout of the Cell Tracking Challenge: numbered sequences of time points, with labels beside them.

Layout: `01/t000.tif` ... with labels `man_seg000.tif` in `01_label/`, `01_GT/SEG/` (sparse: not every time point has
one) or `01_ST/SEG/`, the first of them that has the time point; a sequence with none of these falls back to the
tracking labels `01_GT/TRA/man_track000.tif`. Labels of single slices of a volume (`man_seg_000_012.tif`) are left out.
Reference: Maska et al. 2023, Nature Methods 20:1010. The sets' terms of use are those of the challenge.
"""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path
from typing import Any

from ..readers import page_count

__all__ = ["is_cell_tracking", "list_items"]

_FRAME = re.compile(r"t(\d+)\.tiff?")
_SEGMENTATION = re.compile(r"man_seg(\d+)\.tiff?")
_TRACKING = re.compile(r"man_track(\d+)\.tiff?")


def _numbered(folder: Path, pattern: re.Pattern[str]) -> dict[int, Path]:
    """Gives the files of a folder whose whole name fits, by time point."""
    if not folder.is_dir():
        return {}
    matches = ((pattern.fullmatch(path.name), path) for path in sorted(folder.iterdir()))
    return {int(match[1]): path for match, path in matches if match}


def _sequences(root: Path) -> list[Path]:
    folders = sorted(p for p in root.iterdir() if p.is_dir() and re.fullmatch(r"\d{2,}", p.name))
    return [folder for folder in folders if _numbered(folder, _FRAME)]


def _labels(sequence: Path) -> dict[int, Path]:
    found: dict[int, Path] = {}
    for end in ("_label", "_GT/SEG", "_ST/SEG"):
        found = _numbered(Path(f"{sequence}{end}"), _SEGMENTATION) | found
    return found or _numbered(Path(f"{sequence}_GT/TRA"), _TRACKING)


def is_cell_tracking(root: str | PathLike[str]) -> bool:
    """Says whether a folder holds at least one numbered sequence with time points."""
    return bool(_sequences(Path(root)))


def list_items(root: str | PathLike[str]) -> list[dict[str, Any]]:
    """Lists the time points of all sequences, in order.

    Args:
        root: Folder as the module describes it.

    Returns:
        One dictionary a time point: "image" (path), "label" (path or None), "page" (None for a single-page file) and
        "group", the name of the sequence. Empty where there is no sequence.

    Raises:
        ImageReadError: If a file's pages cannot be counted.
    """
    items = []
    for sequence in _sequences(Path(root)):
        labels = _labels(sequence)
        for time, path in sorted(_numbered(sequence, _FRAME).items()):
            label = str(labels[time]) if time in labels else None
            count = page_count(path)
            for page in range(count):
                items.append(
                    {"image": str(path), "label": label, "page": page if count > 1 else None, "group": sequence.name}
                )
    return items
