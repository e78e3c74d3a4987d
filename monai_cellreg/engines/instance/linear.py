"""Affine registration by descent on an image loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import cos, pi

import numpy as np
import torch
from torch import Tensor

from ...geometry import SamplingGrid, warp
from ...utils import check_choice
from .pyramid import Images

KINDS = ("rigid", "similarity", "affine")
ImageLossFunction = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class LinearSettings:
    """How the affine stage runs.

    Args:
        kind: ``"rigid"``, ``"similarity"`` or ``"affine"``.
        sizes: voxels along the longest axis, level after level.
        iterations: of every level.
        rate: first step, as a share of half the image's longest side.
    """

    kind: str = "affine"
    sizes: Sequence[int] = (64, 128)
    iterations: Sequence[int] = (80, 40)
    rate: float = 0.02

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, KINDS)


def optimise_affine(
    images: Images, loss: ImageLossFunction, start: np.ndarray, settings: LinearSettings = LinearSettings()
) -> tuple[np.ndarray, float]:
    """The world matrix that minimises an image loss, from a start.

    Turns, stretches and shifts act about the centre of the fixed image, in units of half its longest side, so that one
    step suits all of them. Only what both images show counts.

    Args:
        images: the pair.
        loss: of the warped moving image, the fixed image and a weight (1, 1, *spatial).
        start: (D+1, D+1) fixed world points to moving world points.
        settings: how it runs.

    Returns:
        The matrix, and its loss at the last level.
    """
    dims, grid = images.dims, images.fixed_grid
    centre, extent = half_extent(grid)
    device = images.fixed.device
    generator = torch.zeros(dims, dims, device=device, requires_grad=True)
    shift = torch.zeros(dims, device=device, requires_grad=True)
    for level, (size, iterations) in enumerate(zip(settings.sizes, settings.iterations, strict=True)):
        part = images.coarser(2 * extent / size)
        optimiser = torch.optim.Adam([generator, shift], lr=settings.rate)
        for iteration in range(iterations):
            for group in optimiser.param_groups:
                decay = 0.5 * (1 + cos(pi * iteration / iterations))
                group["lr"] = settings.rate * 0.5**level * max(decay, 0.02)
            value = linear_loss(part, loss, _applied(generator, shift, settings.kind, (centre, extent)), start)
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
    with torch.no_grad():
        change = _applied(generator, shift, settings.kind, (centre, extent))
        value = linear_loss(part, loss, change, start)
    return start @ change.double().cpu().numpy(), float(value)


def linear_loss(images: Images, loss: ImageLossFunction, change: Tensor, start: np.ndarray) -> Tensor:
    """Loss of ``start`` after a further world matrix (D+1, D+1), with gradient in that matrix.

    Args:
        images: the pair.
        loss: see :func:`optimise_affine`.
        change: (D+1, D+1) applied to fixed world points first.
        start: (D+1, D+1) applied afterwards.
    """
    affine = change.new_tensor(images.fixed_grid.affine)
    after = change.new_tensor(np.linalg.inv(images.moving_grid.affine) @ start)
    between = after @ change @ affine
    index = images.index
    moved = torch.einsum("ij,bj...->bi...", between[:-1, :-1], index)
    moved = moved + between[:-1, -1].reshape(1, -1, *[1] * images.dims)
    field = moved - index
    warped = warp(images.moving, field)
    return loss(warped, images.fixed, overlap(images, field.detach()))


@torch.no_grad()
def overlap(images: Images, field_vox: Tensor) -> Tensor:
    """Weight (1, 1, *spatial) of what both images show and both masks count.

    Args:
        images: the pair.
        field_vox: (1, D, *spatial) from fixed to moving indices.
    """
    ends = field_vox.new_tensor([s - 1 for s in images.moving.shape[2:]]).reshape(1, -1, *[1] * images.dims)
    place = images.index + field_vox
    inside = ((place >= -0.5) & (place <= ends + 0.5)).all(dim=1, keepdim=True).float()
    if images.moving_mask is not None:
        inside = inside * warp(images.moving_mask, field_vox)
    return inside if images.fixed_mask is None else inside * images.fixed_mask


def half_extent(grid: SamplingGrid) -> tuple[np.ndarray, float]:
    """World centre (D,) of a grid, and half its longest side."""
    centre = grid.affine @ np.array([*((s - 1) / 2 for s in grid.shape), 1.0])
    return centre[:-1], max(n * s for n, s in zip(grid.shape, grid.spacing, strict=True)) / 2


def _applied(generator: Tensor, shift: Tensor, kind: str, frame: tuple[np.ndarray, float]) -> Tensor:
    """The world matrix (D+1, D+1) of parameters about a centre, in units of an extent."""
    centre, extent = frame
    dims = len(shift)
    if kind != "affine":
        turn = (generator - generator.T) / 2
        generator = turn if kind == "rigid" else turn + torch.eye(dims, device=shift.device) * generator.trace() / dims
    linear = torch.linalg.matrix_exp(generator)
    middle = torch.tensor(centre, dtype=torch.float32, device=shift.device)
    moved = middle - linear @ middle + extent * shift
    top = torch.cat([linear, moved[:, None]], dim=1)
    return torch.cat([top, torch.eye(dims + 1, device=shift.device)[-1:]])
