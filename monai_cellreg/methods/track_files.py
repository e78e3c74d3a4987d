"""Tables of structures that were followed through a movie, as tracking programs write them."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..geometry import AffineTransform, SamplingGrid
from .point_files import PointMap, coordinate_columns
from .sequence_frames import MovieFrames
from .tables import Table, read_table, write_table

__all__ = ["TrackTable", "read_tracks", "write_tracks"]

FRAMES = ("frame", "t", "position_t")  # the first that is there counts
TRACKS = ("track_id", "track", "particle", "id")
MOST_HEADINGS = 4  # lines of names, abbreviations and units at the top of TrackMate's tables
BORDER = 0.5  # pixels: where the outer ones end
NEAR_WHOLE = 1e-3

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TrackTable:
    """Points of a movie, with the table that they come from.

    Args:
        table: all that the file holds.
        columns: of the coordinates, in the order of the tensor axes.
        place: from coordinates as the file gives them to world points, and back.
        skipped: rows between header and points.
        frames: (N,) frame of each point.
        points: (N, D) world points of the frames.
        tracks: (N,) name of each point's track; empty for none.
    """

    table: Table
    columns: Sequence[int]
    place: PointMap
    skipped: int
    frames: NDArray[np.int64]
    points: Floats
    tracks: NDArray[np.str_]


def read_tracks(path: str | os.PathLike[str], frames: MovieFrames, *, coordinates: str | None = None) -> TrackTable:
    """Points of a CSV or TSV file, each with its frame and, where the table tells it, its track.

    Convention: columns, in any case, are

    - the frame, from 0: ``frame``, ``t`` or, of napari, ``axis-0`` before the axes of the image; else TrackMate's
      ``POSITION_T``, in seconds where the movie knows the time between its frames;
    - the place: as for :func:`~monai_cellreg.methods.apply_transform` (``x, y(, z)``, ``row, col``, ``axis-1, axis-2``
      ...), or TrackMate's ``POSITION_X, POSITION_Y(, POSITION_Z)``;
    - the track: ``track_id``, ``track``, ``particle`` (trackpy), or ``id`` where it is not another number in each row.
      Without one, points that all lie in different frames are one track.

    Args:
        path: the file.
        frames: the movie.
        coordinates: ``"index"``, ``"corner"`` or ``"world"``; when omitted, world for TrackMate's names, else index.

    Raises:
        ValueError: when a column is missing or there twice, a frame does not exist, a coordinate is no finite number or
            outside of its frame, or a track has two points in one frame; the text names file, line and column.
        FileNotFoundError: when there is no such file.
    """
    where = f"tracks {os.fspath(path)!r}"
    if not Path(path).is_file():
        raise FileNotFoundError(f"{where} do not exist; expected a CSV file with frame, x and y, and track_id")
    table = read_table(path, where)
    names = [name.strip().lower() for name in table.header]
    is_trackmate = "position_x" in names
    kind = coordinates or ("world" if is_trackmate else "index")
    place = PointMap(
        AffineTransform(np.eye(frames.grid.spatial_dims + 1)), frames.grid, frames.grid, frames.grid.frame, kind
    )
    known = [re.sub("^position_(?=[xyz]$)", "", name) if is_trackmate else name for name in names]
    columns = coordinate_columns(known, place, where)
    time = _frame_column(names, columns, where)
    skipped = _headings(table, time) if is_trackmate else 0
    if len(table.rows) == skipped:
        raise ValueError(f"{where} hold no points; expected a header and a row for each point")
    cells = _Cells(table, where, skipped)
    step = frames.seconds_per_frame if names[time] == "position_t" and frames.seconds_per_frame else 1.0
    when = _frames(cells, time, len(frames), step)
    points = place.to_world(np.stack([cells.numbers(column) for column in columns], axis=1))
    _check_inside(cells, points, columns, frames.grid)
    found = TrackTable(table, columns, place, skipped, when, points, _tracks(cells, names, when))
    _check_once(cells, found)
    return found


def write_tracks(path: Path, tracks: TrackTable, reference: Floats, moved: Floats, flags: Sequence[str]) -> None:
    """The same table with every point on the reference, and further columns.

    ``displacement_`` and the name of each coordinate say how far the point has moved relative to the first one of its
    track, in the coordinates of the table, ``displacement`` the distance in world units, and ``frame_flag`` how the
    map of the frame was found.

    Args:
        path: the file to write.
        tracks: the table.
        reference: (N, D) world points of the reference.
        moved: (N, D) world displacements since the first point of the track; NaN for points without a track.
        flags: how the map of each frame was found.
    """
    source, columns = tracks.table, tracks.columns
    placed = tracks.place.from_world(reference)
    shift = placed - tracks.place.from_world(reference - moved)
    extra = [f"displacement_{source.header[column].strip()}" for column in columns] + ["displacement", "frame_flag"]
    header = [*source.header, *(name for name in extra if name not in source.header)]
    at = [header.index(name) for name in extra]
    rows = [row + [""] * (len(header) - len(row)) for row in source.rows]
    for k, row in enumerate(rows[tracks.skipped :]):
        for column, value in zip(columns, placed[k], strict=True):
            row[column] = f"{value:.10g}"
        length = float(np.linalg.norm(moved[k]))
        numbers = ["" if math.isnan(value) else f"{value:.10g}" for value in (*shift[k], length)]
        for column, text in zip(at, [*numbers, flags[tracks.frames[k]]], strict=True):
            row[column] = text
    write_table(path, replace(source, header=header, rows=rows))


class _Cells:
    """The cells of a table's points, with their place for error texts."""

    def __init__(self, table: Table, where: str, skipped: int) -> None:
        self.rows, self.lines = table.rows[skipped:], table.lines[skipped:]
        self.header, self.where = table.header, where

    def at(self, k: int, column: int) -> str:
        """What errors call the cell of point k."""
        return f"{self.where}, row {self.lines[k]}, column {self.header[column].strip()!r}"

    def texts(self, column: int) -> list[str]:
        return [row[column].strip() if column < len(row) else "" for row in self.rows]

    def numbers(self, column: int) -> Floats:
        """A column (N,) of finite numbers."""
        values = []
        for k, text in enumerate(self.texts(column)):
            value = _number(text)
            if not math.isfinite(value):
                raise ValueError(
                    f"{self.at(k, column)} holds {text!r}; expected a finite number. Leave points without one out"
                )
            values.append(value)
        return np.array(values)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _frame_column(names: list[str], columns: Sequence[int], where: str) -> int:
    """The column of the frame."""
    found = [name for name in FRAMES if name in names]
    if not found and names[min(columns)] == "axis-1" and "axis-0" in names:
        found = ["axis-0"]
    if not found or names.count(found[0]) > 1:
        raise ValueError(
            f"{where} have {'several columns' if found else 'no column'} of the frame in the header {names}; expected "
            f"one of {', '.join(FRAMES)}, or axis-0 before the axes of the image: rename the columns"
        )
    return names.index(found[0])


