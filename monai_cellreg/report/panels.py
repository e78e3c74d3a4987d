"""Pictures in rows and columns as one PNG."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..utils import atomic_path

__all__ = ["Panel", "save_panels"]

WIDTH_INCH, DPI = 10.0, 120
GAP_INCH, TITLE_INCH, MARGIN_INCH = 0.06, 0.24, 0.3
OUTLINES = ("#ff5cff", "#3ce85a")  # fixed and moving, as in the pictures of pairs


@dataclass(frozen=True)
class Panel:
    """One picture.

    Args:
        image: (H, W).
        title: above it.
        colours: name of a colour map of matplotlib.
        limits: values of the map's first and last colour.
        outlines: masks (H, W), drawn as outlines: magenta, then green.
    """

    image: NDArray[np.floating]
    title: str = ""
    colours: str = "gray"
    limits: tuple[float, float] = (0.0, 1.0)
    outlines: Sequence[NDArray[np.bool_]] = ()


def save_panels(
    path: str | os.PathLike[str], rows: Sequence[Sequence[Panel | None]], *, names: Sequence[str] = ()
) -> None:
    """Writes a PNG of panels.

    Args:
        path: file to write, ending in ``.png``; it appears only when it is complete.
        rows: panels from left to right, as many in each row, all of one shape within a row; ``None`` leaves a gap.
        names: of the rows, written at their left; none when omitted.

    Raises:
        ValueError: for no panel, rows of different length, or names that are not as many as the rows.
    """
    lengths = {len(row) for row in rows}
    if len(lengths) != 1 or 0 in lengths or (names and len(names) != len(rows)):
        raise ValueError(
            f"rows have {[len(row) for row in rows]} panels and {len(names)} names; expected as many in each row, one "
            "or more, and a name for each row or none"
        )
    (columns,) = lengths
    left = MARGIN_INCH if names else 0.0
    panel = (WIDTH_INCH - left) / columns - GAP_INCH
    shapes = [next((p.image.shape for p in row if p is not None), (1, 1)) for row in rows]
    heights = [panel * shape[0] / shape[1] for shape in shapes]
    titles = [TITLE_INCH if any(p is not None and p.title for p in row) else 0.0 for row in rows]
    total = sum(heights) + sum(titles) + GAP_INCH * len(rows)
    figure = Figure(figsize=(WIDTH_INCH, total), dpi=DPI, facecolor="white")
    top = total
    for k, row in enumerate(rows):
        top -= titles[k] + heights[k]
        if names:
            middle = (top + heights[k] / 2) / total
            figure.text(left / 2 / WIDTH_INCH, middle, names[k], rotation=90, ha="center", va="center", fontsize=9)
        for column, shown in enumerate(row):
            if shown is not None:
                x = left + column * (panel + GAP_INCH) + GAP_INCH / 2
                box = (x / WIDTH_INCH, top / total, panel / WIDTH_INCH, heights[k] / total)
                _draw(figure.add_axes(box), shown)
        top -= GAP_INCH
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None}, pil_kwargs={"optimize": True})


def _draw(axis: Axes, panel: Panel) -> None:
    low, high = panel.limits
    axis.imshow(panel.image, cmap=panel.colours, vmin=low, vmax=high, interpolation="nearest")
    for mask, colour in zip(panel.outlines, OUTLINES, strict=False):
        if mask.any() and not mask.all():
            axis.contour(mask, levels=[0.5], colors=[colour], linewidths=1.2)
    axis.set_title(panel.title, fontsize=10, pad=3)
    axis.axis("off")
