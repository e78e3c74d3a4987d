"""Reading a moving image on the fixed grid through any map, once."""

from __future__ import annotations

import torch
from monai.data import MetaTensor
from torch import Tensor

from ..utils import check_spatial, plain
from .grid import SamplingGrid
from .sampling import sample
from .transform import SpatialTransform


def resample(
    moving: Tensor,
    transform: SpatialTransform,
    fixed_grid: SamplingGrid,
    moving_grid: SamplingGrid,
    *,
    mode: str = "linear",
    padding: str = "border",
) -> Tensor:
    """``warped(x) = moving(T(x))`` at every voxel centre of the fixed grid.

    Args:
        moving: (B or 1, C, *moving_grid.shape).
        transform: fixed world points to moving world points.
        fixed_grid: grid of the result.
        moving_grid: grid of ``moving``.
        mode: ``"nearest"`` for labels, else see :func:`~monai_cellreg.geometry.sampling.sample`.
        padding: value outside the moving image, see :func:`~monai_cellreg.geometry.sampling.sample`; ITK's cubic
            interpolation is ``mode="cubic"`` with ``"reflection"``.

    Returns:
        (B, C, *fixed_grid.shape) in the dtype of ``moving``.

    Raises:
        ValueError: when ``moving`` does not fit its grid, dimensions differ, or for an unknown mode or padding.
    """
    moving_grid.check_fits("moving", moving, "B", "C")
    check_spatial(fixed_grid.shape, transform.spatial_dims, "fixed_grid")
    world = fixed_grid.world(dtype=torch.float64, device=moving.device).reshape(1, -1, fixed_grid.spatial_dims)
    index = moving_grid.world_to_index(transform._map(world))
    index = index.reshape(index.shape[0], *fixed_grid.shape, fixed_grid.spatial_dims)
    exact = moving.dtype == torch.float64
    return sample(moving, index if exact else index.float(), mode=mode, padding=padding)


def resample_image(
    image: Tensor,
    transform: SpatialTransform,
    fixed_grid: SamplingGrid,
    *,
    mode: str = "linear",
    padding: str = "border",
) -> MetaTensor:
    """A moving image, which says itself where it lies, read through a map onto a grid.

    Args:
        image: (C, *spatial); a ``MetaTensor`` lies where its affine says (see :meth:`SamplingGrid.from_image`), in any
            other tensor world == index.
        transform: fixed world points to moving world points; one map.
        fixed_grid: grid of the result, in the frame and unit of the image.
        mode: see :func:`resample`.
        padding: see :func:`resample`.

    Returns:
        (C, *fixed_grid.shape) in the dtype of ``image``, on the fixed grid, with the other metadata of ``image``.

    Raises:
        ValueError: when image and grid differ in dimension, frame or unit, when the transform holds several maps, or as
            for :func:`resample`.

    Example:
        >>> import numpy as np
        >>> from monai_cellreg.geometry import AffineTransform
        >>> coarse = SamplingGrid((4, 6)).resized((2, 3))
        >>> resample_image(torch.ones(1, 4, 6), AffineTransform(np.eye(3)), coarse).affine.diag()
        tensor([2., 2., 1.], dtype=torch.float64)
    """
    moving_grid = SamplingGrid.from_image(image)
    fixed_grid.check_same_world("fixed_grid", moving_grid, "image")
    data = plain(image)
    warped = resample(data[None], transform, fixed_grid, moving_grid, mode=mode, padding=padding)
    if warped.shape[0] != 1:
        raise ValueError(
            f"transform holds {warped.shape[0]} maps; expected one for one image. Use resample for several"
        )
    meta = image.meta if isinstance(image, MetaTensor) else {}
    return fixed_grid.to_image(MetaTensor(warped[0], meta=meta))
