"""What a frame shows besides pixel noise and a smooth background, and what two frames have of it in common."""

from __future__ import annotations

from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry import SamplingGrid, SpatialTransform

CELLS = 48  # most cells along all axes together: coarse enough that noise averages out, in a volume too
SMALLEST = 1e-3  # of a Jacobian determinant, so that folds have a logarithm


def cells(image: Tensor) -> Tensor:
    """Means over equal cells, at most 24 along an axis (16 in 3D), without their best quadratic in the coordinates.

    Args:
        image: (C, *spatial); pixels that do not fill a cell at the end of an axis are left out.

    Returns:
        (C, *cells), float64, of mean 0.
    """
    dims = image.ndim - 1
    steps = [ceil(size * dims / CELLS) for size in image.shape[1:]]
    shape = [size // step for size, step in zip(image.shape[1:], steps, strict=True)]
    whole = image[(slice(None), *(slice(n * step) for n, step in zip(shape, steps, strict=True)))]
    means = F.interpolate(whole[None].double(), size=shape, mode="area")[0]
    axes = torch.meshgrid(*(torch.linspace(-1, 1, n, dtype=torch.float64) for n in shape), indexing="ij")
    lines = [torch.ones(shape, dtype=torch.float64), *axes]
    products = [first * second for k, first in enumerate(lines) for second in lines[k:]]
    basis = torch.stack([product.flatten() for product in products], dim=1).to(image.device)  # (N, P)
    values = means.flatten(1).T  # (N, C)
    values = values - values[0]  # exactly 0 for a constant image
    return (values - basis @ (torch.linalg.pinv(basis) @ values)).T.reshape(means.shape)


def structure(image: Tensor) -> float:
    """Share of the variance of the cells that neighbouring cells have in common.

    Args:
        image: (C, *spatial).

    Returns:
        About 0 for independent noise of pixels, whatever smooth background it lies on, and for a constant image; about
        1 for an image of large objects.
    """
    fine = cells(image)
    fine = fine[(slice(None), *(slice(max(1, size - size % 2)) for size in fine.shape[1:]))]  # pairs
    coarse = F.interpolate(fine[None], size=[max(1, size // 2) for size in fine.shape[1:]], mode="area")[0]
    noise = coarse.numel() / fine.numel()  # to which averaging lowers the variance of noise
    variance = float(fine.square().mean())
    return (float(coarse.square().mean()) / variance - noise) / (1 - noise) if variance > 0 and noise < 1 else 0.0


def resemblance(fixed: Tensor, warped: Tensor) -> float:
    """Correlation coefficient of the cells of two images (C, *spatial), mean over the channels; 0 for a constant one.

    Background that lies still and looks like itself wherever a frame is moved does not count, and noise hardly does.
    """
    first, second = cells(fixed).flatten(1), cells(warped).flatten(1)
    size = (first.square().sum(1) * second.square().sum(1)).sqrt()
    return float(((first * second).sum(1) / size.clamp_min(torch.finfo(torch.float64).tiny)).mean())


def change_of_size(fixed: Tensor, grid: SamplingGrid, transform: SpatialTransform, other: SpatialTransform) -> float:
    """How much larger one map makes the content of an image than another does: 1 for twice the volume, -1 for half.

    It is the median of ``log2 |det T'| / |det S'|`` over the cells, each weighted by the square of its deviation from
    the background, so that maps may do as they like where there is nothing.

    Args:
        fixed: (C, *grid.shape).
        grid: where it lies.
        transform: the map T of its world points.
        other: the map S of its world points.
    """
    weight = cells(fixed).square().sum(0)
    coarse = grid.resized(weight.shape)
    one, two = (each.jacobian_determinant(coarse).abs().clamp_min(SMALLEST)[0].log2() for each in (transform, other))
    octaves, order = (one - two).cpu().flatten().sort()
    total = weight.cpu().flatten()[order].cumsum(0)
    return float(octaves[int((total < total[-1] / 2).sum())])
