"""The tables of the benchmark of nuclei as Markdown, which also reads well on a terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from .markdown import markdown_table
from .nuclei_networks import TABLES
from .nuclei_summary import NucleiSummary, Score

__all__ = ["nuclei_tables"]

Column = tuple[str, Callable[[NucleiSummary], str]]


def nuclei_tables(lines: Sequence[NucleiSummary], notes: Sequence[str] = ()) -> str:
    """All tables, each with the order of its methods here and in the paper; columns that nothing fills are left out.

    Args:
        lines: as :func:`~monai_cellreg.benchmarks.nuclei_summary.summarise_nuclei` gives them.
        notes: sentences that follow the tables.
    """
    parts = []
    for heading in TABLES:
        table = [line for line in lines if line.table == heading]
        if table:
            parts += [f"## {heading}", markdown_table(_columns(table)), *_remarks(table)]
    return "\n\n".join([*parts, *notes]) + "\n"


def _columns(lines: Sequence[NucleiSummary]) -> dict[str, list[str]]:
    return {head: [cell(line) for line in lines] for head, cell in COLUMNS}


def _remarks(lines: Sequence[NucleiSummary]) -> list[str]:
    """The order of the methods that the paper has, the gains seed by seed, and failures."""
    known = [line for line in lines if line.paper_iou is not None]
    remarks = []
    if len(known) > 1:
        paper = sorted(known, key=lambda line: line.paper_iou or 0.0)
        here = sorted(known, key=lambda line: line.iou.mean)
        order = " < ".join(line.method for line in here)
        same = [line.method for line in paper] == [line.method for line in here]
        remarks.append(f"Order on the films: {order}; {'as' if same else 'not as'} in the paper.")
    for above, line in zip(lines, lines[1:], strict=False):
        for where, score in (("the films", line.iou), ("made pairs", line.made_iou)):
            if score is not None and score.gain_by_seed:
                gains = " / ".join(f"{gain:+.4f}" for gain in score.gain_by_seed)
                text = f"{line.method} above {above.method} on {where}, seed by seed: {gains}"
                remarks.append(f"{text}; mean {score.gain:+.4f}, {_p(score)}, {score.units} units.")
        if line.failed:
            remarks.append(f"{line.method} gave no map for {line.failed} of {line.frames} frames: unregistered.")
    return remarks


def _number(value: float | None, digits: str = ".3f") -> str:
    return "" if value is None or math.isnan(value) else format(value, digits)


def _spread(score: Score | None) -> str:
    if score is None:
        return ""
    return _number(score.mean) + ("" if math.isnan(score.std) else f" ± {score.std:.3f}")


def _p(score: Score | None) -> str:
    if score is None or math.isnan(score.p_value):
        return ""
    return f"p = {score.p_value:.2g}"


COLUMNS: Sequence[Column] = (
    ("method", lambda line: line.method),
    ("paper", lambda line: _number(line.paper_iou)),
    ("IoU", lambda line: _spread(line.iou)),
    ("to the one above", lambda line: _p(line.iou)),
    ("IoU, made pairs", lambda line: _spread(line.made_iou)),
    ("to the one above, made pairs", lambda line: _p(line.made_iou)),
    ("segmentation in the paper", lambda line: _number(line.paper_segmentation_iou)),
    ("segmentation IoU", lambda line: _spread(line.segmentation_iou)),
    ("segmentation IoU, made pairs", lambda line: _spread(line.made_segmentation_iou)),
    ("seeds", lambda line: str(line.seeds) if line.seeds > 1 else ""),
    ("folding", lambda line: _number(line.folding_fraction, ".2g")),
    ("s a frame", lambda line: _number(line.seconds, ".2g")),
    ("of elastix's time", lambda line: _number(line.of_elastix, ".2g")),
)
