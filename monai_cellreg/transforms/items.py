"""What a data dictionary holds for registration: images that lie somewhere, and landmarks."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor, get_track_meta
from monai.utils import convert_to_dst_type
from torch import Tensor

from ..geometry import SamplingGrid, SpatialTransform
from ..utils import format_shape

Image = Tensor | np.ndarray


def grid_of(image: Image) -> SamplingGrid:
    """Where an image (C, *spatial) lies; see :meth:`SamplingGrid.from_image`."""
    return SamplingGrid.from_image(image if isinstance(image, MetaTensor) else torch.as_tensor(image))


def like(image: Image, data: Tensor, grid: SamplingGrid) -> Tensor:
    """New numbers (C, *grid.shape) that lie on the grid, with the metadata of the image they come from.

    Where MONAI tracks metadata, an image that has none is placed on its grid, as MONAI's transforms do.
    """
    if isinstance(image, MetaTensor):
        return convert_to_dst_type(data, image, dtype=data.dtype)[0]
    return grid.to_image(data) if get_track_meta() else data


def moved_landmarks(data: Mapping[Hashable, Any], key: Hashable, mapping: SpatialTransform) -> Tensor | np.ndarray:
    """Landmarks (N, D) of a dictionary moved by a map, as an array or tensor as they came.

    Raises:
        KeyError: when the dictionary lacks the key.
        ValueError: when they are not (N, D).
    """
    points = item(data, key)
    if points.ndim != 2 or points.shape[1] != mapping.spatial_dims:
        raise ValueError(
            f"{key} has shape {format_shape(points.shape)} but the images have {mapping.spatial_dims} axes; expected "
            f"(N, {mapping.spatial_dims}), one landmark a row"
        )
    return mapping.points(points.as_tensor() if isinstance(points, MetaTensor) else points)


def item(data: Mapping[Hashable, Any], key: Hashable) -> Any:
    """``data[key]``, with an error that says what there is."""
    if key not in data:
        raise KeyError(f"key {key!r} is not in the data, which has {list(data)}; name one of these")
    return data[key]
