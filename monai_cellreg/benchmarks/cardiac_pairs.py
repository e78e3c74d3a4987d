"""Pairs of end diastole and end systole of one slice, and how well their labels lie on each other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..data.cine_slice import LV_CAVITY, LV_MYOCARDIUM, CineSlice
from ..geometry import Pair, SpatialTransform, resample
from ..methods.evaluate import Evaluation, label_scores, map_scores
from ..transforms import normalise
from ..utils import plain
from .cases_scores import image_correlation
from .journal import Row
from .paired import PairedCase

__all__ = ["SCORES", "heart_pairs", "heart_scores", "held_out_slices", "scored_labels"]

LEAST_PIXELS = 20  # of a label on both phases
SCORES = ("dice", "hd95", "msd", "folding_fraction", "ncc")


def held_out_slices(slices: Sequence[CineSlice], held_out: int) -> list[CineSlice]:
    """The slices of the last patients in the order of their names, whom a training with that ``held_out`` leaves out.

    Raises:
        ValueError: for no patient, or more than there are.
    """
    patients = sorted({one.patient for one in slices})
    if not 1 <= held_out <= len(patients):
        raise ValueError(
            f"held_out is {held_out} but the data has {len(patients)} patients; expected 1 to {len(patients)} whose "
            "slices are registered, and others to train on unless all networks have weights"
        )
    tested = set(patients[-held_out:])
    return [one for one in slices if one.patient in tested]


def scored_labels(slices: Sequence[CineSlice], labels: Sequence[int] | None = None) -> tuple[int, ...]:
    """The labels that are scored: those asked for, or the myocardium, or the cavity where no slice has a pair of that.

    Raises:
        ValueError: when no slice has one of them on both phases.
    """
    for wanted in [tuple(labels)] if labels else [(LV_MYOCARDIUM,), (LV_CAVITY,)]:
        if any(_common_labels(one, wanted) for one in slices):
            return wanted
    asked = list(labels) if labels else [LV_MYOCARDIUM, LV_CAVITY]
    raise ValueError(
        f"none of {len(slices)} slices has one of the labels {asked} with {LEAST_PIXELS} pixels or more at end "
        "diastole and at end systole; expected one or more to score: choose other labels, or another held_out"
    )


def _common_labels(one: CineSlice, labels: Sequence[int]) -> list[int]:
    """Those of the labels that are large enough on both phases."""
    if one.ed is None or one.es is None or not {one.ed, one.es} <= set(one.labels):
        return []
    phases = one.labels[one.ed], one.labels[one.es]
    return [k for k in labels if all(int((phase == k).sum()) >= LEAST_PIXELS for phase in phases)]


def heart_pairs(name: str, slices: Sequence[CineSlice], labels: Sequence[int]) -> PairedCase:
    """End diastole to end systole, and back, of every slice that has one of the labels on both.

    Args:
        name: of the data.
        slices: of the patients who are tested.
        labels: that are scored; others are left out of the pairs.
    """
    pairs: dict[str, Pair] = {}
    groups: dict[str, str] = {}
    for one in slices:
        common = _common_labels(one, labels)
        if not common:
            continue
        assert one.ed is not None and one.es is not None
        for fixed, moving, order in ((one.ed, one.es, "ED-ES"), (one.es, one.ed, "ES-ED")):
            key = f"{one.patient} slice {one.slice_number:02d} {order}"
            pairs[key], groups[key] = _pair(one, fixed, moving, common), one.patient
    return PairedCase(name, pairs, groups, heart_scores)


def _pair(one: CineSlice, fixed: int, moving: int, labels: Sequence[int]) -> Pair:
    """Two time points, scaled to [0, 1], with the labels that count."""
    images = one.images[[fixed, moving]]
    one_by_one = 0 <= float(images.min()) and float(images.max()) <= 1  # stored so, each by its own range
    scaled = normalise(images[:, None] if one_by_one else images[None]).reshape(images.shape)
    kept = [torch.where(_is_one_of(one.labels[time], labels), one.labels[time], 0) for time in (fixed, moving)]
    sides = [one.grid.to_image(image[None]) for image in (*scaled, *kept)]
    return Pair(sides[0], sides[1], one.grid, one.grid, fixed_label=sides[2], moving_label=sides[3])


def _is_one_of(label: Tensor, labels: Sequence[int]) -> Tensor:
    return torch.isin(label, torch.tensor(labels, dtype=label.dtype))


@torch.no_grad()
def heart_scores(pair: Pair, transform: SpatialTransform) -> Row:
    """Scores of a map of a pair, means over its labels.

    Args:
        pair: with labels.
        transform: fixed to moving world points.

    Returns:
        ``dice``, ``hd95`` and ``msd`` (see :func:`~monai_cellreg.methods.evaluate.label_scores`) in the unit of the
        grid, ``folding_fraction``, and ``ncc``, the correlation of the images.
    """
    moving, label = (plain(torch.as_tensor(x))[None].float() for x in (pair.moving, pair.moving_label))
    warped = resample(moving, transform, pair.fixed_grid, pair.moving_grid)[0]
    warped_label = resample(label, transform, pair.fixed_grid, pair.moving_grid, mode="nearest")[0]
    fixed_label = plain(torch.as_tensor(pair.fixed_label))
    found = label_scores(fixed_label, warped_label, spacing=pair.fixed_grid.spacing)
    mean = Evaluation(labels=found).mean
    return {
        **{name: mean[name] for name in ("dice", "hd95", "msd")},
        "folding_fraction": map_scores(transform, pair.fixed_grid)["folding_fraction"],
        "ncc": image_correlation(warped, pair.fixed),
    }
