"""How well the maps of both directions undo each other, as a MONAI cumulative metric."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..geometry import warp
from ..utils import Spacing, check_spacing, format_shape, in_units
from .pairwise import PairStatistics, checked_field, known_max, known_mean


class InverseConsistencyError(PairStatistics):
    """Mean and largest distance of a pair between its grid points and where both maps, in turn, bring them.

    ``|spacing * (u(x) + v(x + u(x)))|`` for the field u from fixed to moving and v from moving to fixed, in voxels of
    the fixed image, or in the unit of ``spacing``. v is read linearly between its voxels; points that u takes outside
    the moving image, where v says nothing, are left out. ``inside``, the third number of a row, is the share of points
    that are not: an error is worth as much as that is large.

    Args:
        spacing: distance of neighbouring voxels of the fixed image, one number or one for each axis; none for voxels.
        of_pair: what :meth:`aggregate` follows: ``"mean"``, ``"max"`` or ``"inside"``.
        over_pairs: how it reduces the pairs: ``"mean"``, ``"median"`` or ``"max"``.

    References:
        Christensen and Johnson, Consistent image registration, IEEE TMI 2001.
    """

    columns = ("mean", "max", "inside")

    def __init__(self, *, spacing: Spacing = None, of_pair: str = "mean", over_pairs: str = "mean") -> None:
        super().__init__(of_pair=of_pair, over_pairs=over_pairs)
        check_spacing(spacing)
        self.spacing = spacing

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None) -> Tensor:
        """Voxel fields, ``y_pred`` (B, D, *fixed size) to moving and ``y`` (B, D, *moving size) to fixed, to (B, 3)."""
        if y is None or y.shape[:2] != y_pred.shape[:2]:
            raise ValueError(
                f"y_pred has shape {format_shape(y_pred.shape)}, y {None if y is None else format_shape(y.shape)}; "
                "expected the field from fixed to moving (B, D, *fixed size) and back (B, D, *moving size)"
            )
        there, back = checked_field("y_pred", y_pred), checked_field("y", y)
        distance = in_units(there + warp(back, there), self.spacing, axis=1).norm(dim=1)
        inside = _inside(there, y.shape[2:]).flatten(1)
        distance = torch.where(inside, distance.flatten(1), torch.nan)
        return torch.stack([known_mean(distance), known_max(distance), inside.to(distance).mean(1)], dim=1)


def _inside(displacement_vox: Tensor, size: Sequence[int]) -> Tensor:
    """Whether ``x + displacement(x)`` (B, *spatial) lies between the voxel centres of an image of ``size``."""
    axes = [
        torch.arange(s, dtype=displacement_vox.dtype, device=displacement_vox.device)
        for s in displacement_vox.shape[2:]
    ]
    index = torch.stack(torch.meshgrid(*axes, indexing="ij")) + displacement_vox
    last = displacement_vox.new_tensor([s - 1 for s in size]).reshape(-1, *[1] * len(size))
    return ((index >= 0) & (index <= last)).all(dim=1)
