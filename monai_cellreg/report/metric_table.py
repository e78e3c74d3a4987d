"""Figures of a registration as people read them: names in words, before beside after, units, few digits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["MetricRow", "chart_values", "format_value", "metric_rows", "metric_title", "metric_unit"]

TITLES = {
    "ncc": "Correlation (NCC)",
    "nmi": "Normalised mutual information",
    "mean_displacement": "Displacement, mean",
    "max_displacement": "Displacement, largest",
    "folding_fraction": "Folded share of the map",
    "coverage": "Fixed image covered by the moving one",
    "iou": "Overlap of the labels (IoU)",
    "segmentation_iou": "Overlap of the segmentation (IoU)",
    "dice": "Overlap of the labels (Dice)",
    "rtre": "Landmark error (rTRE)",
    "tre": "Landmark error (TRE)",
    "hd95": "Surface distance (HD95)",
    "map_error_px": "Error of the map",
    "rtre_median": "Landmark error (rTRE), median",
    "tre_median": "Landmark error (TRE), median",
    "seconds": "Time",
}
SHARES = {"folding_fraction", "coverage"}
LENGTHS = {"mean_displacement", "max_displacement", "tre", "tre_median", "hd95"}


@dataclass(frozen=True)
class MetricRow:
    """One line of the table; an empty string where there is no value."""

    title: str
    before: str
    after: str
    change: str


def metric_title(name: str) -> str:
    """The name of a figure in words.

    Example:
        >>> metric_title("ncc_after")
        'Correlation (NCC), after'
    """
    for when in ("before", "after"):
        if name.endswith(f"_{when}"):
            return f"{metric_title(name.removesuffix(f'_{when}'))}, {when}"
    return TITLES.get(name, name.replace("_", " "))


def metric_unit(name: str, unit: str = "") -> str:
    """The unit of :func:`chart_values`, empty for a plain number; ``unit`` is that of lengths."""
    return "%" if name in SHARES else "s" if name == "seconds" else unit if name in LENGTHS else ""


def chart_values(name: str, values: Sequence[float]) -> list[float]:
    """A figure as charts draw it: shares in per cent."""
    return [100 * value for value in values] if name in SHARES else list(values)


def format_value(name: str, value: float, unit: str = "") -> str:
    """A figure with its unit, in digits that matter.

    Example:
        >>> format_value("mean_displacement", 3.14159, "px"), format_value("coverage", 0.987), format_value("ncc", 0.9)
        ('3.14 px', '98.7 %', '0.900')
    """
    if not math.isfinite(value):
        return "not a number"
    if name in SHARES:
        return f"{100 * value:.3g} %"
    if name == "seconds":
        return f"{value:.3g} s" if value < 100 else f"{value:.0f} s"
    if name in LENGTHS:
        return f"{value:.3g} {unit}".rstrip() if abs(value) < 1000 else f"{value:.0f} {unit}".rstrip()
    return f"{value:.4f}" if 0 < abs(value) < 0.01 else f"{value:.3f}"


def metric_rows(metrics: Mapping[str, float], unit: str = "") -> list[MetricRow]:
    """The lines of the table, best known first: ``x_before`` and ``x_after`` share one, with their difference.

    Args:
        metrics: figures by name.
        unit: unit of lengths.
    """
    stems = list(dict.fromkeys(name.removesuffix("_before").removesuffix("_after") for name in metrics))
    stems.sort(key=lambda stem: list(TITLES).index(stem) if stem in TITLES else len(TITLES))
    rows = []
    for stem in stems:
        before, after = metrics.get(f"{stem}_before"), metrics.get(f"{stem}_after", metrics.get(stem))
        texts = ["" if value is None else format_value(stem, value, unit) for value in (before, after)]
        change = ""
        if before is not None and after is not None and math.isfinite(after - before):
            difference = format_value(stem, after - before, unit)
            change = difference if difference.startswith("-") else f"+{difference}"
        rows.append(MetricRow(metric_title(stem), texts[0], texts[1], change.replace("-", "\N{MINUS SIGN}")))
    return rows
