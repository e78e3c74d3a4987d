"""Motion of structures relative to what they lie in: tracks on the reference of a movie."""

from __future__ import annotations

import csv
import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..inferers import SequenceMaps
from ..inferers.preimages import preimages
from ..report.motion import MotionPicture, MotionSection, draw_motion
from ..utils import atomic_path
from .motion import TrackMotion, pooled_msd, since_first, track_motions
from .sequence_metrics import TemporalStatistics
from .track_files import TrackTable, write_tracks

__all__ = ["RelativeMotion", "points_on_reference"]

logger = logging.getLogger(__name__)

TOLERANCE = 1e-6  # of the spacing, to which maps are inverted

Floats = NDArray[np.float64]


def points_on_reference(found: SequenceMaps, points: Floats, frames: NDArray[np.int64]) -> Floats:
    """Points of frames as points of the reference; where the map of a frame folds, the closest that is found.

    Args:
        found: the maps of the movie.
        points: (N, D) world points of the frames.
        frames: (N,) the frame of each.

    Returns:
        (N, D) world points of the reference.
    """
    placed, missed = np.empty_like(points), 0
    for t in np.unique(frames):
        chosen = frames == t
        tolerance = TOLERANCE * min(found.grid.spacing)
        world, reached = preimages(found.maps[int(t)].transform, torch.from_numpy(points[chosen]), tolerance=tolerance)
        placed[chosen] = world.numpy()
        missed += int((~reached).sum())
    if missed:
        logger.warning(
            "%d of %d points lie where the map of their frame folds; they are placed near", missed, len(points)
        )
    return placed


class RelativeMotion:
    """Tracks of a movie with and without the motion that the registration has found.

    Convention: points are world points of the frames and of the reference, in the order of the tensor axes; pairs are
    before and after registration.

    Args:
        table: the tracks as they were seen.
        found: the maps of the movie.
    """

    def __init__(self, table: TrackTable, found: SequenceMaps) -> None:
        self.table, self.found = table, found
        self.flags = [each.flag for each in found.maps]
        self.trusted = [each.is_trusted for each in found.maps]

    @cached_property
    def reference(self) -> Floats:
        """World points (N, D) of the reference, in the order of the table."""
        return points_on_reference(self.found, self.table.points, self.table.frames)

    @cached_property
    def tracks(self) -> dict[str, TrackMotion]:
        """The motion of every track, by the name that the table gives it."""
        found = track_motions(self.table.points, self.reference, self.table.frames, self.table.tracks)
        return {one.track: one for one in found}

    @property
    def msd(self) -> Floats:
        """Mean squared displacement (2, L) of all tracks by lag, 1 to L frames, before and after, squared world units.

        NaN for a lag of which there are no two points; no lags where there are no tracks.
        """
        return pooled_msd(list(self.tracks.values())) if self.tracks else np.empty((2, 0))

    def told(self) -> dict[str, Any]:
        """Figures of all tracks: their number, that of their points and of those in frames without a map of their own,
        and the mean squared displacement by lag, before and after."""
        return {
            "points": len(self.table.frames),
            "tracks": len(self.tracks),
            "points_in_untrusted_frames": self._untrusted,
            "unit": self.found.grid.unit,
            "msd": [{"lag": k + 1, "before": b, "after": a} for k, (b, a) in enumerate(self.msd.T.tolist())],
        }

    def write(self, folder: Path, statistics: TemporalStatistics) -> MotionSection | None:
        """``tracks_reference.csv`` and, where there are tracks, ``motion.csv`` and ``motion.png``.

        Args:
            folder: where the files go.
            statistics: of the movie, whose means lie below the tracks.

        Returns:
            What the page says; nothing where there are no tracks.
        """
        moved = since_first(self.reference, self.table.frames, self.table.tracks)
        write_tracks(folder / "tracks_reference.csv", self.table, self.reference, moved, self.flags)
        if not self.tracks:
            logger.warning("the table has no column of the track, so that no motion is measured")
            return None
        self._write_rows(folder / "motion.csv")
        section = self.section(statistics)
        with atomic_path(folder / "motion.png") as temporary:
            temporary.write_bytes(section.picture)
        return section

    def section(self, statistics: TemporalStatistics) -> MotionSection:
        """What a page says of the tracks."""
        rows = [(one.track, len(one.frames), one.path_length, one.net_displacement) for one in self.tracks.values()]
        picture = draw_motion(self._picture(statistics))
        return MotionSection(picture, rows, self.msd, self.found.grid.unit, self._untrusted)

    @property
    def _untrusted(self) -> int:
        return sum(not self.trusted[t] for t in self.table.frames)

    def _write_rows(self, path: Path) -> None:
        """A row a track."""
        ways = ("before", "after")
        rows = []
        for one in self.tracks.values():
            row: dict[str, object] = {"track": one.track, "points": len(one.frames)}
            row |= {"first_frame": int(one.frames[0]), "last_frame": int(one.frames[-1])}
            for name in ("path_length", "net_displacement"):
                row |= {f"{name}_{way}": f"{x:.10g}" for way, x in zip(ways, getattr(one, name), strict=True)}
            for lag, pair in enumerate(one.msd.T, start=1):
                row |= {
                    f"msd_{lag}_{way}": "" if np.isnan(x) else f"{x:.10g}" for way, x in zip(ways, pair, strict=True)
                }
            rows.append({**row, "unit": self.found.grid.unit})
        with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    def _picture(self, statistics: TemporalStatistics) -> MotionPicture:
        """Tracks in the plane of pictures; of volumes the brightest along the axis of the slices."""
        grid = self.found.grid
        inverse = np.linalg.inv(grid.affine)
        images = [image.nan_to_num().cpu().numpy() for image in (statistics.mean_before, statistics.mean_after)]
        axes: Sequence[int] = range(grid.spatial_dims)
        if grid.spatial_dims == 3:
            slices = 0 if grid.frame == "index" else 2  # slices come first in stacks of pictures, last in NIfTI
            axes = [axis for axis in axes if axis != slices]
            images = [image.max(axis=1 + slices) for image in images]
        placed = [one.points @ inverse[:-1, :-1].T + inverse[:-1, -1] for one in self.tracks.values()]
        tracks = [(before[:, axes], after[:, axes]) for before, after in placed]
        return MotionPicture((images[0], images[1]), tracks, (grid.spacing[axes[0]], grid.spacing[axes[1]]))
