"""What a user knows of two images besides their pixels, and what guides a registration."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..geometry import Pair, SamplingGrid
from ..utils import check_choice, check_finite, check_same_shape
from .images import ImageLike, as_image
from .point_files import COORDINATES, read_landmarks

Points = str | os.PathLike[str] | np.ndarray | Tensor | Sequence[Sequence[float]]


@dataclass(frozen=True)
class Known:
    """Masks and landmarks of two images; they guide methods that heed them (see ``monai-cellreg methods``).

    Convention: landmarks are world points, components in the order of the tensor axes; in arrays, PNG and TIFF files
    without a pixel size that is row, column. Files of points have named columns.

    Args:
        fixed_mask: where the fixed image counts, above 0; as :func:`~monai_cellreg.methods.register` takes labels.
        moving_mask: where the moving image counts.
        fixed_landmarks: (N, D) world points, or a CSV or TSV file (see
            :func:`~monai_cellreg.methods.apply_transform` for its columns).
        moving_landmarks: (N, D) world points or file; row n belongs to row n of the fixed image's. Rows that are NaN,
            or blank in a file, on either side are left out.
        coordinates: of files of landmarks; see :class:`~monai_cellreg.methods.ApplyOptions`.

    Raises:
        ValueError: for landmarks of one image only, or unknown coordinates.
    """

    fixed_mask: ImageLike | None = None
    moving_mask: ImageLike | None = None
    fixed_landmarks: Points | None = None
    moving_landmarks: Points | None = None
    coordinates: Literal["index", "corner", "world"] = "index"

    def __post_init__(self) -> None:
        check_choice("coordinates", self.coordinates, COORDINATES)
        if (self.fixed_landmarks is None) != (self.moving_landmarks is None):
            lacking = "fixed" if self.fixed_landmarks is None else "moving"
            raise ValueError(
                f"{lacking}_landmarks are missing; expected landmarks of both images, row by row the same points"
            )

    @property
    def in_words(self) -> str:
        """What there is, in words; empty for nothing."""
        masks = self.fixed_mask is not None or self.moving_mask is not None
        return " and ".join(["masks"] * masks + ["landmarks"] * (self.fixed_landmarks is not None))

    def added_to(self, pair: Pair) -> Pair:
        """A pair with the masks and landmarks.

        Raises:
            ValueError: when one does not fit its image, a mask is empty, or no landmark is known on both sides.
        """
        masks = {
            name: _mask(given, name)
            for name, given in (("fixed_mask", self.fixed_mask), ("moving_mask", self.moving_mask))
            if given is not None
        }
        return replace(pair, **masks, **self._landmarks(pair))

    def _landmarks(self, pair: Pair) -> dict[str, Tensor]:
        if self.fixed_landmarks is None or self.moving_landmarks is None:
            return {}
        fixed, moving = (
            self._points(given, name, grid)
            for given, name, grid in (
                (self.fixed_landmarks, "fixed_landmarks", pair.fixed_grid),
                (self.moving_landmarks, "moving_landmarks", pair.moving_grid),
            )
        )
        check_same_shape("moving_landmarks", moving.shape, "fixed_landmarks", fixed.shape)
        known = ~(fixed.isnan() | moving.isnan()).any(-1)
        if not bool(known.any()):
            raise ValueError(
                f"landmarks are {len(fixed)} rows, none of them known on both sides; expected points that correspond "
                "row by row"
            )
        return {"fixed_landmarks": fixed[known], "moving_landmarks": moving[known]}

    def _points(self, given: Points, name: str, grid: SamplingGrid) -> Tensor:
        if isinstance(given, (str, os.PathLike)):
            return read_landmarks(given, grid, grid.spatial_dims, self.coordinates)
        points = torch.as_tensor(np.asarray(given, dtype=np.float64))
        if points.ndim != 2 or points.shape[1] != grid.spatial_dims:
            raise ValueError(
                f"{name} has shape {tuple(points.shape)}; expected (N, {grid.spatial_dims}), a world point a row"
            )
        check_finite(name, points.nan_to_num(nan=0.0, posinf=torch.inf, neginf=-torch.inf))
        return points


def _mask(given: ImageLike, name: str) -> Tensor:
    mask = as_image(given, name, label=True)
    if not bool((mask > 0).any()):
        raise ValueError(f"{name} is 0 everywhere; expected values above 0 where the image counts")
    return mask
