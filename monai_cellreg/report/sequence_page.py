"""The page of a registered movie."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from ..utils import format_shape
from .charts import line_chart
from .metric_table import chart_values, format_value, metric_title, metric_unit
from .motion import MotionSection
from .pictures import Mosaic, colour_overlay, display_range, luminance, media_uri, to_display
from .planes import Plane, fitted
from .rendering import write_page
from .verdict import Verdict

__all__ = ["SequencePage", "write_sequence_page"]

LAYERS = {
    "before": "before",
    "after": "after",
    "reference": "reference",
    "overlay_before": "overlay before",
    "overlay_after": "overlay after",
    "mean_before": "mean of all frames, before",
    "mean_after": "mean of all frames, after",
}
MOST_FRAMES, LONGEST, LONGEST_MEAN = 120, 320, 1000


@dataclass(frozen=True)
class SequencePage:
    """What the page shows. Frames, stabilised frames and the reference lie on one grid.

    Args:
        before: frames (C, *spatial) in their order, one or three channels; of volumes the middle slice is shown. Any
            sequence will do, also one that reads frames when they are asked for; each is asked for once.
        after: frames brought onto the reference.
        reference: what the frames were registered to (C, *spatial).
        spacing: distance of pixel centres along each axis; 1 when omitted.
        unit: unit of the spacing and of lengths in ``rows``.
        title: heading of the page.
        verdict: stands at the top.
        rows: figures of each frame by name, drawn as curves; ``x_before`` and ``x_after`` share a chart.
        flags: what is to be said of a frame, by its number, such as why its registration was refused.
        parameters: what the registration was asked to do.
        account: what the method did and why, a sentence each.
        movie: an MP4 file to carry inside the page, or none.
        motion: what is said of structures that were followed, or none.

    Raises:
        ValueError: if numbers or shapes do not fit.
    """

    before: Sequence[NDArray]
    after: Sequence[NDArray]
    reference: NDArray
    spacing: Sequence[float] = ()
    unit: str = "px"
    title: str = "Registered movie"
    verdict: Verdict | None = None
    rows: Sequence[Mapping[str, float]] = ()
    flags: Mapping[int, str] = field(default_factory=dict)
    parameters: Mapping[str, object] = field(default_factory=dict)
    account: Sequence[str] = ()
    movie: str | os.PathLike[str] | None = None
    motion: MotionSection | None = None

    def __post_init__(self) -> None:
        counts = {"after": len(self.after), **({"rows": len(self.rows)} if self.rows else {})}
        for name, count in counts.items():
            if count != len(self.before) or not count:
                raise ValueError(
                    f"{name} has {count} entries, expected {len(self.before)}, one a frame and at least one; give all"
                )
        shape = self.reference.shape
        if len(shape) not in (3, 4):
            raise ValueError(
                f"reference has shape {format_shape(shape)}, expected (C, H, W) or (C, D, H, W); add an axis"
            )
        object.__setattr__(self, "spacing", tuple(float(s) for s in self.spacing) or (1.0,) * (len(shape) - 1))


def write_sequence_page(path: str | os.PathLike[str], page: SequencePage) -> None:
    """Writes the page as one HTML file that needs no network; it appears only when it is complete.

    Args:
        path: file to write, ending in ``.html``.
        page: what to show.

    Raises:
        ValueError: if ``path`` does not end in ``.html``.
    """
    write_page(path, "sequence.html", _context(page))


def _context(page: SequencePage) -> dict[str, Any]:
    count = len(page.before)
    shown = np.unique(np.linspace(0, count - 1, min(count, MOST_FRAMES)).round().astype(int)).tolist()
    frames, means = _planes(page, shown)
    names = list(dict.fromkeys(name for row in page.rows for name in row))
    return {
        "page": page,
        "planes": [frames],
        "means": means,
        "captions": LAYERS,
        "shown": shown,
        "charts": _charts(page, names),
        "heads": [metric_title(name) for name in names],
        "table": [[_cell(name, row, page.unit) for name in names] for row in page.rows],
        "movie": media_uri("video/mp4", Path(page.movie).read_bytes()) if page.movie is not None else "",
    }


def _planes(page: SequencePage, shown: Sequence[int]) -> tuple[Plane, Plane]:
    """The frames as a stack that is played, and the means over all frames before and after."""
    reference = _flat(page.reference)
    rows, columns = reference.shape[1:]
    size = fitted((rows, columns), LONGEST)
    read = {name: _read(page, name, shown, size) for name in ("before", "after")}
    limits = display_range(np.stack(read["before"][0]))
    still = _shrunk(reference, size)
    own_limits = display_range(reference)
    grey = to_display(luminance(still)[None], own_limits)
    stacks = {name: [to_display(frame, limits) for frame in frames] for name, (frames, _) in read.items()}
    stacks["reference"] = [to_display(still, own_limits)] * len(shown)
    for name, (frames, _) in read.items():
        moved = [to_display(luminance(frame)[None], limits) for frame in frames]
        stacks[f"overlay_{name}"] = [colour_overlay(grey, one) for one in moved]
    layers = {name: Mosaic.of(np.stack(stack)) for name, stack in stacks.items()}
    note = "" if size == (rows, columns) else f"shown at {size[1]} × {size[0]} of {columns} × {rows} pixels"
    aspect = columns * page.spacing[-1] / (rows * page.spacing[-2])
    means = {
        f"mean_{name}": Mosaic.of(to_display(_shrunk(mean, fitted((rows, columns), LONGEST_MEAN)), limits)[None])
        for name, (_, mean) in read.items()
    }
    return Plane("time", "frame", aspect, tuple(shown), layers, note), Plane("mean", "", aspect, (0,), means)


def _read(page: SequencePage, name: str, shown: Sequence[int], size: tuple[int, int]) -> tuple[list[NDArray], NDArray]:
    """The shown frames (C, *size), and the mean of all that are finite (C, H, W); each frame is asked for once.

    Raises:
        ValueError: if a frame does not fit the reference.
    """
    source, frames, total, count = getattr(page, name), [], np.zeros(()), 0
    for number in range(len(source)):
        frame = source[number]
        if frame.shape[1:] != page.reference.shape[1:]:
            raise ValueError(
                f"{name}[{number}] has shape {format_shape(frame.shape)}, expected "
                f"{format_shape(page.reference.shape)} as the reference; resample it to the grid of the reference"
            )
        flat = _flat(frame)
        if number in shown:
            frames.append(_shrunk(flat, size))
        if np.isfinite(flat).all():
            total, count = total + flat, count + 1
    return frames, np.broadcast_to(total / max(count, 1), flat.shape).astype(np.float32)


def _flat(frame: NDArray) -> NDArray:
    """The middle slice (C, H, W) of a volume, or the picture itself."""
    return frame if frame.ndim == 3 else frame[:, frame.shape[1] // 2]


def _shrunk(frame: NDArray, size: tuple[int, int]) -> NDArray:
    """A frame (C, H, W) at another size, in its own number type; each pixel is the mean of those it covers."""
    if frame.shape[1:] == size:
        return frame
    channels = [Image.fromarray(np.asarray(c, np.float32)).resize(size[::-1], Image.Resampling.BOX) for c in frame]
    means = np.stack([np.asarray(channel) for channel in channels])
    return (np.rint(means) if frame.dtype.kind in "iu" else means).astype(frame.dtype)


def _charts(page: SequencePage, names: Sequence[str]) -> list[tuple[str, list[str], Markup]]:
    """Heading, names of the curves and drawing of each figure."""
    charts = []
    for stem in dict.fromkeys(map(_stem, names)):
        curves = {name.removeprefix(f"{stem}_"): name for name in names if _stem(name) == stem}
        values = {label: [row.get(name, float("nan")) for row in page.rows] for label, name in curves.items()}
        labels = list(curves) if len(curves) > 1 else []
        values = {label: chart_values(stem, curve) for label, curve in values.items()}
        unit = metric_unit(stem, page.unit)
        heading = f"{metric_title(stem)} in {unit}" if unit else metric_title(stem)
        charts.append((heading, labels, line_chart(values, title=f"{heading}, by frame")))
    return charts


def _cell(name: str, row: Mapping[str, float], unit: str) -> tuple[object, str]:
    """A figure as what it is sorted by and what is read."""
    return (row[name], format_value(_stem(name), row[name], unit)) if name in row else ("", "")


def _stem(name: str) -> str:
    return name.removesuffix("_before").removesuffix("_after")
