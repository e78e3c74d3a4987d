"""One short-axis slice of a beating heart: its time points, and labels of those that an expert outlined."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..geometry import SamplingGrid
from ..utils import check_same_shape

__all__ = ["LABEL_NAMES", "LV_CAVITY", "LV_MYOCARDIUM", "RV", "CineSlice", "pixel_grid"]

RV, LV_MYOCARDIUM, LV_CAVITY = 1, 2, 3
LABEL_NAMES: Mapping[int, str] = {RV: "RV", LV_MYOCARDIUM: "LV myocardium", LV_CAVITY: "LV cavity"}


@dataclass(frozen=True, eq=False)
class CineSlice:
    """The time points of one slice, which all lie on one grid.

    Convention: tensor axes are row (y) and column (x).

    Args:
        patient: Name of the patient.
        slice_number: Place of the slice in the patient's stack, from 0.
        images: (T, H, W) float32, intensities as stored.
        labels: Time index to (H, W) uint8, numbers as in `label_names`, 0 for background; unlabelled time points are
            left out.
        ed: Time index of end diastole, the heart at its widest; None where it is not known.
        es: Time index of end systole, the heart at its narrowest; None where it is not known.
        grid: Grid of (H, W) with the spacing in mm, or in index pixels where none is known.
        label_names: Name of every number that labels may hold.

    Raises:
        ValueError: If shapes do not agree, or a time index does not exist.
    """

    patient: str
    slice_number: int
    images: Tensor
    labels: Mapping[int, Tensor]
    ed: int | None
    es: int | None
    grid: SamplingGrid
    label_names: Mapping[int, str] = field(default_factory=lambda: dict(LABEL_NAMES))

    def __post_init__(self) -> None:
        self.grid.check_fits("images", self.images, "T")
        times = len(self.images)
        for name, time in (("ed", self.ed), ("es", self.es), *((f"labels[{time}]", time) for time in self.labels)):
            if time is not None and not 0 <= time < times:
                raise ValueError(f"{name} is of time index {time} but images has {times}; expected 0 to {times - 1}")
        for time, label in self.labels.items():
            check_same_shape(f"labels[{time}]", label.shape, "its image", self.images.shape[1:])
            if label.dtype != torch.uint8:
                raise ValueError(f"labels[{time}] is {label.dtype}; expected torch.uint8: convert it")


def pixel_grid(shape: tuple[int, int], spacing_mm: tuple[float, float] | None) -> SamplingGrid:
    """The grid of a slice: index times spacing in mm, or index pixels where the spacing is None.

    Example:
        >>> pixel_grid((216, 256), (1.5, 1.25)).unit
        'mm'
    """
    if spacing_mm is None:
        return SamplingGrid(shape)
    return SamplingGrid(shape, np.diag([*spacing_mm, 1.0]), unit="mm")
