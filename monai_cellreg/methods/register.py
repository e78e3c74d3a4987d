"""Registering two images by any method: ``mc.register``."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..geometry import Pair, SamplingGrid, SpatialTransform, resample, to_voxel_ddf, voxel_jacobian_determinant
from ..metrics import registration_iou
from .images import ImageLike, as_image
from .method import Method
from .table import load_method


@dataclass(frozen=True)
class Registration:
    """What :func:`register` gives.

    Args:
        transform: fixed world points to moving world points.
        warped: the moving image on the fixed grid, in its own number type: an array (*spatial) when the moving image
            was one, else a ``MetaTensor`` (1, *spatial).
        metrics: seconds taken, normalised cross correlation before and after (0 for a constant image), displacement in
            world units, folded share of the voxels and, with labels, the IoU of all that is labelled before and after;
            "before" only for images on one grid.
        pair: the pair as it was registered.
    """

    transform: SpatialTransform
    warped: Tensor | np.ndarray
    metrics: dict[str, float]
    pair: Pair


def register(
    fixed: ImageLike,
    moving: ImageLike,
    *,
    method: str | Method = "joint",
    fixed_label: ImageLike | None = None,
    moving_label: ImageLike | None = None,
) -> Registration:
    """Aligns the moving image with the fixed one.

    Args:
        fixed: image whose frame is kept: a path, a ``MetaTensor`` (C, *spatial), or an array or tensor (*spatial) whose
            world coordinates are its indices (row, column).
        moving: image to be brought onto it; its size and spacing may differ.
        method: a name (see :func:`~monai_cellreg.methods.method_names`) or anything with ``register(pair)``.
        fixed_label: labels of the fixed image, for the metrics alone.
        moving_label: labels of the moving image.

    Returns:
        The map, the warped image and the metrics.

    Raises:
        ValueError: when an image cannot be used, the two cannot be compared, or the method is unknown.

    Example:
        >>> import monai_cellreg as mc
        >>> from monai_cellreg.data.synthetic_sequence import simulate_sequence
        >>> film = simulate_sequence(2, seed=3)
        >>> result = mc.register(film.images[0][0], film.images[1][0])
        >>> result.warped.shape, result.transform.points(np.zeros((5, 2))).shape
        ((160, 160), (5, 2))
    """
    images = {"fixed": as_image(fixed, "fixed"), "moving": as_image(moving, "moving")}
    labels = {
        name: None if value is None else as_image(value, name, label=True)
        for name, value in (("fixed_label", fixed_label), ("moving_label", moving_label))
    }
    grids = {f"{name}_grid": SamplingGrid.from_image(image) for name, image in images.items()}
    pair = Pair(**images, **grids, **labels)
    chosen = load_method(method) if isinstance(method, str) else method
    start = time.perf_counter()
    transform = chosen.register(pair)
    seconds = time.perf_counter() - start
    data = pair.moving.as_tensor() if hasattr(pair.moving, "as_tensor") else pair.moving
    warped = resample(data[None], transform, pair.fixed_grid, pair.moving_grid)[0].detach()
    metrics = {"seconds": seconds, **measure(pair, transform, warped)}
    given: Tensor | np.ndarray = pair.fixed_grid.to_image(warped)
    if isinstance(moving, np.ndarray):
        given = warped.numpy().astype(moving.dtype).reshape(pair.fixed_grid.shape)
    return Registration(transform, given, metrics, pair)


@torch.no_grad()
def measure(pair: Pair, transform: SpatialTransform, warped: Tensor) -> dict[str, float]:
    """Figures of one registration; see :class:`Registration`.

    Args:
        pair: what was registered.
        transform: its map.
        warped: the moving image on the fixed grid (C, *spatial).
    """
    ddf = to_voxel_ddf(transform, pair.fixed_grid, pair.moving_grid)
    length = transform.displacement(pair.fixed_grid).norm(dim=1)
    metrics = {
        "ncc_after": _ncc(pair.fixed, warped),
        "mean_displacement": float(length.mean()),
        "max_displacement": float(length.max()),
        "folding_fraction": float((voxel_jacobian_determinant(ddf) <= 0).double().mean()),
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


def _ncc(a: Tensor, b: Tensor) -> float:
    flat = torch.stack([torch.as_tensor(x).double().flatten() for x in (a, b)])
    return float(torch.corrcoef(flat)[0, 1].nan_to_num())
