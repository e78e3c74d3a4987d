"""Learning curves as a picture."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..utils import atomic_path

__all__ = ["save_curves"]

SIZE_INCH, DPI = (8.0, 4.5), 120
COLOURS = "tab10"
STYLES = ("-", "--", ":")  # where there are more curves than colours


def save_curves(
    path: str | os.PathLike[str], curves: Mapping[str, Mapping[int, float]], *, across: str, up: str
) -> None:
    """Writes a PNG with one curve a name; the legend has the order in which the curves end.

    Args:
        path: file to write, ending in ``.png``; it appears only when it is complete.
        curves: by name, places along the axis to values; those that are not finite are left out.
        across: what the places are.
        up: what the values are.

    Raises:
        ValueError: when there is no finite value.
    """
    points = {name: sorted((x, y) for x, y in curve.items() if np.isfinite(y)) for name, curve in curves.items()}
    points = {name: found for name, found in points.items() if found}
    if not points:
        raise ValueError(f"curves of {list(curves)} have no finite value; expected one or more, from a training's log")
    figure = Figure(figsize=SIZE_INCH, dpi=DPI, facecolor="white", layout="constrained")
    axis = figure.subplots()
    palette = colormaps[COLOURS].colors  # type: ignore[attr-defined]  # of a listed colour map
    order = sorted(points, key=lambda name: points[name][-1][1], reverse=True)  # as the curves end, highest first
    for name in order:
        number = list(points).index(name)
        colour, style = palette[number % len(palette)], STYLES[number // len(palette) % len(STYLES)]
        x, y = zip(*points[name], strict=True)
        axis.plot(x, y, color=colour, linestyle=style, marker="." if len(x) < 20 else None, label=name)
    axis.set(xlabel=across, ylabel=up)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(color="0.9")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None}, pil_kwargs={"optimize": True})
