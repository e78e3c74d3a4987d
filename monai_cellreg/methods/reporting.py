"""The page of a registration, composed of what it knows."""

from __future__ import annotations

import os
from collections.abc import Mapping

import nibabel as nib
import numpy as np
import torch

from ..geometry import AffineTransform, SamplingGrid, resample, to_voxel_ddf
from ..report import PairPage, write_pair_page
from .verdict import Registered, judge

__all__ = ["registration_page"]


@torch.no_grad()
def registration_page(
    registration: Registered,
    path: str | os.PathLike[str],
    *,
    title: str = "",
    parameters: Mapping[str, object] | None = None,
) -> None:
    """Writes one HTML file that shows a registration and needs no network; it appears only when it is complete.

    Args:
        registration: what :func:`~monai_cellreg.methods.register` gave.
        path: file to write, ending in ``.html``.
        title: heading; the method's name when omitted.
        parameters: listed beside the method and the images, such as the files and options of a command.

    Raises:
        ValueError: if ``path`` does not end in ``.html``.
    """
    pair, grid = registration.pair, registration.pair.fixed_grid
    moving = torch.as_tensor(pair.moving).detach()
    still = AffineTransform.translation([0.0] * grid.spatial_dims)
    before, after = (
        resample(moving[None], way, grid, pair.moving_grid)[0].cpu().numpy() for way in (still, registration.transform)
    )
    run = {
        "Method": registration.method,
        "Fixed image": _described(pair.fixed.shape[0], grid),
        "Moving image": _described(pair.moving.shape[0], pair.moving_grid),
        **(parameters or {}),
    }
    page = PairPage(
        fixed=torch.as_tensor(pair.fixed).detach().cpu().numpy(),
        moving=before,
        warped=after,
        displacement_vox=to_voxel_ddf(registration.transform, grid, grid)[0].cpu().numpy(),
        spacing=grid.spacing,
        unit=grid.unit,
        orientation="".join(nib.aff2axcodes(grid.affine)) if grid.frame == "RAS" else "",
        title=title or f"Registration by {registration.method}",
        verdict=judge(registration),
        metrics=registration.metrics,
        parameters=run,
        account=registration.account,
    )
    write_pair_page(path, page)


def _described(channels: int, grid: SamplingGrid) -> str:
    """Size, spacing and channels in words."""
    size = " × ".join(map(str, grid.shape))
    spacing = "" if np.allclose(grid.spacing, 1) else f" of {' × '.join(f'{s:.4g}' for s in grid.spacing)} {grid.unit}"
    voxels, kind = "pixels" if grid.spatial_dims == 2 else "voxels", "grey" if channels == 1 else "colour"
    return f"{size} {voxels}{spacing}, {kind}"
