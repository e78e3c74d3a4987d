"""What a movie carries along when it is registered."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from ..utils import check_choice, check_not_negative
from .images import ImageLike
from .point_files import COORDINATES

__all__ = ["SequenceOptions"]


@dataclass(frozen=True)
class SequenceOptions:
    """What goes with the frames of a movie, and how smooth their maps are over time.

    Args:
        labels: instance labels of one frame, 0 for background, which are carried to all frames: a path, an array or a
            tensor. Of a file with one page a frame, the page of that frame is read.
        labels_frame: the frame that the labels belong to, from 0; the reference when omitted.
        tracks: CSV or TSV file of structures inside, as they were seen in the frames; see
            :func:`~monai_cellreg.methods.track_files.read_tracks` for its columns.
        coordinates: of the tracks: ``"index"`` (pixels, 0 at the centre of the first one), ``"corner"`` (pixels, 0 at
            its outer corner) or ``"world"`` (units of the movie); when omitted, world for TrackMate's ``POSITION_X``
            and its like, else index.
        smoothing: standard deviation, in frames, of the Gaussian that filters the maps over time; 0 for none.

    Raises:
        ValueError: for an unknown choice, a negative smoothing or frame, or a frame without labels.
    """

    labels: ImageLike | None = None
    labels_frame: int | None = None
    tracks: str | os.PathLike[str] | None = None
    coordinates: Literal["index", "corner", "world"] | None = None
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_not_negative("smoothing", self.smoothing)
        if self.coordinates is not None:
            check_choice("coordinates", self.coordinates, COORDINATES)
        if self.labels_frame is not None and (self.labels is None or self.labels_frame < 0):
            raise ValueError(
                f"labels_frame is {self.labels_frame} and labels are {'missing' if self.labels is None else 'given'}; "
                "expected the number of a frame, from 0, together with its labels"
            )
