"""Reading images between voxels: the only caller of ``grid_sample``, and the only place that flips to x, y(, z)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ..utils import check_choice, format_shape

MODES = {"linear": "bilinear", "nearest": "nearest"}
PADDINGS = ("border", "zeros", "reflection")


def sample(image: Tensor, index: Tensor, *, mode: str = "linear", padding: str = "border") -> Tensor:
    """Values of an image at arbitrary index coordinates.

    Convention: coordinates follow the tensor axes (row, column; ...), in voxels, voxel centres at whole numbers.

    Args:
        image: (B or 1, C, *spatial), floating or integer.
        index: (B or 1, *out, D) coordinates in voxels; kept in float32 or better whatever autocast does.
        mode: ``"linear"`` or ``"nearest"`` (no gradient for the coordinates; labels are never mixed).
        padding: value outside the image: ``"border"`` (nearest voxel), ``"zeros"`` or ``"reflection"``.

    Returns:
        (B, C, *out) in the image's dtype.

    Raises:
        ValueError: when components or batches of the two do not fit, or for an unknown mode or padding.

    Example:
        >>> sample(torch.tensor([[[[0.0, 1, 2], [10, 11, 12]]]]), torch.tensor([[[0.5, 2.0]]]))
        tensor([[[7.]]])
    """
    dims = image.ndim - 2
    if dims not in (2, 3) or index.shape[-1] != dims:
        raise ValueError(
            f"index has {index.shape[-1]} components but the image has {dims} axes (shape "
            f"{format_shape(image.shape)}); expected image (B, C, *spatial) and index (B, *out, D)"
        )
    check_choice("mode", mode, MODES)
    check_choice("padding", padding, PADDINGS)
    batch = max(image.shape[0], index.shape[0])
    if min(image.shape[0], index.shape[0]) not in (1, batch):
        raise ValueError(
            f"image holds {image.shape[0]} images but index holds {index.shape[0]} sets of coordinates; expected as "
            "many of both, or one of either for all"
        )
    out_shape = index.shape[1:-1]
    values, grid = image, index
    wide = image.dtype.itemsize >= 4 and not image.dtype.is_floating_point  # float32 cannot hold every 32-bit label
    dtype = torch.float64 if wide or torch.float64 in (image.dtype, index.dtype) else torch.float32
    with torch.autocast(image.device.type, enabled=False):
        values = values.to(dtype).expand(batch, *image.shape[1:])
        # half-pixel convention of grid_sample: it also holds for axes of one voxel
        parts = [torch.add((1.0 - s) / s, grid[..., d].to(dtype), alpha=2.0 / s) for d, s in enumerate(image.shape[2:])]
        grid = torch.stack(parts[::-1], dim=-1).expand(batch, *index.shape[1:])  # x first
        if len(out_shape) != dims:
            grid = grid.reshape(batch, -1, *([1] * (dims - 1)), dims)
        out = functional.grid_sample(values, grid, mode=MODES[mode], padding_mode=padding, align_corners=False)
    out = out.reshape(batch, image.shape[1], *out_shape)
    return out.to(image.dtype) if image.dtype.is_floating_point else out.round().to(image.dtype)


def warp(image: Tensor, displacement_vox: Tensor, *, mode: str = "linear", padding: str = "border") -> Tensor:
    """An image read through a voxel displacement field: ``warped(x) = image(x + displacement(x))``.

    Args:
        image: (B or 1, C, *spatial).
        displacement_vox: (B or 1, D, *out) in voxels along the tensor axes (a MONAI voxel DDF). An ``out`` that differs
            from ``spatial`` is read from the image's first voxels, as in a crop.
        mode: see :func:`sample`.
        padding: see :func:`sample`.

    Returns:
        (B, C, *out) in the image's dtype.

    Raises:
        ValueError: when the number of components does not fit the image.
    """
    dims = image.ndim - 2
    if displacement_vox.ndim != image.ndim or displacement_vox.shape[1] != dims:
        raise ValueError(
            f"displacement_vox has shape {format_shape(displacement_vox.shape)} but the image has {dims} axes "
            f"(shape {format_shape(image.shape)}); expected (B, {dims}, *spatial)"
        )
    field = displacement_vox.movedim(1, -1)
    dtype = torch.float64 if field.dtype == torch.float64 else torch.float32
    axes = [torch.arange(s, dtype=dtype, device=field.device) for s in field.shape[1:-1]]
    identity = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    return sample(image, identity + field.to(dtype), mode=mode, padding=padding)
