"""The picture of a registration: what was aligned, how far off it was, how well it fits now, and by which map."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..utils import atomic_path, format_shape

__all__ = ["PairPicture", "iou_table", "save_before_after"]

TITLES = ("fixed", "moving", "before", "after", "deformation")
FIXED_COLOUR, MOVING_COLOUR = "#ff5cff", "#3ce85a"
HEADING_COLOURS = ("#c000b0", "#0b8a2a", "black", "black", "black")
WIDTH_INCH, DPI = 10.0, 120
MARGIN, TITLE_INCH, CAPTION_INCH = 0.05, 0.32, 0.32


@dataclass(frozen=True)
class PairPicture:
    """What is drawn of one registered pair.

    Convention: ``displacement_vox`` takes pixels of the fixed image to pixels of the moving image, rows before columns.

    Attributes:
        fixed: fixed image (H, W), in [0, 1].
        moving: moving image (H, W), in [0, 1].
        warped: moving image pulled onto the fixed one (H, W), in [0, 1].
        displacement_vox: displacement (2, H, W) in pixels.
        fixed_mask: segmentation of the fixed image (H, W), above 0.5 inside.
        moving_mask: segmentation of the moving image (H, W).
        warped_mask: segmentation of the moving image, pulled onto the fixed one (H, W).
        name: caption of the pair.

    Raises:
        ValueError: if an array does not fit ``fixed``.
    """

    fixed: NDArray[np.floating]
    moving: NDArray[np.floating]
    warped: NDArray[np.floating]
    displacement_vox: NDArray[np.floating]
    fixed_mask: NDArray[np.floating]
    moving_mask: NDArray[np.floating]
    warped_mask: NDArray[np.floating]
    name: str

    def __post_init__(self) -> None:
        if self.fixed.ndim != 2:
            shape = format_shape(self.fixed.shape)
            raise ValueError(f"fixed has shape {shape}, expected HxW; drop batch and channel axes")
        for entry in fields(self):
            value = getattr(self, entry.name)
            expected = (2, *self.fixed.shape) if entry.name == "displacement_vox" else self.fixed.shape
            if entry.name != "name" and value.shape != expected:
                raise ValueError(
                    f"{entry.name} has shape {format_shape(value.shape)}, expected {format_shape(expected)} because "
                    f"fixed is {format_shape(self.fixed.shape)}; drop batch and channel axes, resample to fixed"
                )

    @property
    def iou_before(self) -> float:
        """Intersection over union of the fixed and the moving segmentation."""
        return _iou(self.fixed_mask, self.moving_mask)

    @property
    def iou_after(self) -> float:
        """Intersection over union of the fixed and the warped segmentation."""
        return _iou(self.fixed_mask, self.warped_mask)


def _iou(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Intersection over union of two masks; not a number if both are empty."""
    union = np.count_nonzero((first > 0.5) | (second > 0.5))
    return np.count_nonzero((first > 0.5) & (second > 0.5)) / union if union else float("nan")


def save_before_after(
    path: str | os.PathLike[str], pairs: Sequence[PairPicture], *, titles: Sequence[str] = TITLES
) -> None:
    """Write a PNG with one row a pair: fixed, moving, overlay before, overlay after, and the deformed grid.

    In the overlays the fixed image is magenta and the moving one green, so that agreement is white; the outlines are
    those of the segmentations. The grid shows where straight lines of the fixed image lie in the moving one.

    Args:
        path: file to write, ending in ``.png``; it appears only when it is complete.
        pairs: at least one pair; sizes may differ.
        titles: five headings, one a column.

    Raises:
        ValueError: if there is no pair, if there are not five titles, or if ``path`` does not end in ``.png``.
    """
    if not str(path).lower().endswith(".png"):
        raise ValueError(f"path is {str(path)!r}, expected a name that ends in .png; rename the picture")
    if not pairs:
        raise ValueError("pairs is empty, expected at least one registered pair; register a pair first")
    if len(titles) != len(TITLES):
        raise ValueError(f"titles has {len(titles)} entries, expected {len(TITLES)}, one a column: {', '.join(TITLES)}")
    panel = WIDTH_INCH / len(TITLES)
    heights = [panel * pair.fixed.shape[0] / pair.fixed.shape[1] + CAPTION_INCH for pair in pairs]
    figure = Figure(figsize=(WIDTH_INCH, TITLE_INCH + sum(heights)), dpi=DPI, facecolor="white")
    top = sum(heights)
    for row, (pair, height) in enumerate(zip(pairs, heights, strict=True)):
        top -= height
        box = {"bottom": top + CAPTION_INCH, "height": height - CAPTION_INCH}
        axes = [_add_panel(figure, column, **box) for column in range(len(TITLES))]
        _draw_row(axes, pair)
        if row == 0:
            for axis, title, colour in zip(axes, titles, HEADING_COLOURS, strict=True):
                axis.set_title(title, fontsize=12, pad=5, color=colour)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None}, pil_kwargs={"optimize": True})


def _add_panel(figure: Figure, column: int, *, bottom: float, height: float) -> Axes:
    """An empty panel; lengths in inches from the lower left corner."""
    width, total = figure.get_size_inches()
    panel = width / len(TITLES)
    box = ((column * panel + MARGIN / 2) / width, bottom / total, (panel - MARGIN) / width, height / total)
    axis = figure.add_axes(box)
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)
    return axis


