"""Uniform B-splines: their weights, a spline read at points, and the matrix of one axis."""

from __future__ import annotations

import torch
from torch import Tensor

ORDERS = (1, 2, 3)
CHUNK = 1 << 18  # points a block: bounds the memory


def spline_weights(fraction: Tensor, order: int) -> tuple[Tensor, ...]:
    """Weights of the ``order + 1`` coefficients that a uniform B-spline mixes, first to last.

    Args:
        fraction: where in its span a point lies, in [0, 1], any shape.
        order: 1 (linear), 2 (quadratic) or 3 (cubic).

    Returns:
        ``order + 1`` tensors like ``fraction``, which sum to 1.

    Example:
        >>> [round(float(w), 4) for w in spline_weights(torch.tensor(0.0), 3)]
        [0.1667, 0.6667, 0.1667, 0.0]
    """
    u, v = fraction, 1 - fraction
    if order == 1:
        return v, u
    if order == 2:
        return v * v / 2, 0.5 + u * v, u * u / 2
    return v * v * v / 6, 2 / 3 - u * u * (2 - u) / 2, 2 / 3 - v * v * (2 - v) / 2, u * u * u / 6


def spline_support(index: Tensor, size: int, order: int) -> tuple[Tensor, tuple[Tensor, ...]]:
    """First coefficient and weights of points on one axis; points outside the valid region go to its border.

    Args:
        index: coordinates in steps of the coefficients, coefficient ``k`` at ``k``, any shape, floating.
        size: number of coefficients, ``order + 1`` or more.
        order: of the spline; valid are coordinates from ``(order - 1) / 2`` to ``size - 1 - (order - 1) / 2``.

    Returns:
        The first of ``order + 1`` neighbouring coefficients (int64) and their weights.
    """
    margin = (order - 1) / 2
    offset = index.clamp(margin, size - 1 - margin) - margin
    first = offset.detach().floor().clamp(max=size - 1 - order).nan_to_num()  # the far border ends the last span
    return first.long(), spline_weights(offset - first, order)


def read_spline(coefficients: Tensor, index: Tensor, order: int) -> Tensor:
    """A tensor-product spline at points: ``sum_k c_k prod_d beta(index_d - k_d)``.

    Convention: components follow the tensor axes; points outside the valid region take the value at its border.

    Args:
        coefficients: (B or 1, C, *lattice), at least ``order + 1`` an axis.
        index: (B or 1, N, D) in steps of the lattice, of the same dtype.
        order: 1, 2 or 3.

    Returns:
        (B, C, N), differentiable in both any number of times.
    """
    batch = max(coefficients.shape[0], index.shape[0])
    flat = coefficients.flatten(2).expand(batch, -1, -1)
    blocks = index.split(CHUNK, dim=1)
    return torch.cat([_read_block(flat, coefficients.shape[2:], x, order) for x in blocks], dim=2)


def _read_block(flat: Tensor, lattice: torch.Size, index: Tensor, order: int) -> Tensor:
    """:func:`read_spline` of a block of points, by gathering from the flattened lattice and mixing axis by axis."""
    strides = [lattice[axis + 1 :].numel() for axis in range(len(lattice))]
    supports = [spline_support(index[..., axis], size, order) for axis, size in enumerate(lattice)]
    start = torch.stack([s[0] * stride for s, stride in zip(supports, strides, strict=True)]).sum(dim=0)

    def mixed(axis: int, place: Tensor) -> Tensor:
        if axis == len(lattice):
            return flat.gather(2, place[:, None].expand(*flat.shape[:2], -1))
        weights = [w[:, None] for w in supports[axis][1]]
        total = weights[0] * mixed(axis + 1, place)
        for step, weight in enumerate(weights[1:], start=1):
            total = torch.addcmul(total, weight, mixed(axis + 1, place + step * strides[axis]))
        return total

    return mixed(0, start)


def spline_matrix(index: Tensor, size: int, order: int) -> Tensor:
    """Matrix (N, size) that takes ``size`` coefficients of one axis to the values at coordinates ``index`` (N,)."""
    first, weights = spline_support(index, size, order)
    columns = first[:, None] + torch.arange(order + 1, device=index.device)
    return index.new_zeros(index.shape[0], size).scatter(1, columns, torch.stack(weights, dim=1))
