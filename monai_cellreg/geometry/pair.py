"""The pair to be aligned."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .grid import SamplingGrid
from .transform import SpatialTransform


@dataclass(frozen=True)
class Pair:
    """Fixed and moving image with their grids, and what is known of them.

    Args:
        fixed: (C, *spatial) fixed image.
        moving: (C, *spatial) moving image.
        fixed_grid: where the fixed image lies.
        moving_grid: where the moving image lies.
        fixed_label: (1, *spatial) labels of the fixed image.
        moving_label: (1, *spatial) labels of the moving image.
        fixed_mask: (1, *spatial), above 0 where the fixed image counts.
        moving_mask: (1, *spatial), above 0 where the moving image counts.
        fixed_landmarks: (N, D) world points; row n corresponds to row n of ``moving_landmarks``.
        moving_landmarks: (N, D) world points.
        truth: the true fixed-to-moving map.

    Raises:
        ValueError: when an image, label or mask does not fit its grid, or the grids differ in dimension, frame or unit.
    """

    fixed: Tensor
    moving: Tensor
    fixed_grid: SamplingGrid
    moving_grid: SamplingGrid
    fixed_label: Tensor | None = None
    moving_label: Tensor | None = None
    fixed_mask: Tensor | None = None
    moving_mask: Tensor | None = None
    fixed_landmarks: Tensor | None = None
    moving_landmarks: Tensor | None = None
    truth: SpatialTransform | None = None

    def __post_init__(self) -> None:
        for name, grid in (("fixed", self.fixed_grid), ("moving", self.moving_grid)):
            for part in (name, f"{name}_label", f"{name}_mask"):
                image = getattr(self, part)
                if image is not None:
                    grid.check_fits(part, image, "C")
        self.fixed_grid.check_same_world("fixed", self.moving_grid, "moving")

    @classmethod
    def of(cls, fixed: Tensor, moving: Tensor) -> Pair:
        """A pair of images (C, *spatial) on their own grids (see :meth:`SamplingGrid.from_image`)."""
        return cls(fixed, moving, SamplingGrid.from_image(fixed), SamplingGrid.from_image(moving))
