"""Labelled frames in the layout in which the Cell Tracking Challenge takes results, and most tracking programs too."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor

from ..data import write_image
from ..utils import atomic_path, ensure_writable_dir, plain

__all__ = ["TrackingResult"]

logger = logging.getLogger(__name__)

LARGEST = np.iinfo(np.uint16).max  # masks have 16 bits
TABLE = "res_track.txt"
DIGITS = 3


class TrackingResult:
    """``mask000.tif``, ``mask001.tif`` ... and ``res_track.txt`` with a line ``L B E P`` a track.

    L is the label of a track, B and E its first and last frame, in all of which it is seen, P its parent or 0. A label
    that is not seen for a while goes on as a new track, whose parent is the one before, as the layout wants it. The
    table is written last: a folder without one is not complete.

    Args:
        folder: where the files go.
        count: number of frames.
        last: highest label of all.
    """

    def __init__(self, folder: Path, count: int, last: int) -> None:
        self.folder, self.count, self.last = folder, count, last
        self.frame = 0
        self.current: dict[int, list[int]] = {}  # label -> the track that it belongs to now: L, B, E, P
        self.ended: list[list[int]] = []
        (folder / TABLE).unlink(missing_ok=True)
        if folder.is_dir():
            for path in folder.iterdir():
                if re.fullmatch(r"mask\d+\.tif", path.name):
                    path.unlink()

    def add(self, labels: Tensor, present: list[int]) -> None:
        """Writes the next frame.

        Args:
            labels: (1, *spatial), 0 for background.
            present: the labels that occur in it.
        """
        for label in present:
            track = self.current.get(label)
            if track is None:
                self.current[label] = [label, self.frame, self.frame, 0]
            elif track[2] == self.frame - 1:
                track[2] = self.frame
            else:
                self.last += 1
                self.ended.append(track)
                self.current[label] = [self.last, self.frame, self.frame, track[0]]
        if self.last <= LARGEST:
            self._write(labels, present)
        self.frame += 1

    def finish(self) -> int | None:
        """Writes the table; gives the number of tracks, or None where labels beyond 16 bits have no place in it."""
        if self.last > LARGEST:
            logger.warning(
                "%s is left out: label %d does not fit into the 16 bits of its masks", self.folder, self.last
            )
            return None
        tracks = sorted([*self.ended, *self.current.values()])
        with atomic_path(self.folder / TABLE) as temporary:
            temporary.write_text("".join("{} {} {} {}\n".format(*track) for track in tracks), encoding="ascii")
        return len(tracks)

    def _write(self, labels: Tensor, present: list[int]) -> None:
        values = plain(labels).long()
        track_of = torch.zeros(int(values.max()) + 1, dtype=torch.int32)
        for label in present:
            track_of[label] = self.current[label][0]
        digits = max(DIGITS, len(str(self.count - 1)))
        meta = {**(labels.meta if isinstance(labels, MetaTensor) else {}), "source_dtype": "uint16"}
        ensure_writable_dir(self.folder)
        write_image(self.folder / f"mask{self.frame:0{digits}d}.tif", MetaTensor(track_of[values], meta=meta))
