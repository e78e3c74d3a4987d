"""Tracks of structures before and after registration: the picture, and what a page says of them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .charts import line_chart
from .pictures import display_range, media_uri, to_display

__all__ = ["MotionPicture", "MotionSection", "draw_motion"]

WIDTH_INCH, TITLE_INCH, DPI = 10.0, 0.32, 130
COLOURS, PALENESS = "hsv", 0.35  # pale colours are seen on dark ground
DARK = 0.75  # of the image below the tracks, so that they stand out
MOST_ROWS = 500

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MotionPicture:
    """What is drawn.

    Args:
        images: mean image before and after registration, each (C, H, W).
        tracks: of each track its points before and after, each (n, 2) in pixels, rows before columns.
        spacing: distance of pixels along rows and columns.
    """

    images: tuple[NDArray, NDArray]
    tracks: Sequence[tuple[Floats, Floats]]
    spacing: tuple[float, float]


@dataclass(frozen=True)
class MotionSection:
    """What a page says of tracks. Pairs of numbers are before and after.

    Args:
        picture: PNG file of :func:`draw_motion`.
        rows: of each track its name, number of points, path length and net displacement.
        msd: mean squared displacement (2, L) of all tracks, for the lags 1 to L.
        unit: of lengths.
        untrusted: how many points lie in frames that could not be registered.
    """

    picture: bytes
    rows: Sequence[tuple[str, int, tuple[float, float], tuple[float, float]]]
    msd: Floats
    unit: str
    untrusted: int = 0

    @property
    def uri(self) -> str:
        """The picture as a data URI."""
        return media_uri("image/png", self.picture)

    @property
    def chart(self) -> Markup:
        """Mean squared displacement against the lag."""
        curves = {name: [0.0, *values] for name, values in zip(("before", "after"), self.msd.tolist(), strict=True)}
        return line_chart(curves, title=self.heading)

    @property
    def heading(self) -> str:
        """Of the chart."""
        return f"Mean squared displacement in {self.unit}², by lag in frames"

    @property
    def shown(self) -> Sequence[tuple[str, int, tuple[float, float], tuple[float, float]]]:
        """The first rows."""
        return self.rows[:MOST_ROWS]


def draw_motion(picture: MotionPicture) -> bytes:
    """Tracks over the mean image, before | after, as a PNG file; a point marks the start of each track."""
    rows, columns = picture.images[0].shape[1:]
    aspect = picture.spacing[0] / picture.spacing[1]
    height = WIDTH_INCH / 2 * rows * aspect / columns + TITLE_INCH
    figure = Figure(figsize=(WIDTH_INCH, height), dpi=DPI, facecolor="white")
    top = 1 - TITLE_INCH / height
    figure.subplots_adjust(left=0, right=1, bottom=0, top=top, wspace=0.01)
    limits = display_range(np.nan_to_num(picture.images[1]))
    axes = figure.subplots(1, 2)
    for k, (axis, title) in enumerate(zip(axes, ("before", "after"), strict=True)):
        shown = to_display(picture.images[k], limits) * DARK
        axis.imshow(shown.astype(np.uint8), cmap="gray", vmin=0, vmax=255, aspect=aspect)
        _draw_tracks(axis, [track[k] for track in picture.tracks])
        axis.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5), xticks=[], yticks=[])
        axis.set_title(title, fontsize=12)
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def _draw_tracks(axis: Axes, tracks: Sequence[Floats]) -> None:
    """Each track in a colour of its own."""
    shades = colormaps[COLOURS](np.arange(len(tracks)) * 0.618 % 1)[:, :3]  # neighbours in the list differ most
    shades = PALENESS + (1 - PALENESS) * shades
    for points, colour in zip(tracks, shades, strict=True):
        axis.plot(points[:, 1], points[:, 0], color=colour, linewidth=1.3, solid_joinstyle="round")
        axis.plot(points[:1, 1], points[:1, 0], color=colour, marker="o", markersize=3.5, markeredgecolor="white")
