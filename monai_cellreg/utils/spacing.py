"""The spacing of an image's voxels, however a caller gives it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf

from torch import Tensor

from .checks import check_positive

__all__ = ["Spacing", "axis_spacing", "check_spacing", "in_units"]

Spacing = float | Sequence[float] | None
"""Distance of neighbouring voxels: one number, one for each tensor axis, or none for voxels."""


def check_spacing(spacing: Spacing) -> None:
    """Check a spacing where it is set and the number of axes is not known yet; see :func:`axis_spacing`.

    Args:
        spacing: one number, one for each axis, or none.

    Raises:
        ValueError: if a number is not finite and above 0, or there is none in a sequence.
    """
    if spacing is not None:
        check_positive("spacing", spacing)


def axis_spacing(spacing: Spacing, dims: int) -> tuple[float, ...]:
    """Distance of neighbouring voxels along each tensor axis.

    Args:
        spacing: one number for all axes, a sequence of one for each, or none for 1.
        dims: number of axes.

    Returns:
        ``dims`` numbers above 0.

    Raises:
        ValueError: if a number is not finite and above 0, or there are more or fewer than axes.

    Example:
        >>> axis_spacing(0.5, 3), axis_spacing((2, 1), 2), axis_spacing(None, 2)
        ((0.5, 0.5, 0.5), (2.0, 1.0), (1.0, 1.0))
    """
    if spacing is None:
        return (1.0,) * dims
    lengths = tuple(map(float, spacing)) if isinstance(spacing, Iterable) else (float(spacing),) * dims
    if not all(0 < length < inf for length in lengths):  # asked in plain Python: losses that are compiled come here
        check_spacing(spacing)
    if len(lengths) != dims:
        raise ValueError(
            f"spacing is {spacing} for {dims} axes, expected one number, or one for each axis; give {dims} numbers in "
            "the order of the tensor axes"
        )
    return lengths


def in_units(vectors: Tensor, spacing: Spacing, *, axis: int) -> Tensor:
    """Vectors in voxels, in the unit of the spacing along each axis.

    Args:
        vectors: of D components in voxels.
        spacing: of the D axes, see :func:`axis_spacing`; none leaves the vectors in voxels.
        axis: where the components are.

    Returns:
        A tensor of the same shape.

    Raises:
        ValueError: from :func:`axis_spacing`.
    """
    if spacing is None:
        return vectors
    lengths = vectors.new_tensor(axis_spacing(spacing, vectors.shape[axis]))
    return (vectors.movedim(axis, -1) * lengths).movedim(-1, axis)
