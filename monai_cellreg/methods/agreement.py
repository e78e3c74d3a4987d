"""How well two images agree where both are known, whatever their modalities."""

from __future__ import annotations

import numpy as np
import torch
from skimage.metrics import normalized_mutual_information
from torch import Tensor

from ..geometry import AffineTransform, Pair, SamplingGrid, resample
from ..transforms import to_grey

MOST_VOXELS = 200_000  # that a similarity is computed from, evenly spread
BINS = 64


def covered(displacement_vox: Tensor, moving_grid: SamplingGrid) -> Tensor:
    """Where the moving image is known: voxels of the fixed grid that are read inside of it.

    Args:
        displacement_vox: (1, D, *spatial); moving index = fixed index + displacement.
        moving_grid: where the moving image lies.

    Returns:
        (*spatial), bool.
    """
    spatial = displacement_vox.shape[2:]
    index = SamplingGrid(tuple(spatial)).index(dtype=torch.float32, device=displacement_vox.device)
    read = index + displacement_vox[0].movedim(0, -1)
    last = read.new_tensor(moving_grid.shape) - 1
    return ((read >= -0.5) & (read <= last + 0.5)).all(dim=-1)


def nmi(fixed: Tensor, moving: Tensor, inside: Tensor) -> float:
    """Normalised mutual information of two images on one grid: 1 when independent, 2 when one tells the other.

    Args:
        fixed: (C, *spatial), one or three channels.
        moving: (C, *spatial).
        inside: (*spatial), bool, the voxels that count.

    Returns:
        The value; 1 where there are no two voxels to compare, or an image is constant.

    References:
        Studholme, Hill and Hawkes 1999, equation 8.
    """
    values = [to_grey(torch.as_tensor(image))[0][inside].double().cpu().numpy() for image in (fixed, moving)]
    step = max(1, values[0].size // MOST_VOXELS)
    first, second = (v[::step] for v in values)
    if first.size < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return 1.0
    return float(normalized_mutual_information(first, second, bins=BINS))


def agreement(pair: Pair, warped: Tensor, displacement_vox: Tensor) -> dict[str, float]:
    """Normalised mutual information before and after, and the share of the fixed image that the moving one covers.

    Args:
        pair: what was registered; before, the images lie where their grids say.
        warped: the moving image on the fixed grid (C, *spatial).
        displacement_vox: (1, D, *spatial); moving index = fixed index + displacement.
    """
    start = AffineTransform.translation([0.0] * pair.fixed_grid.spatial_dims)
    index = pair.fixed_grid.index()
    still = (pair.moving_grid.world_to_index(pair.fixed_grid.index_to_world(index)) - index).movedim(-1, 0)[None]
    moving = torch.as_tensor(pair.moving)
    if not pair.fixed_grid.matches(pair.moving_grid):
        moving = resample(moving[None], start, pair.fixed_grid, pair.moving_grid)[0]
    inside = covered(displacement_vox, pair.moving_grid)
    return {
        "nmi_before": nmi(pair.fixed, moving, covered(still.float(), pair.moving_grid)),
        "nmi_after": nmi(pair.fixed, warped, inside),
        "coverage": float(inside.double().mean()),
    }
