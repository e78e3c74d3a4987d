"""Vectors in voxels measured in the unit of a spacing."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..utils import check_positive


def checked_spacing(spacing: Sequence[float] | None) -> tuple[float, ...] | None:
    """The spacing as a tuple, none for voxels.

    Raises:
        ValueError: for a spacing that is not above 0.
    """
    if spacing is None:
        return None
    check_positive("spacing", spacing)
    return tuple(float(s) for s in spacing)


def in_units(vectors: Tensor, spacing: tuple[float, ...] | None, *, axis: int) -> Tensor:
    """Vectors in voxels, in the unit of the spacing along each axis.

    Args:
        vectors: of D components in voxels.
        spacing: of the D axes; none leaves them in voxels.
        axis: where the components are.

    Raises:
        ValueError: when the spacing is of another dimension.
    """
    if spacing is None:
        return vectors
    if len(spacing) != vectors.shape[axis]:
        raise ValueError(
            f"spacing is {spacing}, expected {vectors.shape[axis]} numbers, one for each axis of the field"
        )
    return (vectors.movedim(axis, -1) * vectors.new_tensor(spacing)).movedim(-1, axis)
