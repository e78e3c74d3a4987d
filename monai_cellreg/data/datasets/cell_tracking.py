"""The layout of the Cell Tracking Challenge: numbered sequences of time points, with labels beside them.

Layout: `01/t000.tif` ... with labels `man_seg000.tif` in `01_label/`, `01_GT/SEG/` (sparse: not every time point has
one) or `01_ST/SEG/`, the first of them that has the time point; a sequence with none of these falls back to the
tracking labels `01_GT/TRA/man_track000.tif`. Labels of single slices of a volume (`man_seg_000_012.tif`) are left out.
Reference: Maska et al. 2023, Nature Methods 20:1010. The sets' terms of use are those of the challenge.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...utils import atomic_path, check_same_shape
from ..readers import page_count
from ..writers import write_image

__all__ = ["is_cell_tracking", "list_items", "tracking_labels", "write_cell_tracking"]

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


def tracking_labels(root: str | PathLike[str]) -> dict[str, dict[str, str]]:
    """Gives the tracking labels `01_GT/TRA/man_track000.tif`, where an object has one number at all time points.

    Segmentation of real images has other numbers, and the markers may be much smaller than their objects.

    Args:
        root: Folder as the module describes it.

    Returns:
        For each sequence that has tracking labels, by its name: path of a time point's image to that of its labels.
    """
    found = {}
    for sequence in _sequences(Path(root)):
        tracking = _numbered(Path(f"{sequence}_GT/TRA"), _TRACKING)
        if tracking:
            images = _numbered(sequence, _FRAME)
            found[sequence.name] = {str(images[t]): str(tracking[t]) for t in sorted(images.keys() & tracking.keys())}
    return found


def write_cell_tracking(
    root: str | PathLike[str],
    images: NDArray[Any],
    instances: NDArray[np.integer],
    *,
    parents: Mapping[int, int] | None = None,
    sequence: str = "01",
) -> None:
    """Writes a film and its truth: images, segmentation, and tracks with their descent.

    In this layout a track has no gaps: where an instance comes back after frames without it, its tracking labels have
    a new number, whose parent is the old one. Segmentation keeps the instances' own numbers.

    Args:
        root: Folder of the data set; made where it is missing.
        images: (T, *spatial), 8 or 16 bit, or floating in [0, 1], which is written as 16 bit.
        instances: (T, *spatial), whole numbers: 0 for background, else the number of the object.
        parents: For objects that came from a division, the number of the object that divided.
        sequence: Name of the film, at least two digits.

    Raises:
        ValueError: If the shapes differ, numbers cannot be written, or a parent is not seen before its daughter.
        FileExistsError: If there is a film of this name.

    Example:
        >>> import tempfile
        >>> root, instances = tempfile.mkdtemp(), np.array([[[1, 0]], [[1, 2]]])
        >>> write_cell_tracking(root, instances / 2, instances)
        >>> [Path(item["label"]).name for item in list_items(root)]
        ['man_seg000.tif', 'man_seg001.tif']
    """
    check_same_shape("instances", instances.shape, "images", images.shape)
    if not re.fullmatch(r"\d{2,}", sequence):
        raise ValueError(f"sequence is {sequence!r}; expected at least two digits, such as '01'")
    root = Path(root)
    if (root / sequence).exists():
        raise FileExistsError(f"{str(root / sequence)!r} exists; choose another name than {sequence!r}, or delete it")
    counts, labels = _as_counts(images), _as_labels(instances)
    tracks, lines = _tracks(labels, parents or {})
    truth = root / f"{sequence}_GT"
    files = {truth / "SEG" / "man_seg": labels, truth / "TRA" / "man_track": tracks, root / sequence / "t": counts}
    digits = max(3, len(str(len(images) - 1)))
    for start, frames in files.items():
        for time, frame in enumerate(frames):
            write_image(f"{start}{time:0{digits}d}.tif", frame[None])
    with atomic_path(truth / "TRA" / "man_track.txt") as temporary:
        Path(temporary).write_text("".join(f"{line}\n" for line in lines), encoding="ascii")


def _as_counts(images: NDArray[Any]) -> NDArray[Any]:
    """Images as 8 or 16 bit."""
    if images.dtype in (np.uint8, np.uint16):
        return images
    if not (np.issubdtype(images.dtype, np.floating) and images.min() >= 0 and images.max() <= 1):
        raise ValueError(
            f"images are {images.dtype} from {images.min()} to {images.max()}; expected uint8, uint16, or floating "
            "numbers from 0 to 1: scale them"
        )
    return np.rint(images.astype(np.float64) * np.iinfo(np.uint16).max).astype(np.uint16)


def _as_labels(instances: NDArray[np.integer]) -> NDArray[np.uint16]:
    """Instances as 16 bit."""
    greatest = np.iinfo(np.uint16).max
    if not np.issubdtype(instances.dtype, np.integer) or instances.min() < 0 or instances.max() > greatest:
        raise ValueError(
            f"instances are {instances.dtype} from {instances.min()} to {instances.max()}; expected whole numbers "
            f"from 0 to {greatest}: number the objects anew"
        )
    return instances.astype(np.uint16)


def _tracks(labels: NDArray[np.uint16], parents: Mapping[int, int]) -> tuple[NDArray[np.uint16], list[str]]:
    """Tracks without gaps, and a line for each: its number, first and last frame, and parent (0 for none)."""
    tracks, unused = np.zeros_like(labels), int(labels.max()) + 1
    current: dict[int, int] = {}  # the track of every object seen so far
    rows: dict[int, list[int]] = {}
    for time, frame in enumerate(labels):
        for number in (int(n) for n in np.unique(frame) if n):
            if number not in current:
                parent = parents.get(number, 0)
                if parent and parent not in current:
                    raise ValueError(
                        f"parents[{number}] is {parent}, which is not seen before {number} appears in frame {time}; "
                        "expected the number of an object in an earlier frame"
                    )
                rows[number], current[number] = [time, time, current.get(parent, 0)], number
            elif rows[current[number]][1] < time - 1:
                rows[unused], current[number], unused = [time, time, current[number]], unused, unused + 1
            rows[current[number]][1] = time
            tracks[time][frame == number] = current[number]
    return tracks, [f"{track} {first} {last} {parent}" for track, (first, last, parent) in sorted(rows.items())]
