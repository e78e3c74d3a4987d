"""Masks of nuclei from the picture alone: training targets where nobody has annotated anything."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from scipy.ndimage import binary_fill_holes, gaussian_filter
from skimage.filters import threshold_otsu, threshold_triangle
from skimage.morphology import remove_small_objects

__all__ = ["pseudo_label"]

PseudoLabelMethod = Literal["auto", "otsu", "otsu_log", "triangle"]


def pseudo_label(image: torch.Tensor | np.ndarray, *, method: PseudoLabelMethod = "auto") -> torch.Tensor:
    """Gives a (1, *S) float32 mask."""
    smooth = gaussian_filter(np.asarray(image, dtype=np.float64)[0], 1.0)
    return torch.from_numpy((smooth > threshold_otsu(smooth)).astype(np.float32))[None]
