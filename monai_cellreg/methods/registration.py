"""What a registration gives, and the figures that describe it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..geometry import Pair, RegisteredTransform, SpatialTransform, resample, to_voxel_ddf, voxel_jacobian_determinant
from ..metrics import registration_iou
from ..metrics.similarity import correlation
from ..transforms import to_grey
from .agreement import agreement
from .reporting import registration_page


@dataclass(frozen=True)
class Registration:
    """What :func:`~monai_cellreg.methods.register` gives.

    Args:
        transform: fixed world points to moving world points; its ``save`` writes it to a file.
        warped: the moving image on the fixed grid, in its own number type and colours: an array with its channels where
            the moving one has them when that was an array, else a ``MetaTensor`` (C, *spatial).
        metrics: seconds taken, normalised cross correlation before and after (0 for a constant image), normalised
            mutual information before and after and the share of the fixed image that the moving one covers (see
            :func:`~monai_cellreg.methods.agreement.agreement`), displacement in world units, folded share of the
            voxels and, with labels, the IoU of all that is labelled before and after; correlation and IoU "before" only
            for images on one grid.
        pair: the pair as it was registered.
        method: name of the method.
        account: what was assumed of the images, and what the method did and why, a sentence each.
    """

    transform: RegisteredTransform
    warped: Tensor | np.ndarray
    metrics: dict[str, float]
    pair: Pair
    method: str
    account: tuple[str, ...] = ()

    def report(
        self, path: str | os.PathLike[str], *, title: str = "", parameters: Mapping[str, object] | None = None
    ) -> None:
        """Writes one HTML file that shows the result; see :func:`~monai_cellreg.methods.registration_page`."""
        registration_page(self, path, title=title, parameters=parameters)


@torch.no_grad()
def measure(pair: Pair, transform: SpatialTransform, warped: Tensor) -> dict[str, float]:
    """Figures of one registration; see :class:`Registration`.

    Args:
        pair: what was registered.
        transform: its map.
        warped: the moving image on the fixed grid (C, *spatial).
    """
    ddf = to_voxel_ddf(transform, pair.fixed_grid, pair.moving_grid).cpu()  # the map may be on a GPU
    length = transform.displacement(pair.fixed_grid).norm(dim=1)
    metrics = {
        "ncc_after": _ncc(pair.fixed, warped),
        "mean_displacement": float(length.mean()),
        "max_displacement": float(length.max()),
        "folding_fraction": float((voxel_jacobian_determinant(ddf) * _turned(pair) <= 0).double().mean()),
        **agreement(pair, warped, ddf),
    }
    if pair.fixed_grid.matches(pair.moving_grid):
        metrics["ncc_before"] = _ncc(pair.fixed, pair.moving)
    if pair.fixed_label is not None and pair.moving_label is not None:
        fixed, moving = ((label[None] > 0).float() for label in (pair.fixed_label, pair.moving_label))
        after = resample(moving, transform, pair.fixed_grid, pair.moving_grid, mode="nearest")
        metrics["iou_after"] = float(registration_iou(fixed, after))
        if pair.fixed_grid.matches(pair.moving_grid):
            metrics["iou_before"] = float(registration_iou(fixed, moving))
    return metrics


def _turned(pair: Pair) -> float:
    """-1 where one grid is a mirror image of the other, as files that store an axis backwards are; else 1."""
    return float(np.sign(np.linalg.det(pair.fixed_grid.affine) * np.linalg.det(pair.moving_grid.affine)))


def _ncc(a: Tensor, b: Tensor) -> float:
    return float(correlation(*(to_grey(torch.as_tensor(x))[None] for x in (a, b))))
