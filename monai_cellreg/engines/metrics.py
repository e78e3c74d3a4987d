"""What the engines measure of pairs, as Ignite metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.handlers import IgniteMetricHandler
from monai.utils import CommonKeys
from torch import Tensor

from ..geometry import warp
from ..metrics import Correlation, FoldingFraction, GridError, LabelDice, MaskIoU

Output = dict[str, Any]


def registration_iou_metric() -> dict[str, IgniteMetricHandler]:
    """``registration_iou``: overlap of the true fixed and the true moving labels, these warped by the predicted map."""
    return {"registration_iou": IgniteMetricHandler(metric_fn=MaskIoU(), output_transform=_registered)}


def additional_metrics() -> dict[str, IgniteMetricHandler]:
    """``unregistered_iou``, ``segmentation_iou`` (both sides), ``grid_error_px`` and ``folding_fraction``."""
    return {
        "unregistered_iou": IgniteMetricHandler(metric_fn=MaskIoU(), output_transform=_unregistered),
        "segmentation_iou": IgniteMetricHandler(metric_fn=MaskIoU(), output_transform=_segmented),
        "grid_error_px": IgniteMetricHandler(metric_fn=GridError(), output_transform=_fields),
        "folding_fraction": IgniteMetricHandler(metric_fn=FoldingFraction(), output_transform=_fields),
    }


def registration_ncc_metric() -> dict[str, IgniteMetricHandler]:
    """``registration_ncc``: correlation coefficient of the fixed image and the warped moving one."""
    return {"registration_ncc": IgniteMetricHandler(metric_fn=Correlation(), output_transform=_images_after)}


def image_pair_metrics(labels: Sequence[int] = ()) -> dict[str, IgniteMetricHandler]:
    """``unregistered_ncc``, ``folding_fraction`` and, with labels, ``registration_dice`` and ``unregistered_dice``.

    Args:
        labels: those whose mean Dice coefficient is measured; none for pairs without labels.
    """
    metrics = {
        "unregistered_ncc": IgniteMetricHandler(metric_fn=Correlation(), output_transform=_images_before),
        "folding_fraction": IgniteMetricHandler(metric_fn=FoldingFraction(), output_transform=_field_alone),
    }
    if labels:
        metrics["registration_dice"] = IgniteMetricHandler(metric_fn=LabelDice(labels), output_transform=_registered)
        metrics["unregistered_dice"] = IgniteMetricHandler(metric_fn=LabelDice(labels), output_transform=_unregistered)
    return metrics


def _images_after(output: Output) -> tuple[Tensor, Tensor]:
    return output[CommonKeys.PRED]["warped_moving"], output[CommonKeys.LABEL]["fixed"]


def _images_before(output: Output) -> tuple[Tensor, Tensor]:
    return output[CommonKeys.LABEL]["moving"], output[CommonKeys.LABEL]["fixed"]


def _registered(output: Output) -> tuple[Tensor, Tensor]:
    truth = output[CommonKeys.LABEL]
    warped = warp(truth["moving_label"], output[CommonKeys.PRED]["fixed_to_moving"], mode="nearest")
    return warped, truth["fixed_label"]


def _unregistered(output: Output) -> tuple[Tensor, Tensor]:
    return output[CommonKeys.LABEL]["moving_label"], output[CommonKeys.LABEL]["fixed_label"]


def _segmented(output: Output) -> tuple[Tensor, Tensor]:
    prediction, truth = output[CommonKeys.PRED], output[CommonKeys.LABEL]
    return (
        _both_sides(prediction["fixed_heat_map"], prediction["moving_heat_map"]),
        _both_sides(truth["fixed_label"], truth["moving_label"]),
    )


def _both_sides(fixed: Tensor, moving: Tensor) -> Tensor:
    """(2 B, ...): the two sides of a pair one after the other, so that rows stay together whatever the batches."""
    return torch.stack([fixed, moving], dim=1).flatten(0, 1)


def _field_alone(output: Output) -> tuple[Tensor, None]:
    return output[CommonKeys.PRED]["fixed_to_moving"], None


def _fields(output: Output) -> tuple[Tensor, Tensor]:
    return output[CommonKeys.PRED]["fixed_to_moving"], output[CommonKeys.LABEL]["fixed_to_moving"]
