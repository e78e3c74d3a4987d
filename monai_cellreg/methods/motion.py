"""How far structures have moved, with and without the motion of what they lie in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["TrackMotion", "mean_squared_displacement", "pooled_msd", "since_first", "track_motions"]

MOST_LAGS = 10

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TrackMotion:
    """The motion of one track. Pairs of numbers are before and after registration, lengths in world units.

    Args:
        track: its name.
        frames: its frames (F,), in order.
        points: world points (2, F, D) where they were seen, and on the reference.
        path_length: length of the straight steps from point to point.
        net_displacement: distance from the first to the last point.
        squares: sum of squared displacements (2, L) over all pairs of points 1 to L frames apart.
        pairs: number of these pairs (L,).
    """

    track: str
    frames: NDArray[np.int64]
    points: Floats
    path_length: tuple[float, float]
    net_displacement: tuple[float, float]
    squares: Floats
    pairs: NDArray[np.int64]

    @property
    def msd(self) -> Floats:
        """Mean squared displacement (2, L) by lag; NaN where no two points are so far apart in time."""
        with np.errstate(invalid="ignore"):
            return self.squares / self.pairs


def since_first(points: Floats, frames: NDArray[np.int64], tracks: NDArray[np.str_]) -> Floats:
    """Displacement (N, D) of each point relative to the first one of its track; NaN for points without a track."""
    moved = np.full_like(points, np.nan)
    for chosen in _by_track(frames, tracks).values():
        moved[chosen] = points[chosen] - points[chosen[0]]
    return moved


def mean_squared_displacement(points: Floats, frames: NDArray[np.int64], lags: int) -> tuple[Floats, NDArray[np.int64]]:
    """Sums of squared displacements over time lags, and how many pairs of points each sum has.

    All pairs of points that lie a lag apart are taken, overlapping ones too; frames without a point leave theirs out.

    Args:
        points: (N, D) points of one track.
        frames: (N,) their frames, all different.
        lags: largest lag, in frames.

    Returns:
        Sums (lags,) and numbers (lags,) for the lags 1, 2 ...

    Example:
        >>> sums, pairs = mean_squared_displacement(np.array([[0.0], [3.0], [5.0]]), np.array([0, 1, 3]), 3)
        >>> sums, pairs
        (array([ 9.,  4., 25.]), array([1, 1, 1]))
    """
    apart = frames[None] - frames[:, None]
    squares = ((points[None] - points[:, None]) ** 2).sum(-1)
    sums = np.array([squares[apart == lag].sum() for lag in range(1, lags + 1)])
    return sums, np.array([(apart == lag).sum() for lag in range(1, lags + 1)])


def track_motions(
    before: Floats, after: Floats, frames: NDArray[np.int64], tracks: NDArray[np.str_]
) -> list[TrackMotion]:
    """The motion of every track.

    Args:
        before: (N, D) points where they were seen, in world units.
        after: (N, D) the same points on the reference.
        frames: (N,) their frames.
        tracks: (N,) their tracks; empty for none.
    """
    chosen = _by_track(frames, tracks)
    longest = max((int(frames[one[-1]] - frames[one[0]]) for one in chosen.values()), default=0)
    lags = min(max(longest, 1), MOST_LAGS)
    motions = []
    for track, one in chosen.items():
        ways, when = np.stack([before[one], after[one]]), frames[one]
        sums = [mean_squared_displacement(points, when, lags) for points in ways]
        lengths = [float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum()) for points in ways]
        ends = [float(np.linalg.norm(points[-1] - points[0])) for points in ways]
        squares = np.stack([squares for squares, _ in sums])
        motions.append(
            TrackMotion(track, when, ways, (lengths[0], lengths[1]), (ends[0], ends[1]), squares, pairs=sums[0][1])
        )
    return motions


def pooled_msd(motions: Sequence[TrackMotion]) -> Floats:
    """Mean squared displacement (2, L) over the pairs of points of all tracks, before and after."""
    with np.errstate(invalid="ignore"):
        return np.sum([one.squares for one in motions], axis=0) / np.sum([one.pairs for one in motions], axis=0)


def _by_track(frames: NDArray[np.int64], tracks: NDArray[np.str_]) -> dict[str, NDArray[np.int64]]:
    """Positions of the points of each track, in the order of their frames; tracks in that of the table."""
    names = [name for name in dict.fromkeys(tracks.tolist()) if name]
    order = np.argsort(frames, kind="stable")
    return {name: order[tracks[order] == name] for name in names}
