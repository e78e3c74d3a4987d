"""What is to be thought of a registration, from its figures alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from torch import Tensor

from ..geometry import Pair, RegisteredTransform
from ..report import Verdict, format_value, metric_title

__all__ = ["Registered", "judge"]

SIMILARITIES = {"ncc": 0.005, "nmi": 0.002}  # change that counts as one
OVERLAPS = {"iou": 0.005, "dice": 0.005}
FOLDED_TO_CHECK, FOLDED_TO_FAIL = 0.001, 0.02
COVERED_TO_CHECK, COVERED_TO_FAIL = 0.5, 0.05
GAVE_UP = "the identity is returned"  # in the account of a method that found nothing better than no registration
DOUBTED = "they may not belong together"  # in the account of a method that sees little in common at the end
FAR = 0.25  # largest displacement as a share of the image's diagonal


class Registered(Protocol):
    """A finished registration; see :class:`~monai_cellreg.methods.Registration`."""

    @property
    def transform(self) -> RegisteredTransform:
        """Fixed to moving world points."""

    @property
    def warped(self) -> Tensor | np.ndarray:
        """The moving image on the fixed grid."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """Figures by name."""

    @property
    def pair(self) -> Pair:
        """What was registered."""

    @property
    def method(self) -> str:
        """Name of the method."""

    @property
    def account(self) -> tuple[str, ...]:
        """What the method did, a sentence each."""


def judge(registration: Registered) -> Verdict:
    """A plain verdict on a registration: similarity gained or lost, folding, reach and covered field of view.

    It fails what is worse than no registration at all, folds widely, hardly overlaps or is not finite; it asks for a
    closer look where the method itself doubts, figures contradict each other, nothing was gained, the map folds
    anywhere much, reaches far or leaves half of the fixed image without a counterpart.

    Args:
        registration: its ``metrics`` and ``account`` are read, and the size of the fixed image.

    Returns:
        The level with a sentence for each figure that it rests on, the gravest first.
    """
    metrics = registration.metrics
    wrong = [metric_title(name) for name, value in metrics.items() if not math.isfinite(value)]
    if wrong:
        return Verdict("failed", (f"Not a number: {', '.join(wrong)}.",))
    grid = registration.pair.fixed_grid
    diagonal = math.hypot(*(n * s for n, s in zip(grid.shape, grid.spacing, strict=True)))
    findings = [
        *_doubts(registration.account),
        _similarity(metrics),
        _labels(metrics),
        _folding(metrics),
        _reach(metrics, diagonal, grid.unit),
        _coverage(metrics),
    ]
    said = sorted((f for f in findings if f is not None), key=lambda f: -GRAVITY.index(f[0]))
    return Verdict(said[0][0] if said else "check", tuple(sentence for _, sentence in said))


GRAVITY = ("good", "check", "failed")
Finding = tuple[str, str] | None
"""A level and the sentence that says why; None where the figure is missing."""


def _changes(metrics: Mapping[str, float], tolerances: Mapping[str, float]) -> tuple[list[int], str]:
    """Whether each figure rose (1), stayed (0) or fell (-1), and all of them as text.

    A correlation that is negative before and after counts by its size: images of opposite contrast have it when
    aligned. One that becomes negative has fallen.
    """
    signs, texts = [], []
    for name, tolerance in tolerances.items():
        if f"{name}_before" in metrics and f"{name}_after" in metrics:
            before, after = metrics[f"{name}_before"], metrics[f"{name}_after"]
            gain = before - after if max(before, after) < 0 else after - before
            signs.append(0 if abs(gain) < tolerance else int(math.copysign(1, gain)))
            title = metric_title(name)[0].lower() + metric_title(name)[1:]
            texts.append(f"{title} {format_value(name, before)} → {format_value(name, after)}")
    return signs, ", ".join(texts)


def _doubts(account: Sequence[str]) -> list[Finding]:
    """The method's own: it gave up, or the images may have nothing to do with each other."""
    return [("check", sentence) for sentence in account if GAVE_UP in sentence or DOUBTED in sentence]


def _similarity(metrics: Mapping[str, float]) -> Finding:
    signs, text = _changes(metrics, SIMILARITIES)
    if not signs:
        return "check", "The similarity before the registration is not known, so a gain cannot be shown."
    if min(signs) < 0 < max(signs):
        return "check", f"The similarities contradict each other: {text}."
    if min(signs) < 0:
        return "failed", f"The images agree less than without any registration: {text}."
    if max(signs) > 0:
        return "good", f"The images agree better: {text}."
    return "check", f"The images agree as well as before, no better: {text}. Were they aligned already?"


def _labels(metrics: Mapping[str, float]) -> Finding:
    signs, text = _changes(metrics, OVERLAPS)
    if not signs:
        return None
    if min(signs) < 0:
        return "failed", f"The labels overlap less than before: {text}."
    return "good", f"The labels overlap {'better' if max(signs) else 'as before'}: {text}."


def _folding(metrics: Mapping[str, float]) -> Finding:
    if "folding_fraction" not in metrics:
        return None
    folded = metrics["folding_fraction"]
    if folded == 0:
        return "good", "The map does not fold anywhere."
    text = f"The map folds in {format_value('folding_fraction', folded)} of the image, which no tissue or cell does."
    return "failed" if folded > FOLDED_TO_FAIL else "check" if folded > FOLDED_TO_CHECK else "good", text


def _reach(metrics: Mapping[str, float], diagonal: float, unit: str) -> Finding:
    if "max_displacement" not in metrics:
        return None
    share = metrics["max_displacement"] / diagonal
    largest = format_value("max_displacement", metrics["max_displacement"], unit)
    percent = np.format_float_positional(100 * share, precision=2, fractional=False, trim="-")
    far = f"{largest}, {percent} % of the image's diagonal"
    if share > FAR:
        return "check", f"Points move as far as {far}: plausible only if the images were that far apart."
    return "good", f"No point moves farther than {far}."


def _coverage(metrics: Mapping[str, float]) -> Finding:
    if "coverage" not in metrics:
        return None
    text = f"The moving image covers {format_value('coverage', metrics['coverage'])} of the fixed one"
    if metrics["coverage"] < COVERED_TO_CHECK:
        level = "failed" if metrics["coverage"] < COVERED_TO_FAIL else "check"
        return level, f"{text}; nothing can be said of the rest."
    return "good", f"{text}."
