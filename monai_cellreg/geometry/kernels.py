"""A compiled linear warp of float32 volumes on the CPU, for :func:`~monai_cellreg.geometry.sampling.warp`.

Importing this file needs Numba (extra ``fast``). PyTorch reads images by vector instructions but volumes voxel by
voxel, and keeps a grid of coordinates beside the field; one pass over the field does without. The kernels know no
threads: they release the interpreter's lock and are called on parts of the volume, safe in forked processes as well.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

f32, i64, u64 = np.float32, np.int64, np.uint64  # with signed numbers Numba would look for negative indices
Arrays = tuple[np.ndarray, ...]
Shape = tuple[int, ...]


def warp_volumes(image: Tensor, displacement_vox: Tensor, *, border: bool) -> Tensor:
    """``warped(x) = image(x + displacement(x))``, read linearly.

    Args:
        image: (B, C, *spatial), float32 volumes on the CPU.
        displacement_vox: (B, 3, *out), likewise, in voxels.
        border: whether the border continues outside the image; else there are zeros.

    Returns:
        (B, C, *out), differentiable once in both.
    """
    return _Warp.apply(image, displacement_vox, border)


class _Warp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, field: Tensor, border: bool) -> Tensor:
        image, field = image.contiguous(), field.contiguous()
        warped = image.new_empty(*image.shape[:2], *field.shape[2:])
        arrays = _arrays(image, field, warped)
        shape, out_shape = tuple(image.shape[2:]), tuple(field.shape[2:])
        _in_parts(lambda first, last: _read(arrays, shape, out_shape, (first, last), border), len(field) * out_shape[0])
        ctx.save_for_backward(image, field)
        ctx.border = border
        return warped

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        image, field = ctx.saved_tensors
        for_image = ctx.needs_input_grad[0]
        of_image = torch.zeros_like(image) if for_image else image[:, :0]
        of_field = torch.empty_like(field)
        arrays = _arrays(gradient.contiguous(), image, field, of_image, of_field)
        shape, out_shape = tuple(image.shape[2:]), tuple(field.shape[2:])
        planes = out_shape[0] if for_image else 1  # a part: whole volumes, where planes would add to the same voxels

        def run(first: int, last: int) -> None:
            _differentiate(arrays, shape, out_shape, (first * planes, last * planes), ctx.border)

        _in_parts(run, len(field) * out_shape[0] // planes)
        return of_image, of_field, None  # autograd drops what nobody asked for


def _arrays(*tensors: Tensor) -> Arrays:
    return tuple(x.detach().flatten(2).numpy() for x in tensors)


def _in_parts(run: Callable[[int, int], None], count: int) -> None:
    """Calls ``run(first, last)`` for as many parts of ``range(count)`` as PyTorch has threads."""
    parts = min(torch.get_num_threads(), count)
    if parts == 1:
        run(0, count)
        return
    bounds = [count * part // parts for part in range(parts + 1)]
    with ThreadPoolExecutor(parts) as pool:
        list(pool.map(run, bounds[:-1], bounds[1:]))  # the list waits, and raises what a part raised


def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Compiled on first use, which takes seconds; kept on disk where a folder can be written."""

    def compiled(cache: bool) -> Callable[..., None]:
        return numba.njit(function, cache=cache, nogil=True, fastmath={"contract"})

    try:
        return compiled(cache=True)
    except RuntimeError:  # no folder
        return compiled(cache=False)


@numba.njit(inline="always")
def _between(x: np.float32, size: int, border: bool) -> tuple[Any, ...]:
    """Lower voxel, step to the upper one, the weights of both, and the slopes of the weights.

    The comparisons are such that NaN reads the first voxel or, with zeros outside, nothing.
    """
    if border:
        slope = f32(1) if x > f32(0) else f32(0)  # beyond the last voxel both voxels are that one
        inside = min(x, f32(size - 1)) if x > f32(0) else f32(0)
        low = i64(inside)
        high = inside - f32(low)
        return u64(low), u64(low < size - 1), f32(1) - high, high, -slope, slope
    if not (x > f32(-1) and x < f32(size)):
        return u64(0), u64(0), f32(0), f32(0), f32(0), f32(0)
    low = i64(np.floor(x))
    high = x - f32(low)
    if low < 0:  # only the upper voxel exists
        return u64(0), u64(0), high, f32(0), f32(1), f32(0)
    if low == size - 1:
        return u64(low), u64(0), f32(1) - high, f32(0), f32(-1), f32(0)
    return u64(low), u64(1), f32(1) - high, high, f32(-1), f32(1)


