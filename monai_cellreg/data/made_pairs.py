"""Known pairs of a fixed difficulty for validation and testing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..geometry import warp
from ..transforms import AppearanceRange, DeformationRange, KnownPairs, RandomAppearance
from ..utils import plain

PAPER_IOU = 0.87  # the paper's unregistered pairs: 0.865
MILD = AppearanceRange(gamma=0.4, gradient=0.2, texture=0.3, blur=0.0, background=0.1, shot_noise=0.1, read_noise=0.05)


def made_pairs(
    items: Sequence[Mapping[str, Any]],
    *,
    unregistered_iou: float = PAPER_IOU,
    control_shape: Sequence[int] = (5, 5),
    seed: int = 1,
) -> list[dict[str, Any]]:
    """One known pair of every item, with zero mean shift and a given mean overlap before registration.

    The deformations of one seed are scaled by a common factor until the mean IoU of the unregistered labels is
    ``unregistered_iou`` within 0.002, so that figures on different data are equally hard. Intensities drift mildly.

    Args:
        items: dictionaries with ``image`` and ``label`` (1, *spatial), all of one size, and ``group``.
        unregistered_iou: mean IoU before registration.
        control_shape: control points of the true spline along each axis.
        seed: of deformations and intensities.

    Returns:
        Dictionaries with ``fixed``, ``moving``, ``fixed_label``, ``moving_label`` (1, *spatial), the true
        ``fixed_to_moving`` voxel field (D, *spatial) and ``group``.

    Raises:
        ValueError: when there are no items, their shapes differ, or no deformation of the range is as hard.
    """
    shapes = {tuple(item[key].shape) for item in items for key in ("image", "label")}
    if len(shapes) != 1:
        raise ValueError(
            f"items are {len(items)}, of the shapes {sorted(shapes)}; expected at least one, with images and labels of "
            "one shape (1, *spatial). Resize them first"
        )
    image, label = (torch.stack([torch.as_tensor(i[key]).float() for i in items]) for key in ("image", "label"))
    image, label = (plain(x) for x in (image, label))
    generator = torch.Generator().manual_seed(seed)
    maker = KnownPairs(
        image.shape[2:], control_shape, generator, deformation=DeformationRange(shift=0.0, least=1.0), pose=False
    )
    parameters = maker.draw(len(items))
    parameters = parameters * _scale_for(maker, label, parameters, unregistered_iou)
    pair = maker(image, label, parameters)
    appearance = RandomAppearance(generator, settings=MILD)
    pair["fixed"], pair["moving"] = appearance(pair["fixed"]), appearance(pair["moving"])
    names = ("fixed", "moving", "fixed_label", "moving_label", "fixed_to_moving")
    return [{**{name: pair[name][k].clone() for name in names}, "group": item["group"]} for k, item in enumerate(items)]


def _scale_for(maker: KnownPairs, label: Tensor, parameters: Tensor, wanted: float) -> float:
    """The factor of the deformations at which the labels overlap as wanted, by bisection."""
    low, high = 0.0, 2.0
    for _ in range(12):
        middle = (low + high) / 2
        overlap = _mean_iou(warp(label, maker.field(parameters * middle)) > 0.5, label > 0.5)
        if abs(overlap - wanted) < 0.002:
            return middle
        low, high = (middle, high) if overlap > wanted else (low, middle)
    raise ValueError(
        f"unregistered_iou is {wanted}; the deformations reach {overlap:.3f}. Choose a value nearer to 0.87"
    )


def _mean_iou(a: Tensor, b: Tensor) -> float:
    union = (a | b).flatten(1).sum(1).clamp_min(1)
    return float(((a & b).flatten(1).sum(1) / union).mean())


def spread(items: Sequence[Mapping[str, Any]], count: int) -> list[Mapping[str, Any]]:
    """At most ``count`` items, spread evenly over the list (and so over its groups)."""
    if len(items) <= count:
        return list(items)
    return [items[round(k * (len(items) - 1) / max(count - 1, 1))] for k in range(count)]
