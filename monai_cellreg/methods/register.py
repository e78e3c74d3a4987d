"""Registering two images by any method: ``mc.register``."""

from __future__ import annotations

import time

import numpy as np
from torch import Tensor

from ..geometry import Pair, RegisteredTransform, SamplingGrid, resample
from .images import ImageLike, as_image
from .method import Method
from .registration import Registration, measure
from .table import load_method


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
    transform = RegisteredTransform(chosen.register(pair), pair.fixed_grid, pair.moving_grid)
    seconds = time.perf_counter() - start
    data = pair.moving.as_tensor() if hasattr(pair.moving, "as_tensor") else pair.moving
    warped = resample(data[None], transform, pair.fixed_grid, pair.moving_grid)[0].detach()
    metrics = {"seconds": seconds, **measure(pair, transform, warped)}
    given: Tensor | np.ndarray = pair.fixed_grid.to_image(warped)
    if isinstance(moving, np.ndarray):
        given = warped.numpy().astype(moving.dtype).reshape(pair.fixed_grid.shape)
    name = method if isinstance(method, str) else type(method).__name__
    return Registration(transform, given, metrics, pair, name)