def _headings(table: Table, column: int) -> int:
    """How many rows at the top have words in place of a number: TrackMate's tables have names and units there."""
    texts = [row[column].strip() if column < len(row) else "" for row in table.rows[:MOST_HEADINGS]]
    return next((k for k, text in enumerate(texts) if math.isfinite(_number(text))), len(texts))


def _frames(cells: _Cells, column: int, count: int, step: float) -> NDArray[np.int64]:
    """The frame (N,) of each point."""
    exact = cells.numbers(column) / step
    whole = np.rint(exact)
    for k, (value, frame) in enumerate(zip(exact, whole, strict=True)):
        if abs(value - frame) > NEAR_WHOLE:
            raise ValueError(
                f"{cells.at(k, column)} holds {cells.texts(column)[k]!r}; expected the whole number of a frame"
                + (f", or a multiple of the {step:g} s between frames" if step != 1 else "")
            )
        if not 0 <= frame < count:
            raise ValueError(
                f"{cells.at(k, column)} names frame {frame:.0f} but the movie has {count}; expected 0 to {count - 1}. "
                "Subtract 1 where the table counts from 1"
            )
    return whole.astype(np.int64)


def _check_inside(cells: _Cells, points: Floats, columns: Sequence[int], grid: SamplingGrid) -> None:
    """Whether all points lie in the frames."""
    inverse = np.linalg.inv(grid.affine)
    index = points @ inverse[:-1, :-1].T + inverse[:-1, -1]
    last = np.array(grid.shape) - 1.0
    outside = (index < -BORDER - NEAR_WHOLE) | (index > last + BORDER + NEAR_WHOLE)
    if outside.any():
        k, axis = (int(n) for n in np.argwhere(outside)[0])
        raise ValueError(
            f"{cells.at(k, columns[axis])} holds {cells.texts(columns[axis])[k]!r}, which is pixel "
            f"{index[k, axis]:.6g} along axis {axis} and outside of the frame; expected "
            f"{-BORDER:g} to {last[axis] + BORDER:g}. Say which coordinates they are: pixels are 'index', units of "
            "length 'world'"
        )


def _tracks(cells: _Cells, names: list[str], frames: NDArray[np.int64]) -> NDArray[np.str_]:
    """The track (N,) of each point."""
    name = next((name for name in TRACKS if name in names), None)
    texts = cells.texts(names.index(name)) if name else []
    if name == "id" and len(set(texts)) == len(texts) > 1:  # numbers of points, not of tracks
        name = None
    if name is None:
        return np.full(len(frames), "1" if len(np.unique(frames)) == len(frames) else "")
    return np.array(["" if text.lower() in ("none", "nan") else text for text in texts])


def _check_once(cells: _Cells, found: TrackTable) -> None:
    """Whether every track has one point a frame."""
    seen: dict[tuple[str, int], int] = {}
    for k, (track, frame) in enumerate(zip(found.tracks.tolist(), found.frames.tolist(), strict=True)):
        first = seen.setdefault((track, frame), k)
        if track and first != k:
            raise ValueError(
                f"{cells.where}, rows {cells.lines[first]} and {cells.lines[k]}: track {track!r} has two points in "
                f"frame {frame}; expected one. Give each branch a track of its own"
            )
