"""What losses on displacement fields share: the field and its weight made ready, and a look at the result."""

from __future__ import annotations

import torch
from torch import Tensor

from ..utils import check_finite, format_shape
from .tensors import may_look, plain


def as_field(pred: Tensor, *, smallest: int) -> Tensor:
    """A voxel displacement field as a plain tensor in float32 or better.

    Args:
        pred: (B, D, *spatial).
        smallest: number of voxels that the loss needs along every axis.

    Raises:
        ValueError: when components and axes do not fit, or an axis is too thin.
    """
    dims, spatial = pred.ndim - 2, pred.shape[2:]
    if dims not in (1, 2, 3) or pred.shape[1] != dims or pred.shape[0] < 1:
        raise ValueError(
            f"pred has shape {format_shape(pred.shape)}, expected a displacement field (B, D, *spatial) with one "
            "component for each of its one to three axes"
        )
    if min(spatial) < smallest:
        thin = min(range(dims), key=lambda axis: spatial[axis])
        size = "one voxel" if spatial[thin] == 1 else f"{spatial[thin]} voxels"
        raise ValueError(
            f"pred is {size} thick along axis {thin} (spatial shape {format_shape(spatial)}), expected at least "
            f"{smallest} along every axis, which a difference reads; give a single slice as a 2D field"
        )
    return plain(pred, torch.promote_types(pred.dtype, torch.float32))


def as_weight(weight: Tensor, field: Tensor) -> Tensor:
    """A weight of voxels (B or 1, 1, *spatial) as a plain tensor of the field's dtype.

    Raises:
        ValueError: for another shape, or a weight that is negative or not finite.
    """
    batch, _, *spatial = field.shape
    if weight.ndim != field.ndim or weight.shape[0] not in (1, batch) or list(weight.shape[1:]) != [1, *spatial]:
        raise ValueError(
            f"weight has shape {format_shape(weight.shape)} but pred has shape {format_shape(field.shape)}, expected "
            f"({batch} or 1, 1, {', '.join(map(str, spatial))}); crop or resize the weight to the field"
        )
    weight = plain(weight, field.dtype)
    if may_look():
        check_finite("weight", weight)
        if bool((weight < 0).any()):
            raise ValueError(f"weight has a value of {float(weight.min()):.3g}, expected 0 (hidden) or more; clip it")
    return weight


def shares(weight: Tensor, what: str) -> Tensor:
    """A weight (B or 1, 1, *spatial) divided by its sum over each item.

    Raises:
        ValueError: when an item has no voxel left; ``what`` says which voxels count.
    """
    totals = weight.sum(tuple(range(1, weight.ndim)), keepdim=True)
    empty = (totals == 0).flatten().nonzero().flatten().tolist() if may_look() else []
    if empty:
        raise ValueError(
            f"weight is 0 at {what} of item {empty[0]}, expected some voxel above 0 in each; leave the item out of the "
            "batch, or check that the mask lies inside it"
        )
    return weight / totals


def is_finite(loss: Tensor) -> bool:
    """Whether a loss is finite, as far as one may look."""
    return not may_look() or bool(loss.detach().isfinite().all())
