"""Reading images between voxels: the only caller of ``grid_sample``, and the only place that flips to x, y(, z)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from types import ModuleType

import torch
from torch import Tensor
from torch.nn import functional

from ..utils import check_choice, format_shape
from .cubic import interpolate_cubic

GRID_SAMPLE_MODES = {"linear": "bilinear", "nearest": "nearest", "bicubic": "bicubic"}
MODES = (*GRID_SAMPLE_MODES, "cubic")
PADDINGS = ("border", "zeros", "reflection")
WORTH_COMPILING = 1 << 15  # voxels; below, loading a compiled kernel takes longer than it saves


def sample(image: Tensor, index: Tensor, *, mode: str = "linear", padding: str = "border") -> Tensor:
    """Values of an image at arbitrary index coordinates.

    Convention: coordinates follow the tensor axes (row, column; ...), in voxels, voxel centres at whole numbers. The
    image ends at the centres of its outer voxels, as in MONAI: ``"border"`` (SciPy's ``nearest``) continues them,
    ``"zeros"`` (``grid-constant``) fades to zero over one more voxel, ``"reflection"`` (``mirror``) reflects there.

    Args:
        image: (B or 1, C, *spatial), floating or integer.
        index: (B or 1, *out, D) coordinates in voxels; kept in float32 or better whatever autocast does.
        mode: ``"linear"``, ``"nearest"`` (no gradient for the coordinates; labels are never mixed), ``"cubic"`` (the
            cubic B-spline through the voxels) or ``"bicubic"`` (the shorter convolution that MONAI's ``Warp`` calls so,
            2D only).
        padding: value outside the image: ``"border"``, ``"zeros"`` or ``"reflection"``.

    Returns:
        (B, C, *out) in the image's dtype; NaN, without gradient, where a coordinate is NaN and the image is floating.

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
    _check_options(image, index.shape[0], mode, padding)
    if mode == "cubic":
        return interpolate_cubic(image, index, padding=padding)
    dtype = _working_dtype(image, index)
    ends = _at_centres(image, padding)
    parts = [_to_cube(x.to(dtype), s, ends) for x, s in zip(index.unbind(-1), image.shape[2:], strict=True)]
    return _read(image, parts, mode=mode, padding=padding)


def warp(image: Tensor, displacement_vox: Tensor, *, mode: str = "linear", padding: str = "border") -> Tensor:
    """An image read through a voxel displacement field: ``warped(x) = image(x + displacement(x))``.

    Large float32 volumes on the CPU are read by a compiled kernel where Numba is installed. The slope of a linearly
    read image jumps at whole coordinates; there the kernel always gives the slope of the following voxels, while
    PyTorch's rounding picks either side.

    Args:
        image: (B or 1, C, *spatial).
        displacement_vox: (B or 1, D, *out) in voxels along the tensor axes (a MONAI voxel DDF). An ``out`` that differs
            from ``spatial`` is read from the image's first voxels, as in a crop.
        mode: see :func:`sample`.
        padding: see :func:`sample`.

    Returns:
        (B, C, *out) in the image's dtype.

    Raises:
        ValueError: when the number of components does not fit the image, and as :func:`sample`.
    """
    dims = image.ndim - 2
    if dims not in (2, 3) or displacement_vox.ndim != image.ndim or displacement_vox.shape[1] != dims:
        raise ValueError(
            f"displacement_vox has shape {format_shape(displacement_vox.shape)} but the image has {dims} axes "
            f"(shape {format_shape(image.shape)}); expected (B, {dims}, *spatial) for an image of 2 or 3 axes"
        )
    _check_options(image, displacement_vox.shape[0], mode, padding)
    if mode == "linear" and padding != "reflection" and (kernels := _kernels_for(image, displacement_vox)):
        return kernels.warp_volumes(image, displacement_vox, border=padding == "border")
    dtype, ends = _working_dtype(image, displacement_vox), _at_centres(image, padding)
    parts = []
    for axis, shift in enumerate(displacement_vox.to(dtype).unbind(1)):
        identity = torch.arange(shift.shape[1 + axis], dtype=dtype, device=shift.device)
        identity = identity.reshape(-1, *[1] * (dims - 1 - axis))
        if mode == "cubic":
            parts.append(identity + shift)
        else:
            size = image.shape[2 + axis]
            parts.append(torch.add(_to_cube(identity, size, ends), shift, alpha=2 / _span(size, ends)))
    if mode == "cubic":
        return interpolate_cubic(image, torch.stack(parts, dim=-1), padding=padding)
    return _read(image, parts, mode=mode, padding=padding)


def _check_options(image: Tensor, batch: int, mode: str, padding: str) -> None:
    check_choice("mode", mode, MODES)
    check_choice("padding", padding, PADDINGS)
    if mode == "bicubic" and image.ndim != 4:
        raise ValueError(
            f"mode is 'bicubic' but the image has {image.ndim - 2} axes (shape {format_shape(image.shape)}); expected "
            "2 axes, or one of the other modes"
        )
    if image.shape[0] != batch and 1 not in (image.shape[0], batch):
        raise ValueError(
            f"image holds {image.shape[0]} images but index holds {batch} sets of coordinates; expected as "
            "many of both, or one of either for all"
        )


def _working_dtype(image: Tensor, coordinates: Tensor) -> torch.dtype:
    """float32 unless one of the two is wider; it cannot hold every 32-bit label."""
    wide = image.dtype.itemsize >= 4 and not image.dtype.is_floating_point
    return torch.float64 if wide or torch.float64 in (image.dtype, coordinates.dtype) else torch.float32


def _at_centres(image: Tensor, padding: str) -> bool:
    """Whether -1 and 1 are to be the centres of the outer voxels rather than their outer borders.

    At the centres whole coordinates lose least; but an axis of one voxel then has no extent to fade to zero over.
    """
    return padding != "zeros" or bool(min(image.shape[2:]) > 1)


def _span(size: int, at_centres: bool) -> int:
    """Voxels from -1 to 1."""
    return max(size - 1, 1) if at_centres else size


def _to_cube(index: Tensor, size: int, at_centres: bool) -> Tensor:
    """Index coordinates along an axis to those of ``grid_sample``; the order of operations, and so the rounding, is
    that of MONAI."""
    return (index * 2 if at_centres else index * 2 + 1) / _span(size, at_centres) - 1


def _read(image: Tensor, parts: Sequence[Tensor], *, mode: str, padding: str) -> Tensor:
    """The image at coordinates of ``grid_sample``, one tensor (B or 1, *out) an axis, in the order of the axes."""
    dims, out_shape = len(parts), parts[0].shape[1:]
    if len(out_shape) != dims:
        parts = [x.reshape(x.shape[0], -1, *[1] * (dims - 1)) for x in parts]
    # stacked before the others, components keep contiguous memory: a third of the time of stacking them last
    grid = torch.stack(tuple(parts[::-1]), dim=1).movedim(1, -1)  # x first
    batch = image.shape[0] if grid.shape[0] == 1 else grid.shape[0]
    lost = _lost(grid)
    if lost is not None:
        grid = grid.masked_fill(lost[..., None], 0)
    out = functional.grid_sample(
        image.to(grid.dtype).expand(batch, *image.shape[1:]),
        grid.expand(batch, *grid.shape[1:]),
        mode=GRID_SAMPLE_MODES[mode],
        padding_mode=padding,
        align_corners=_at_centres(image, padding),
    )
    if lost is not None:
        out = out.masked_fill(lost[:, None], torch.nan)
    out = out.reshape(batch, image.shape[1], *out_shape)
    return out.to(image.dtype) if image.dtype.is_floating_point else out.round().to(image.dtype)


def _lost(grid: Tensor) -> Tensor | None:
    """Where coordinates (B, *out, D) are NaN, (B, *out); None where that need not be asked.

    ``grid_sample`` reads some voxel there and, differentiated on the CPU, may end the process. Values are not looked at
    while a graph is traced or compiled.
    """
    if _is_traced() or (grid.device.type == "cpu" and bool(grid.detach().sum().isfinite())):
        return None
    return grid.isnan().any(dim=-1)


def _is_traced() -> bool:
    return torch.compiler.is_compiling() or torch.jit.is_tracing() or torch._C._are_functorch_transforms_active()


def _kernels_for(image: Tensor, field: Tensor) -> ModuleType | None:
    """The compiled kernels where they serve these tensors: plain float32 volumes on the CPU, outside of tracing."""
    if _is_traced():
        return None
    if image.ndim != 5 or image.shape[0] != field.shape[0] or 0 in image.shape:
        return None
    plain = all(
        type(x) in (Tensor, torch.nn.Parameter) and x.dtype == torch.float32 and x.device.type == "cpu"
        for x in (image, field)
    )
    if not plain or field[:, 0].numel() < WORTH_COMPILING or not bool(field.detach().sum().isfinite()):
        return None
    return _compiled_kernels()


@cache
def _compiled_kernels() -> ModuleType | None:
    try:
        from . import kernels
    except ImportError:  # no Numba, or one that does not fit the installed NumPy
        return None
    return kernels
