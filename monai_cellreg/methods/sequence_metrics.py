"""Figures of a registered movie: of each frame, and over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..geometry import Pair
from ..inferers import SequenceMaps
from ..utils import plain
from .registration import measure
from .sequence_frames import MovieFrames, WarpedFrames

__all__ = ["TemporalStatistics", "measure_sequence", "summary"]

MEASURED = ("ncc_before", "ncc_after", "mean_displacement", "max_displacement", "folding_fraction")


@dataclass(frozen=True)
class TemporalStatistics:
    """Mean and standard deviation over time at every voxel of the reference, each (C, *spatial), float32.

    Frames that were not registered from their own content (constant, not finite ...) are left out, unless all are. A
    movie that stands still has a sharp mean and a dark standard deviation.
    """

    mean_before: Tensor
    mean_after: Tensor
    std_before: Tensor
    std_after: Tensor


class _Moments:
    """Running mean and sum of squared deviations.

    References:
        Welford, Note on a method for calculating corrected sums of squares and products, Technometrics 1962.
    """

    def __init__(self) -> None:
        self.count, self.mean, self.squares = 0, torch.zeros(()), torch.zeros(())

    def add(self, image: Tensor) -> None:
        image = image.double()
        self.count += 1
        change = image - self.mean
        self.mean = self.mean + change / self.count
        self.squares = self.squares + change * (image - self.mean)

    @property
    def std(self) -> Tensor:
        return (self.squares / max(self.count, 1)).sqrt()


@torch.no_grad()
def measure_sequence(frames: MovieFrames, found: SequenceMaps) -> tuple[list[dict[str, Any]], TemporalStatistics]:
    """One dictionary a frame, and the statistics over time.

    Args:
        frames: the movie.
        found: its maps.

    Returns:
        For each frame its number ``frame``, ``flag`` (see :class:`~monai_cellreg.inferers.FrameMap`), ``seconds``,
        ``ncc_before`` and ``ncc_after`` (correlation with the reference, 0 for a constant frame, None for one that is
        not finite), ``mean_displacement`` and ``max_displacement`` in world units, ``folding_fraction`` and ``reason``;
        and the statistics.
    """
    rows = []
    ways = (WarpedFrames(frames, None, found.grid), WarpedFrames(frames, found, found.grid))
    moments = {name: (_Moments(), _Moments()) for name in ("trusted", "all")}
    for t, each in enumerate(found.maps):
        still, warped = (plain(way[t]) for way in ways)
        pair = Pair.of(found.image.nan_to_num(), frames[t].nan_to_num())
        figures = measure(pair, each.transform, warped.nan_to_num())
        row = {name: figures.get(name) for name in MEASURED}
        if each.flag == "not finite":
            row.update(ncc_before=None, ncc_after=None)
        rows.append({"frame": t, "flag": each.flag, **row, "seconds": each.seconds, "reason": each.reason})
        for name in ("trusted", "all") if each.is_trusted else ("all",):
            for moment, image in zip(moments[name], (still, warped), strict=True):
                moment.add(image)
    before, after = moments["trusted"] if moments["trusted"][0].count else moments["all"]
    images = (before.mean, after.mean, before.std, after.std)
    return rows, TemporalStatistics(*(image.float() for image in images))


def summary(rows: Sequence[dict[str, Any]], statistics: TemporalStatistics) -> dict[str, Any]:
    """The figures of a whole movie.

    Returns:
        Mean correlation with the reference before and after over the frames that have one, other than the reference;
        the standard deviation over time, mean over the voxels; the largest displacement and folded share; the seconds
        in all, and how many frames carry each flag.
    """
    others = [row for row in rows if row["flag"] != "reference"]
    means = {name: _mean([row[name] for row in others]) for name in ("ncc_before", "ncc_after")}
    spread = {name: float(getattr(statistics, name).mean()) for name in ("std_before", "std_after")}
    flags = [row["flag"] for row in rows]
    return {
        "frames": len(rows),
        **means,
        **{name: value if math.isfinite(value) else None for name, value in spread.items()},
        **{name: max(row[name] for row in rows) for name in ("max_displacement", "folding_fraction")},
        "seconds": sum(row["seconds"] for row in rows),
        "flags": {flag: flags.count(flag) for flag in dict.fromkeys(flags)},
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
