"""Pictures of a map: the grid that it deforms, and where it stretches, shrinks or folds."""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib
import matplotlib.colors
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from ..geometry import voxel_jacobian_determinant

__all__ = ["ColourScale", "grid_lines", "jacobian_determinant", "jacobian_levels", "jacobian_scale", "line_palette"]

Floats = NDArray[np.floating]

COLOURS = "PuOr_r"  # purple shrinks, orange grows; told apart with every common kind of colour blindness
FOLDED_COLOUR = (0, 0, 0)
LIMITS_LOG2 = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0)
LEVELS = 64  # colours of the scale
LINE_PIXELS = 1.5
LINE_COLOUR = (30, 160, 255)
LINE_LEVELS = 16  # of opacity


@dataclass(frozen=True)
class ColourScale:
    """The colours of a map of volume change: logarithmic, the same to both sides of no change.

    Attributes:
        limit_log2: binary logarithm of the change at the end of the scale; what goes beyond has the last colour.
    """

    limit_log2: float

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Where the labels stand, as a share of the bar's length, and what they say: factors of volume or area."""
        return [(share, f"×{2 ** ((2 * share - 1) * self.limit_log2):.3g}") for share in (0.0, 0.25, 0.5, 0.75, 1.0)]

    @property
    def stops(self) -> list[str]:
        """Colours along the bar, for a gradient of a style sheet."""
        return [matplotlib.colors.to_hex(matplotlib.colormaps[COLOURS](share)) for share in np.linspace(0, 1, 17)]

    @property
    def palette(self) -> NDArray[np.uint8]:
        """Colours (K, 4) that :func:`jacobian_levels` numbers: the scale, and last that of folds."""
        scale = matplotlib.colormaps[COLOURS](np.linspace(0, 1, LEVELS), bytes=True)
        return np.concatenate([scale, np.array([[*FOLDED_COLOUR, 255]], np.uint8)])


def jacobian_determinant(displacement_vox: Floats) -> NDArray[np.float32]:
    """By how much the map ``x + displacement(x)`` changes area or volume at each voxel; at most 0 where it folds.

    Args:
        displacement_vox: (D, *spatial) in voxels.

    Returns:
        (*spatial); above 1 where a piece of the fixed image comes from a larger piece of the moving one.
    """
    field = torch.from_numpy(np.ascontiguousarray(displacement_vox, np.float32))
    return voxel_jacobian_determinant(field[None])[0].numpy()


def jacobian_scale(determinant: Floats) -> ColourScale:
    """The finest of a few fixed scales that holds 99 % of the unfolded voxels."""
    unfolded = determinant[determinant > 0]
    farthest = float(np.percentile(np.abs(np.log2(unfolded)), 99)) if unfolded.size else LIMITS_LOG2[-1]
    return ColourScale(next((limit for limit in LIMITS_LOG2 if farthest <= limit), LIMITS_LOG2[-1]))


def jacobian_levels(determinant: Floats, scale: ColourScale) -> NDArray[np.uint8]:
    """The determinant (*spatial) as numbers of colours of ``scale.palette``: the last one where the map folds."""
    folded = determinant <= 0
    share = np.log2(np.where(folded, 1, determinant)) / (2 * scale.limit_log2) + 0.5
    return np.where(folded, LEVELS, np.rint(np.clip(share, 0, 1) * (LEVELS - 1))).astype(np.uint8)


def line_palette() -> NDArray[np.uint8]:
    """Colours (K, 4) that :func:`grid_lines` numbers, from transparent to opaque."""
    opacity = np.linspace(0, 255, LINE_LEVELS).round()
    return np.column_stack([np.tile(LINE_COLOUR, (LINE_LEVELS, 1)), opacity]).astype(np.uint8)


def grid_lines(displacement_vox: Floats, step_vox: tuple[float, float], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Lines painted on the moving image at equal distances, as the warped image shows them.

    Convention: ``displacement_vox`` has the in-plane components, rows before columns, and takes a pixel of the plane
    to the point that is read there; a line lies where that point's row, or column, is a multiple of the step.

    Args:
        displacement_vox: (2, H, W) in pixels of the plane.
        step_vox: distance of the lines along rows and columns, in pixels of the plane.
        size: height and width of the picture, over the same extent.

    Returns:
        (*size), numbers of colours of :func:`line_palette`.
    """
    shape = displacement_vox.shape[1:]
    axes = [(np.arange(new) + 0.5) * (old / new) - 0.5 for old, new in zip(shape, size, strict=True)]
    at = np.stack(np.meshgrid(*axes, indexing="ij"))
    opacity = np.zeros(size)
    for component, start, step, length in zip(displacement_vox, at, step_vox, shape, strict=True):
        read = start + ndimage.map_coordinates(component, at, order=1, mode="nearest") - (length - 1) / 2
        slope = np.hypot(*np.gradient(read)) if min(size) > 1 else np.ones(size)
        distance = np.abs(read - step * np.rint(read / step)) / np.maximum(slope, 1e-6)
        opacity = np.maximum(opacity, np.clip(LINE_PIXELS / 2 + 0.5 - distance, 0, 1))
    return np.rint(opacity * (LINE_LEVELS - 1)).astype(np.uint8)