@_compiled
def _read(arrays: Arrays, shape: Shape, out_shape: Shape, part: tuple[int, int], border: bool) -> None:
    """Fills the planes of the result from ``part[0]`` to before ``part[1]``, counted over the batch."""
    image, field, warped = arrays  # (B, C, voxels), (B, 3, out voxels), (B, C, out voxels)
    depth, height, width = shape
    planes, rows, columns = out_shape
    for plane in range(part[0], part[1]):
        item, k = plane // planes, plane % planes
        for i in range(rows):
            start = u64((k * rows + i) * columns)
            for j in range(columns):
                at = start + u64(j)
                z, dz, wz0, wz1, _, _ = _between(f32(k) + field[item, 0, at], depth, border)
                y, dy, wy0, wy1, _, _ = _between(f32(i) + field[item, 1, at], height, border)
                x, dx, wx0, wx1, _, _ = _between(f32(j) + field[item, 2, at], width, border)
                p00 = (z * u64(height) + y) * u64(width) + x
                p01, p10 = p00 + dy * u64(width), p00 + dz * u64(height * width)
                p11 = p10 + dy * u64(width)
                for c in range(image.shape[1]):
                    r00 = wx0 * image[item, c, p00] + wx1 * image[item, c, p00 + dx]
                    r01 = wx0 * image[item, c, p01] + wx1 * image[item, c, p01 + dx]
                    r10 = wx0 * image[item, c, p10] + wx1 * image[item, c, p10 + dx]
                    r11 = wx0 * image[item, c, p11] + wx1 * image[item, c, p11 + dx]
                    warped[item, c, at] = wz0 * (wy0 * r00 + wy1 * r01) + wz1 * (wy0 * r10 + wy1 * r11)


@_compiled
def _differentiate(arrays: Arrays, shape: Shape, out_shape: Shape, part: tuple[int, int], border: bool) -> None:
    """Likewise for the gradient of the field, and adds to that of the image unless it has no channels."""
    gradient, image, field, of_image, of_field = arrays
    depth, height, width = shape
    planes, rows, columns = out_shape
    for_image = of_image.shape[1] > 0
    for plane in range(part[0], part[1]):
        item, k = plane // planes, plane % planes
        for i in range(rows):
            start = u64((k * rows + i) * columns)
            for j in range(columns):
                at = start + u64(j)
                z, dz, wz0, wz1, sz0, sz1 = _between(f32(k) + field[item, 0, at], depth, border)
                y, dy, wy0, wy1, sy0, sy1 = _between(f32(i) + field[item, 1, at], height, border)
                x, dx, wx0, wx1, sx0, sx1 = _between(f32(j) + field[item, 2, at], width, border)
                p00 = (z * u64(height) + y) * u64(width) + x
                p01, p10 = p00 + dy * u64(width), p00 + dz * u64(height * width)
                p11 = p10 + dy * u64(width)
                w00, w01, w10, w11 = wz0 * wy0, wz0 * wy1, wz1 * wy0, wz1 * wy1
                gz = gy = gx = f32(0)
                for c in range(image.shape[1]):
                    g = gradient[item, c, at]
                    a00, b00 = image[item, c, p00], image[item, c, p00 + dx]
                    a01, b01 = image[item, c, p01], image[item, c, p01 + dx]
                    a10, b10 = image[item, c, p10], image[item, c, p10 + dx]
                    a11, b11 = image[item, c, p11], image[item, c, p11 + dx]
                    r00, r01 = wx0 * a00 + wx1 * b00, wx0 * a01 + wx1 * b01
                    r10, r11 = wx0 * a10 + wx1 * b10, wx0 * a11 + wx1 * b11
                    gz += g * (sz0 * (wy0 * r00 + wy1 * r01) + sz1 * (wy0 * r10 + wy1 * r11))
                    gy += g * (sy0 * (wz0 * r00 + wz1 * r10) + sy1 * (wz0 * r01 + wz1 * r11))
                    a = w00 * a00 + w01 * a01 + w10 * a10 + w11 * a11
                    b = w00 * b00 + w01 * b01 + w10 * b10 + w11 * b11
                    gx += g * (sx0 * a + sx1 * b)
                    if for_image:
                        g0, g1 = g * wx0, g * wx1
                        of_image[item, c, p00] += w00 * g0
                        of_image[item, c, p00 + dx] += w00 * g1
                        of_image[item, c, p01] += w01 * g0
                        of_image[item, c, p01 + dx] += w01 * g1
                        of_image[item, c, p10] += w10 * g0
                        of_image[item, c, p10 + dx] += w10 * g1
                        of_image[item, c, p11] += w11 * g0
                        of_image[item, c, p11 + dx] += w11 * g1
                of_field[item, 0, at], of_field[item, 1, at], of_field[item, 2, at] = gz, gy, gx
