"""Images of several frames: films, and volumes slice by slice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from monai.data import MetaTensor

from ...data import Movie
from ...geometry import SamplingGrid
from ...utils import format_shape, plain
from .labels import label_array

__all__ = ["Span", "annotated", "frame_labels", "open_frames"]


class Span(Sequence[MetaTensor]):
    """Consecutive frames of a film, read when they are asked for.

    Args:
        frames: the film.
        start: its first frame here.
        stop: one after the last.
    """

    def __init__(self, frames: Sequence[MetaTensor], start: int, stop: int) -> None:
        self.frames, self.range = frames, range(start, stop)

    def __len__(self) -> int:
        return len(self.range)

    def __getitem__(self, t: int) -> MetaTensor:  # type: ignore[override]
        return self.frames[self.range[t]]

    def __iter__(self) -> Iterator[MetaTensor]:
        return (self.frames[t] for t in self.range)


@contextmanager
def open_frames(path: Path) -> Iterator[Sequence[MetaTensor]]:
    """The frames of a film (C, *spatial), or the slices of a volume, which count along its last axis x, y, z.

    Raises:
        ValueError: when the file cannot be read, or is a single picture.
    """
    with Movie(path, color="keep") as film:
        yield film if len(film) > 1 else _slices(film.frame(0), path)


def _slices(volume: MetaTensor, path: Path) -> list[MetaTensor]:
    grid = SamplingGrid.from_image(volume)
    if grid.spatial_dims == 2:
        raise ValueError(
            f"image {str(path)!r} is a single picture; expected several frames, or the slices of a volume. Use "
            "propagate_labels, with another image as reference"
        )
    axis = 2 if grid.frame == "RAS" else 0
    kept = [k for k in range(3) if k != axis]
    affine = np.diag([*(grid.spacing[k] for k in kept), 1.0])
    plane = SamplingGrid(tuple(grid.shape[k] for k in kept), affine, grid.frame, grid.unit)
    meta = {"source_dtype": volume.meta["source_dtype"]}
    return [plane.to_image(MetaTensor(each.contiguous(), meta=meta)) for each in plain(volume).unbind(axis + 1)]


def frame_labels(path: Path, frames: Sequence[MetaTensor]) -> np.ndarray:
    """Labels of all frames in the order of SimpleITK's arrays, int32 (T, (z,) y, x), 0 where nothing is marked.

    Raises:
        ValueError: when the label cannot be read, has another shape than the image or marks no frame.
    """
    grid = SamplingGrid.from_image(frames[0])
    wanted = (len(frames), *(grid.shape[::-1] if grid.frame == "RAS" else grid.shape))
    labels = label_array(path)
    if labels.shape != wanted:
        raise ValueError(
            f"label {str(path)!r} has shape {format_shape(labels.shape)} but its image has {format_shape(wanted)}; "
            "expected the same, with 0 in all frames that are not annotated. Annotate the image itself"
        )
    if not labels.any():
        raise ValueError(f"label {str(path)!r} is 0 everywhere; expected one annotated frame or more. Annotate one")
    return labels


def annotated(labels: np.ndarray) -> dict[int, range]:
    """The frames that are nearest to each annotated one; the earlier one has those in the middle.

    Args:
        labels: (T, ...), 0 where nothing is marked.
    """
    marked = [int(t) for t in np.flatnonzero(labels.reshape(len(labels), -1).any(axis=1))]
    borders = [0, *((a + b) // 2 + 1 for a, b in zip(marked, marked[1:], strict=False)), len(labels)]
    return {t: range(*borders[k : k + 2]) for k, t in enumerate(marked)}
