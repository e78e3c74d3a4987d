"""Registering two images by any method: ``mc.register``."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from torch import Tensor

from ..geometry import DenseTransform, RegisteredTransform, resample
from ..utils import plain
from .images import ImageLike, as_image, in_layout
from .known import Known
from .method import Method, found_by
from .pixel_size import pair_in_one_unit
from .registration import Registration, measure
from .table import heeds_guides, load_method, method_name


def register(
    fixed: ImageLike,
    moving: ImageLike,
    *,
    method: str | Method = "auto",
    fixed_label: ImageLike | None = None,
    moving_label: ImageLike | None = None,
    known: Known | None = None,
) -> Registration:
    """Aligns the moving image with the fixed one.

    Args:
        fixed: image whose frame is kept: a path, a ``MetaTensor`` (C, *spatial), or an array or tensor whose world
            coordinates are its indices (row, column): (*spatial), or colour with the channels last or first.
        moving: image to be brought onto it; its size and spacing may differ. Where only one of the two has a pixel size
            and the other about as many pixels, both are taken to have that size; the account says so.
        method: a name (see :func:`~monai_cellreg.methods.method_names`) or anything with ``register(pair)``.
        fixed_label: labels of the fixed image, for the metrics, and for the method ``"segreg"``, which registers them.
        moving_label: labels of the moving image.
        known: masks and landmarks, which guide methods that optimise one pair.

    Returns:
        The map, the warped image, the metrics and, of methods that make choices, an account of them.

    Raises:
        ValueError: when an image cannot be used, the two cannot be compared, or the method is unknown.

    Example:
        >>> import monai_cellreg as mc
        >>> from monai_cellreg.data.synthetic_sequence import simulate_sequence
        >>> film = simulate_sequence(2, seed=3)
        >>> result = mc.register(film.images[0][0], film.images[1][0], method="joint")
        >>> result.warped.shape, result.transform.points(np.zeros((5, 2))).shape
        ((160, 160), (5, 2))
    """
    pair, assumed = pair_in_one_unit(as_image(fixed, "fixed"), as_image(moving, "moving"))
    labels = {
        name: None if value is None else as_image(value, name, label=True)
        for name, value in (("fixed_label", fixed_label), ("moving_label", moving_label))
    }
    known = known or Known()
    pair = known.added_to(replace(pair, **labels))
    chosen = load_method(method) if isinstance(method, str) else method
    if known.in_words and not heeds_guides(method):
        assumed += (f"The method {method} takes no notice of the {known.in_words}.",)
    start = time.perf_counter()
    found, account = found_by(chosen, pair)
    seconds = time.perf_counter() - start
    transform = RegisteredTransform(found, pair.fixed_grid, pair.moving_grid)
    data = plain(pair.moving)
    # where all below reads the map, at the voxels, this is the map, and read much faster than a chain of splines
    at_voxels = DenseTransform(transform.displacement(pair.fixed_grid).detach(), pair.fixed_grid)
    warped = resample(data[None], at_voxels, pair.fixed_grid, pair.moving_grid)[0].detach()
    metrics = {"seconds": seconds, **measure(pair, at_voxels, warped)}
    given: Tensor | np.ndarray = pair.fixed_grid.to_image(warped)
    if isinstance(moving, np.ndarray):
        given = in_layout(warped.numpy().astype(moving.dtype), moving)
    return Registration(transform, given, metrics, pair, method_name(method), assumed + account)
