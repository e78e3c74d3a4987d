"""The page of a registered movie, and what is to be thought of it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..report import SequencePage, Verdict, write_sequence_page
from ..report.motion import MotionSection
from .sequence_frames import WarpedFrames
from .sequence_metrics import MEASURED

__all__ = ["judge_sequence", "write_report"]

FLAGS = {
    "continued": "reached from its neighbour",
    "neighbour": "kept the map of its neighbour: no registration did better",
    "identity": "left where it was: no registration did better",
    "constant": "constant: it has the map of its {neighbour}",
    "not finite": "holds no finite image: it has the map of its {neighbour}",
    "unlike": "looks like nothing in the reference: it has the map of its {neighbour}",
    "failed": "refused by the method: it has the map of its {neighbour}",
}
UNUSABLE = ("constant", "not finite", "unlike", "failed")
KEPT = ("neighbour", "identity")
GAIN = 0.002  # change of the correlation that counts as one
FOLDED = 0.001


def judge_sequence(overall: Mapping[str, Any]) -> Verdict:
    """A plain verdict on a registered movie from its figures.

    It fails where the frames are less like the reference than before, or none could be registered; it asks for a closer
    look where nothing was gained, most registrations were of no use, frames could not be registered or a map folds.

    Args:
        overall: see :func:`~monai_cellreg.methods.sequence_metrics.summary`.
    """
    levels, reasons = [], []
    before, after = overall["ncc_before"], overall["ncc_after"]
    if before is not None and after is not None:
        gain = after - before
        levels.append("good" if gain > GAIN else "failed" if gain < -GAIN else "check")
        said = "more like" if gain > GAIN else "less like" if gain < -GAIN else "no more like"
        reasons.append(f"Frames are {said} the reference than before: mean correlation {before:.3f} → {after:.3f}.")
    lost = sum(overall["flags"].get(flag, 0) for flag in UNUSABLE)
    if lost:
        levels.append("failed" if lost == overall["frames"] else "check")
        reasons.append(f"{lost} of {overall['frames']} frames could not be registered from their own content.")
    kept = sum(overall["flags"].get(flag, 0) for flag in KEPT)
    if kept > overall["frames"] / 2:
        levels.append("check")
        reasons.append(f"In {kept} of {overall['frames']} frames no registration did better than the map known before.")
    folded = overall["folding_fraction"]
    if folded > 0:
        levels.append("check" if folded > FOLDED else "good")
        reasons.append(f"The map of a frame folds in up to {100 * folded:.2g} % of the image.")
    else:
        reasons.append("No map folds anywhere.")
    worst = max(levels or ["check"], key=("good", "check", "failed").index)
    return Verdict(worst, tuple(reasons))


def write_report(
    path: str | os.PathLike[str],
    warped: WarpedFrames,
    rows: Sequence[Mapping[str, Any]],
    overall: Mapping[str, Any],
    *,
    movie: Path | None = None,
    motion: MotionSection | None = None,
) -> None:
    """Writes the page of a movie as one HTML file.

    Args:
        path: file to write, ending in ``.html``.
        warped: the movie on its reference.
        rows: figures of each frame.
        overall: figures of the movie, and how it was registered.
        movie: MP4 file that the page carries in itself.
        motion: what is said of tracks.

    Raises:
        ValueError: when the frames are not warped.
    """
    found, grid = warped.found, warped.grid
    if found is None:
        raise ValueError("warped has no maps; expected the frames on their reference")
    neighbour = "neighbours, one between theirs" if overall.get("smoothing") else "neighbour"
    flagged = {row["frame"]: FLAGS[row["flag"]].format(neighbour=neighbour) for row in rows if row["flag"] in FLAGS}
    named = ("method", "reference", "smoothing", "frames", "seconds", "std_before", "std_after", "convergence")
    page = SequencePage(
        before=_Arrays(WarpedFrames(warped.frames, None, grid)),
        after=_Arrays(warped),
        reference=np.nan_to_num(found.image.cpu().numpy()),
        spacing=grid.spacing,
        unit=grid.unit,
        title="Registered movie",
        verdict=judge_sequence(overall),
        rows=[{name: row[name] for name in (*MEASURED, "seconds") if row[name] is not None} for row in rows],
        flags=flagged,
        parameters={name: overall[name] for name in named if overall.get(name) not in (None, [], 0.0)},
        movie=movie,
        motion=motion,
    )
    write_sequence_page(path, page)


class _Arrays(Sequence[NDArray]):
    """Frames as arrays without NaN, one by one."""

    def __init__(self, frames: WarpedFrames) -> None:
        self.frames = frames

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, t: int) -> NDArray:  # type: ignore[override]
        return np.nan_to_num(self.frames[t].cpu().numpy())
