"""Charts as inline SVG, drawn in the colours of the page that carries them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup, escape

__all__ = ["box_plot", "line_chart"]

WIDTH, HEIGHT = 480.0, 200.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 12.0, 10.0, 26.0
BOX_ROW, BOX_LEFT, LETTER = 34.0, 24.0, 6.6
MOST_POINTS = 200  # values drawn one by one in a box plot


def line_chart(series: Mapping[str, Sequence[float]], *, title: str) -> Markup:
    """Curves over the frames 0, 1, 2 ...; a curve has a gap where its value is not finite.

    Args:
        series: values by name, all of one length; curve k has the class ``series-k``.
        title: what a screen reader says.

    Returns:
        An ``svg`` element with a line of class ``cursor``; ``data-left``, ``data-step`` say where frame k lies.
    """
    count = max(len(values) for values in series.values())
    ticks = _ticks([value for values in series.values() for value in values])
    step = (WIDTH - LEFT - RIGHT) / max(count - 1, 1)
    low, high = ticks[0], ticks[-1]

    def height(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)

    parts = [_open(WIDTH, HEIGHT, title, extra=f'data-left="{LEFT}" data-step="{step:.4f}"')]
    for tick in ticks:
        y = height(tick)
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:.4g}</text>')
    for frame in sorted({round(k) for k in np.linspace(0, count - 1, min(count, 6))}):
        x = LEFT + frame * step
        parts.append(f'<text class="tick" x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{frame}</text>')
    parts.append(f'<line class="cursor" x1="{LEFT}" x2="{LEFT}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
    for number, values in enumerate(series.values()):
        for run in _runs(values):
            points = [(LEFT + k * step, height(values[k])) for k in run]
            line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            parts.append(f'<polyline class="series-{number}" points="{line}"/>')
            if len(points) == 1:  # a line of one point is not seen
                x, y = points[0]
                parts.append(f'<circle class="series-{number}" cx="{x:.1f}" cy="{y:.1f}" r="2"/>')
    return Markup("".join([*parts, "</svg>"]))


def box_plot(groups: Mapping[str, Sequence[float]], *, title: str) -> Markup:
    """One row a group: quartiles as a box with the median, whiskers to the farthest value within 1.5 boxes, all values.

    Args:
        groups: values by name; those that are not finite are left out.
        title: what a screen reader says.
    """
    finite = {name: np.array([v for v in values if math.isfinite(v)]) for name, values in groups.items()}
    ticks = _ticks(np.concatenate([*finite.values(), []]).tolist())
    left = BOX_LEFT + LETTER * max(len(name) for name in groups)
    height = TOP + BOX_ROW * len(groups) + BOTTOM

    def across(value: float) -> float:
        return left + (WIDTH - RIGHT - 8 - left) * (value - ticks[0]) / (ticks[-1] - ticks[0])

    parts = [_open(WIDTH, height, title)]
    for tick in ticks:
        x = across(tick)
        parts.append(f'<line class="rule" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{height - BOTTOM}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{height - 8}" text-anchor="middle">{tick:.4g}</text>')
    for number, (name, values) in enumerate(finite.items()):
        y = TOP + BOX_ROW * (number + 0.5)
        parts.append(f'<text class="label" x="{left - 10:.1f}" y="{y + 4:.1f}" text-anchor="end">{escape(name)}</text>')
        if values.size:
            parts.append(_box([across(v) for v in np.sort(values)], y))
    return Markup("".join([*parts, "</svg>"]))


def _box(sorted_x: Sequence[float], y: float) -> str:
    """Box, whiskers and points of one row; quartiles by linear interpolation."""
    x = np.asarray(sorted_x)
    first, median, third = np.percentile(x, (25, 50, 75))
    reach = 1.5 * (third - first)
    low, high = x[x >= first - reach].min(), x[x <= third + reach].max()
    points = x if len(x) <= MOST_POINTS else x[np.linspace(0, len(x) - 1, MOST_POINTS).astype(int)]
    shifts = 7 * np.sin(2.4 * np.arange(len(points)))  # spread, so that equal values are all seen
    dots = "".join(
        f'<circle class="dot" cx="{p:.1f}" cy="{y + s:.1f}" r="1.8"/>' for p, s in zip(points, shifts, strict=True)
    )
    return (
        f'<line class="whisker" x1="{low:.1f}" x2="{high:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<rect class="box" x="{first:.1f}" y="{y - 9:.1f}" width="{max(third - first, 1):.1f}" height="18" rx="2"/>'
        f'{dots}<line class="median" x1="{median:.1f}" x2="{median:.1f}" y1="{y - 9:.1f}" y2="{y + 9:.1f}"/>'
    )


def _runs(values: Sequence[float]) -> list[list[int]]:
    """Indices of the stretches of finite values."""
    runs: list[list[int]] = [[]]
    for k, value in enumerate(values):
        if math.isfinite(value):
            runs[-1].append(k)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _ticks(values: Sequence[float]) -> list[float]:
    """About four round numbers that hold all finite values between the first and the last."""
    finite = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    span = high - low or abs(high) or 1.0
    power = 10 ** math.floor(math.log10(span / 3))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if span / step <= 4)
    first = math.floor(low / step + 1e-9)
    last = max(math.ceil(high / step - 1e-9), first + 1)
    return [round(k * step, 12) for k in range(first, last + 1)]


def _open(width: float, height: float, title: str, *, extra: str = "") -> str:
    name = escape(title)
    return f'<svg class="chart" viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{name}" {extra}>'
