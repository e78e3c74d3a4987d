"""Labels of one frame, carried to every frame of a movie."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor

from ..data import read_label, write_ome_tiff
from ..data.readers import page_count
from ..geometry import SamplingGrid, sample
from ..inferers import SequenceMaps
from ..inferers.preimages import preimages
from ..utils import check_same_shape, plain
from .images import ImageLike, as_image
from .sequence_frames import MovieFrames
from .tracking_result import TrackingResult

__all__ = ["LabelledFrame", "PropagatedLabels", "read_labels", "write_labels"]

logger = logging.getLogger(__name__)

TOLERANCE = 1e-3  # of the spacing, to which maps are inverted
LARGEST = np.iinfo(np.int32).max


@dataclass(frozen=True)
class LabelledFrame:
    """Labels of one frame.

    Args:
        image: (1, *spatial) whole numbers on the grid of the movie; ``meta["source_dtype"]`` is their own type.
        frame: the frame.
    """

    image: MetaTensor
    frame: int

    @property
    def ids(self) -> list[int]:
        """The labels that occur."""
        return [int(k) for k in torch.unique(plain(self.image)) if k]


def read_labels(labels: ImageLike, frames: MovieFrames, frame: int) -> LabelledFrame:
    """Labels as they are carried along.

    Args:
        labels: see :class:`~monai_cellreg.methods.SequenceOptions`.
        frames: the movie, on whose grid the labels lie, whatever pixel size their own file tells.
        frame: the frame.

    Raises:
        ValueError: when there is no such frame, the labels have another shape than the frames, lie elsewhere in space,
            are no whole numbers from 0 to 2147483647, or are all 0.
    """
    if not 0 <= frame < len(frames):
        raise ValueError(
            f"labels_frame is {frame} but the movie has {len(frames)} frames; expected 0 to {len(frames) - 1}"
        )
    image = _read(labels, len(frames), frame) if isinstance(labels, (str, os.PathLike)) else labels
    tensor = as_image(image, "labels", label=True)
    check_same_shape("labels", tensor.shape[1:], "the movie's frames", frames.grid.shape)
    grid = SamplingGrid.from_image(tensor)
    if grid.frame == frames.grid.frame == "RAS" and not grid.matches(frames.grid):
        raise ValueError(
            "labels lie elsewhere in space than the frames; expected one affine. Resample the labels first"
        )
    values = plain(tensor)
    if bool((values < 0).any()) or bool((values > LARGEST).any()) or bool((values != values.round()).any()):
        raise ValueError(
            f"labels range from {values.min():g} to {values.max():g}; expected whole numbers from 0 (background) to "
            f"{LARGEST}"
        )
    if not bool(values.any()):
        raise ValueError("labels are 0 everywhere; expected the numbers of objects. Look at the file, or its page")
    dtype = tensor.meta.get("source_dtype") if isinstance(tensor, MetaTensor) else None
    given = dtype or str(getattr(labels, "dtype", "int32")).removeprefix("torch.")
    stored = np.dtype("uint8" if given == "bool" else given if np.dtype(given).kind in "iu" else "int32")
    meta = {"source_dtype": str(stored)}
    return LabelledFrame(frames.grid.to_image(MetaTensor(values.to(torch.int32), meta=meta)), frame)


def _read(path: str | os.PathLike[str], count: int, frame: int) -> MetaTensor:
    """Labels of a file; of one page a frame, those of the frame."""
    pages = page_count(path)
    if pages not in (1, count):
        raise ValueError(
            f"labels {str(path)!r} has {pages} pages but the movie has {count} frames; expected labels of one frame, "
            "or a page for each"
        )
    return read_label(path, page=frame if pages > 1 else None)


class PropagatedLabels(Sequence[MetaTensor]):
    """The labels of one frame in every frame, each found when it is asked for.

    Convention: a point y of frame t lies at x on the reference, where ``T_t(x) = y``, and at ``T_a(x)`` in the
    annotated frame a, whose label it gets: the nearest one, so that labels are never mixed. What was outside of the
    annotated frame is background.

    Args:
        labelled: the labels, with their frame.
        found: the maps of the movie.
        grid: of the frames.
    """

    def __init__(self, labelled: LabelledFrame, found: SequenceMaps, grid: SamplingGrid) -> None:
        self.labelled, self.found, self.grid = labelled, found, grid
        annotated = found.maps[labelled.frame]
        self.there = annotated.transform
        if not annotated.is_trusted:
            logger.warning(
                "labels belong to frame %d, which could not be registered (%s)", labelled.frame, annotated.flag
            )

    def __len__(self) -> int:
        return len(self.found.maps)

    @torch.no_grad()
    def __getitem__(self, t: int) -> MetaTensor:  # type: ignore[override]
        image = self.labelled.image
        if range(len(self))[t] == self.labelled.frame:
            return image
        y = self.grid.world().reshape(-1, self.grid.spatial_dims)
        x, _ = preimages(self.found.maps[t].transform, y, tolerance=TOLERANCE * min(self.grid.spacing))
        index = self.grid.world_to_index(self.there._map(x[None]).cpu()[0])
        index = index.reshape(1, *self.grid.shape, self.grid.spatial_dims)
        values = sample(plain(image)[None], index, mode="nearest", padding="zeros")[0]
        return self.grid.to_image(MetaTensor(values, meta=image.meta))

    def __iter__(self) -> Iterator[MetaTensor]:
        return (self[t] for t in range(len(self)))


def write_labels(folder: Path, labels: PropagatedLabels, *, seconds_per_frame: float | None = None) -> dict[str, Any]:
    """``labels.ome.tif``, a page a frame in the labels' own number type, and ``labels_ctc`` for tracking programs.

    OME-TIFF has no whole numbers of 64 bits; such labels are written with 32.

    Args:
        folder: where the files go.
        labels: what is written.
        seconds_per_frame: time between frames.

    Returns:
        What is to be told: the annotated ``frame``, the number of ``objects``, how many ``ctc_tracks`` they make (None
        where the layout cannot hold them), which ``incomplete`` ones are not seen in every frame, and the
        ``untrusted_frames``, whose own content says nothing of where the labels are.
    """
    ids = labels.labelled.ids
    stored = np.dtype(labels.labelled.image.meta["source_dtype"])
    like = MetaTensor(labels.labelled.image, meta={"source_dtype": "int32" if stored.itemsize == 8 else str(stored)})
    seen = dict.fromkeys(ids, 0)
    result = TrackingResult(folder / "labels_ctc", len(labels), max(ids))

    def written() -> Iterator[MetaTensor]:
        for frame in labels:
            present = [int(k) for k in torch.unique(plain(frame)) if k]
            seen.update({k: seen[k] + 1 for k in present})
            result.add(frame, present)
            yield frame

    path = folder / "labels.ome.tif"
    write_ome_tiff(path, written(), count=len(labels), like=like, seconds_per_frame=seconds_per_frame)
    trusted = [each.is_trusted for each in labels.found.maps]
    return {
        "frame": labels.labelled.frame,
        "objects": len(ids),
        "incomplete": [k for k, count in seen.items() if count < len(labels)],
        "ctc_tracks": result.finish(),
        "untrusted_frames": [t for t, each in enumerate(trusted) if not each],
    }
