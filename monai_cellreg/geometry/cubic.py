"""Cubic B-spline interpolation of images: smooth between voxels, exact at them.

References:
    Unser, Aldroubi, Eden, B-spline signal processing: part II, IEEE Transactions on Signal Processing 1993. The two
    recursions of their direct filter are summed here by doubling, log2(taps) additions of whole arrays each.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .bspline_kernel import read_spline

POLE = 3**0.5 - 2  # of the filter that turns samples into cubic B-spline coefficients
HALO = 12  # voxels outside the image until the spline has settled to a ten-millionth


def interpolate_cubic(image: Tensor, index: Tensor, *, padding: str) -> Tensor:
    """Values of the cubic spline through all voxels, at arbitrary index coordinates.

    Convention: coordinates follow the tensor axes, in voxels. The image is first continued without end, then
    interpolated, as by ``scipy.ndimage.map_coordinates`` of order 3: ``"border"`` is SciPy's ``nearest``, ``"zeros"``
    its ``grid-constant`` and ``"reflection"`` its ``mirror`` (about the centres of the outer voxels).

    Args:
        image: (B or 1, C, *spatial), floating or integer.
        index: (B or 1, *out, D) coordinates in voxels.
        padding: ``"border"``, ``"zeros"`` or ``"reflection"``.

    Returns:
        (B, C, *out) in the image's dtype, differentiable in both; whole numbers are rounded, and kept inside the range
        of their type, since the spline overshoots at edges.
    """
    wide = image.dtype.itemsize >= 4 and not image.dtype.is_floating_point
    dtype = torch.float64 if wide or torch.float64 in (image.dtype, index.dtype) else torch.float32
    last = torch.tensor(image.shape[2:], dtype=dtype, device=index.device) - 1
    points = index.flatten(1, -2).to(dtype)
    if padding == "reflection":
        points = _reflected(points, last)
    halo = 2 if padding == "reflection" else HALO
    values = read_spline(spline_coefficients(image.to(dtype), padding=padding, halo=halo), points + halo, 3)
    if padding == "zeros":
        beyond = ((points < -HALO) | (points > last + HALO)).any(dim=-1)
        values = values.masked_fill(beyond[:, None], 0.0)
    return to_dtype(values.reshape(*values.shape[:2], *index.shape[1:-1]), image.dtype)


def spline_coefficients(image: Tensor, *, padding: str, halo: int) -> Tensor:
    """Coefficients of the cubic B-spline through an image that is continued without end.

    Args:
        image: (B, C, *spatial), floating.
        padding: how the image goes on, see :func:`interpolate_cubic`.
        halo: number of coefficients wanted outside the image, on every side.

    Returns:
        (B, C, *(spatial + 2 halo)).
    """
    taps = 32 if image.dtype == torch.float64 else 16  # what is left out is below the precision
    values = image
    for axis in range(2, image.ndim):
        values = _continued(values, axis, halo + taps - 1, padding)
        for backward in (False, True):
            reach = 1
            while reach < taps:  # the sum of ``reach`` taps, doubled
                count = values.shape[axis] - reach
                before, after = values.narrow(axis, 0, count), values.narrow(axis, reach, count)
                here, there = (before, after) if backward else (after, before)
                values = torch.add(here, there, alpha=POLE**reach)
                reach *= 2
        values = -6 * POLE * values
    return values


def to_dtype(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Floating values in another type: rounded to the nearest number that a whole type holds."""
    if dtype.is_floating_point:
        return values.to(dtype)
    if dtype == torch.bool:
        return values > 0.5
    info = torch.iinfo(dtype)
    return values.round().clamp(info.min, info.max).to(dtype)


def _continued(values: Tensor, axis: int, margin: int, padding: str) -> Tensor:
    """``values`` with ``margin`` more entries at both ends of an axis."""
    size = values.shape[axis]
    place = torch.arange(-margin, size + margin, device=values.device)
    last = torch.tensor(size - 1, device=values.device)
    longer = values.index_select(axis, _reflected(place, last) if padding == "reflection" else place.clamp(0, size - 1))
    if padding != "zeros":
        return longer
    inside = ((place >= 0) & (place < size)).reshape(-1, *[1] * (values.ndim - 1 - axis))
    return torch.where(inside, longer, 0.0)


def _reflected(place: Tensor, last: Tensor) -> Tensor:
    """Coordinates brought between 0 and ``last`` by reflection about both; an axis of one voxel is its own image."""
    period = 2 * last.clamp(min=1)
    around = place.remainder(period)
    return torch.minimum(torch.minimum(around, period - around), last)
