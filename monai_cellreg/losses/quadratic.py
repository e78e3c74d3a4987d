"""Energies of a field that are sums of squared finite differences, with the gradient in closed form.

Every smoothness energy here is ``E = sum_v sum_s factor_s * (S_s u)(v)**2`` with small linear stencils ``S_s``, so its
gradient is ``2 sum_s factor_s * S_s^T S_s u``. Both are gathered in one walk over blocks that fit the processor's
cache; automatic differentiation would keep, and fill, one more field for every slice that a stencil reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import Any

import torch
from torch import Tensor

BLOCK = 1 << 17  # values a block on a CPU: fits the cache, and float32 sums of that length keep six digits
STENCILS = ({0: 1.0}, {1: 0.5, -1: -0.5}, {1: 1.0, -1: 1.0, 0: -2.0})  # value, central first and second difference

Stencil = dict[tuple[int, ...], float]
"""Coefficient by (component, offset along each axis)."""


def difference(component: int, orders: Sequence[int], factor: float = 1.0) -> Stencil:
    """The stencil of a partial derivative of one component in index coordinates.

    Args:
        component: of the field.
        orders: order of the derivative along each spatial axis, 0, 1 or 2.
        factor: multiplies the derivative.

    Example:
        >>> difference(0, (0, 1))
        {(0, 0, 1): 0.5, (0, 0, -1): -0.5}
    """
    taps = product(*(STENCILS[order].items() for order in orders))
    return {(component, *(offset for offset, _ in tap)): factor * prod(value for _, value in tap) for tap in taps}


def combined(stencils: Iterable[Stencil]) -> Stencil:
    """The sum of stencils."""
    total: Stencil = {}
    for stencil in stencils:
        for place, value in stencil.items():
            total[place] = total.get(place, 0.0) + value
    return total


@dataclass(frozen=True)
class Square:
    """One squared stencil, ``factor * stencil(u)**2``, of one or of several neighbouring components at once.

    Args:
        stencil: what is squared, at the first component it is meant for.
        factor: weight of the square.
        channel: channel of the energy that the square counts for.
        channels: to how many components, and channels, from there on the same stencil applies.
    """

    stencil: Stencil
    factor: float = 1.0
    channel: int = 0
    channels: int = 1

    def monic(self) -> Square:
        """The same with 1 as first coefficient, which spares the multiplication by it."""
        first = next(iter(self.stencil.values()))
        stencil = {place: value / first for place, value in self.stencil.items()}
        return replace(self, stencil=stencil, factor=self.factor * first**2)


def energy_map(field: Tensor, squares: Sequence[Square], weight: Tensor | None = None) -> Tensor:
    """The energy at every voxel but those of the outermost layer, by operations that autograd knows.

    Args:
        field: (B, D, *spatial), at least 3 voxels along every axis.
        squares: the terms of the energy.
        weight: (B or 1, 1, *(size - 2)), factor of each voxel.

    Returns:
        (B, channels, *(size - 2)).
    """
    channels = max(square.channel + square.channels for square in squares)
    energy: list[list[Tensor]] = [[] for _ in range(channels)]
    for square in squares:
        taps = [value * _shifted(field, place, square.channels) for place, value in square.stencil.items()]
        residual = sum(taps[1:], taps[0])
        for k, squared in enumerate((square.factor * residual.square()).split(1, dim=1)):
            energy[square.channel + k].append(squared)
    energies = torch.cat([sum(parts[1:], parts[0]) for parts in energy], dim=1)
    return energies if weight is None else energies * weight


def total_energy(field: Tensor, squares: Sequence[Square], weight: Tensor | None = None) -> Tensor:
    """The sum of :func:`energy_map`, with its gradient in closed form.

    Args:
        field: (B, D, *spatial), at least 3 voxels along every axis.
        squares: the terms of the energy.
        weight: (B or 1, 1, *(size - 2)), factor of each voxel.

    Returns:
        Scalar, differentiable any number of times.
    """
    if torch.compiler.is_compiling() or (weight is not None and weight.requires_grad):
        return energy_map(field, squares, weight).sum()
    if field.requires_grad and torch.is_grad_enabled():
        return _TotalEnergy.apply(field, squares, weight)
    return _gathered(field, squares, weight, None)


class _TotalEnergy(torch.autograd.Function):
    """Computes the gradient with the value, while both are in the cache."""

    @staticmethod
    def forward(ctx: Any, field: Tensor, squares: Sequence[Square], weight: Tensor | None) -> Tensor:
        ctx.save_for_backward(field, weight)
        ctx.squares, ctx.gradient = squares, _zeros(field)
        return _gathered(field, squares, weight, ctx.gradient)

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        field, weight = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient is to be differentiated in turn
            total = energy_map(field, ctx.squares, weight).sum()
            return scale * torch.autograd.grad(total, field, create_graph=True)[0], None, None
        gradient, ctx.gradient = ctx.gradient, None  # scaled in place, so a second backward has to begin anew
        if gradient is None:
            gradient = _zeros(field)
            _gathered(field, ctx.squares, weight, gradient)
        return gradient.mul_(scale), None, None


def _zeros(field: Tensor) -> Tensor:
    return torch.zeros_like(field, memory_format=torch.contiguous_format)


def _gathered(field: Tensor, squares: Sequence[Square], weight: Tensor | None, gradient: Tensor | None) -> Tensor:
    """The total energy; its gradient is added to ``gradient`` if one is given."""
    field, sums, inner = field.contiguous(), [], [size - 2 for size in field.shape[3:]]
    squares = [square.monic() for square in squares]
    weight = None if weight is None else weight.expand(len(field), *weight.shape[1:])
    for samples, rows in _blocks(field):
        block = samples, slice(None), slice(rows.start, rows.stop + 2)
        part, slope = field[block], None if gradient is None else gradient[block]
        share = None if weight is None else weight[samples, :, rows]
        for square in squares:
            size = (len(part), square.channels, rows.stop - rows.start, *inner)
            residual = _applied(square.stencil, part, size)
            weighted = residual if share is None else residual * share
            sums.append(square.factor * weighted.reshape(-1).dot(residual.view(-1)))
            if slope is not None:
                for place, value in square.stencil.items():
                    _window(slope, place, size).add_(weighted, alpha=2 * square.factor * value)
    return torch.stack(sums).sum()


def _applied(stencil: Stencil, block: Tensor, size: Sequence[int]) -> Tensor:
    """What a stencil with 1 as first coefficient gives at the inner voxels of a block, a new tensor of that size."""
    (first, _), (second, value), *others = stencil.items()
    result = _window(block, first, size).add(_window(block, second, size), alpha=value)
    for place, value in others:
        result.add_(_window(block, place, size), alpha=value)
    return result


def _blocks(field: Tensor) -> Iterator[tuple[slice, slice]]:
    """Samples and inner rows (first spatial axis) of blocks of about ``BLOCK`` values; all at once off the CPU."""
    batch, rows = field.shape[0], field.shape[2] - 2
    row = field[0, :, 0].numel()
    block = BLOCK if field.device.type == "cpu" else field.numel()
    samples = min(batch, max(1, block // (row * rows)))
    step = rows if row * rows <= 2 * block else max(1, block // row)
    for sample in range(0, batch, samples):
        for start in range(0, rows, step):
            yield slice(sample, min(batch, sample + samples)), slice(start, min(rows, start + step))


def _window(block: Tensor, place: tuple[int, ...], size: Sequence[int]) -> Tensor:
    """The inner part of a block (B, D, *spatial), as a stencil's tap at ``place`` sees it; a view."""
    stride = block.stride()
    start = place[0] * stride[1] + sum((1 + o) * s for o, s in zip(place[1:], stride[2:], strict=True))
    return block.as_strided(size, stride, block.storage_offset() + start)


def _shifted(field: Tensor, place: tuple[int, ...], channels: int) -> Tensor:
    """As :func:`_window`, by slices, which autograd follows."""
    inner = (slice(1 + o, size - 1 + o) for o, size in zip(place[1:], field.shape[2:], strict=True))
    return field[(slice(None), slice(place[0], place[0] + channels), *inner)]