def _draw_row(axes: Sequence[Axes], pair: PairPicture) -> None:
    fixed, moving, before, after, grid = axes
    _show(fixed, pair.fixed)
    _show(moving, pair.moving)
    for axis, image, mask in ((before, pair.moving, pair.moving_mask), (after, pair.warped, pair.warped_mask)):
        axis.imshow(_overlay(pair.fixed, image), interpolation="bilinear")
        _outline(axis, mask, MOVING_COLOUR)
        _outline(axis, pair.fixed_mask, FIXED_COLOUR)
    _show(grid, 0.6 * pair.moving)
    _draw_grid(grid, pair.displacement_vox)
    gain = pair.iou_after - pair.iou_before
    nucleus = pair.fixed_mask > 0.5
    farthest = float(np.hypot(*pair.displacement_vox)[nucleus if nucleus.any() else ...].max())
    fixed.set_xlabel(pair.name, fontsize=10, labelpad=4, loc="left")
    if np.isfinite(gain):  # else nothing is segmented
        before.set_xlabel(f"IoU {pair.iou_before:.3f}", fontsize=11, labelpad=4)
        after.set_xlabel(f"→ {pair.iou_after:.3f}  ({gain:+.3f})", fontsize=11, labelpad=4, fontweight="bold")
    grid.set_xlabel(f"moved up to {farthest:.1f} px", fontsize=10, labelpad=4)


def _show(axis: Axes, image: NDArray[np.floating]) -> None:
    axis.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="bilinear")


def _overlay(fixed: NDArray[np.floating], moving: NDArray[np.floating]) -> NDArray[np.floating]:
    """Fixed in magenta and moving in green as (H, W, 3)."""
    return np.clip(np.stack([fixed, moving, fixed], axis=-1), 0, 1)


def _outline(axis: Axes, mask: NDArray[np.floating], colour: str) -> None:
    inside = mask > 0.5
    if inside.any() and not inside.all():
        axis.contour(inside, levels=[0.5], colors=[colour], linewidths=1.2)


def _draw_grid(axis: Axes, displacement_vox: NDArray[np.floating]) -> None:
    """Lines of the fixed image as they lie in the moving one, the brighter the farther they have moved."""
    rows, columns = displacement_vox.shape[1:]
    mapped = np.moveaxis(np.indices((rows, columns)) + displacement_vox, 0, -1)[..., ::-1]  # (H, W, 2) as x, y
    length = np.hypot(*displacement_vox)
    step = max(1, min(rows, columns) // 14)
    lines = [(mapped[r], length[r]) for r in range(step // 2, rows, step)]
    lines += [(mapped[:, c], length[:, c]) for c in range(step // 2, columns, step)]
    segments = np.concatenate([np.stack([line[:-1], line[1:]], axis=1) for line, _ in lines])
    shades = np.concatenate([(value[:-1] + value[1:]) / 2 for _, value in lines])
    collection = LineCollection(list(segments), array=shades, cmap="plasma", linewidths=1.1, capstyle="round")
    longest = max(float(length.max()), 1e-6)
    collection.set_clim(-0.7 * longest, longest)  # leaves out the darkest colours
    axis.add_collection(collection, autolim=False)


def iou_table(rows: Sequence[Mapping[str, str | float]]) -> str:
    """An aligned plain-text table with a row of means, of what is not NaN, below two or more rows.

    Args:
        rows: at least one row; all rows have the keys of the first, which head the columns. Numbers get three decimals.

    Returns:
        The table, without a final line break.

    Raises:
        ValueError: if there is no row or if the keys differ.

    Example:
        >>> first, second = {"name": "a", "before": 0.87, "after": 0.95}, {"name": "b", "before": 0.89, "after": 0.97}
        >>> print(iou_table([first, second]))
        name  before  after
        a      0.870  0.950
        b      0.890  0.970
        mean   0.880  0.960
    """
    if not rows:
        raise ValueError("rows is empty, expected at least one row of results; register a pair first")
    heads = list(rows[0])
    for index, row in enumerate(rows):
        if list(row) != heads:
            raise ValueError(f"row {index} has columns {list(row)}, expected {heads} as row 0; give all rows the same")
    body = [[_cell(row[head]) for head in heads] for row in rows]
    if len(rows) > 1:
        body.append([_mean_cell([row[head] for row in rows]) for head in heads])
        body[-1][0] = "mean"
    widths = [max(len(head), *(len(line[k]) for line in body)) for k, head in enumerate(heads)]
    is_text = [isinstance(rows[0][head], str) for head in heads]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if text else cell.rjust(width)
            for cell, width, text in zip(line, widths, is_text, strict=True)
        ).rstrip()
        for line in [heads, *body]
    )


def _cell(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.3f}"


def _mean_cell(values: Sequence[str | float]) -> str:
    numbers = [value for value in values if not isinstance(value, str)]
    known = [value for value in numbers if not np.isnan(value)]
    return _cell(float(np.mean(known)) if known else np.nan) if numbers else ""
