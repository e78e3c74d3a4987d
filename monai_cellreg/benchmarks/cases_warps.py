"""The case ``known-warps``: micrographs that come with scikit-image, warped by maps that are known exactly."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from skimage import data
from skimage.color import rgb2hed
from skimage.transform import rescale

from ..geometry import (
    AffineTransform,
    BSplineTransform,
    Pair,
    SamplingGrid,
    SpatialTransform,
    control_lattice,
    resample,
)

__all__ = ["SUBJECTS", "known_warps", "random_map"]

Image = NDArray[np.floating]

WARPS, SIZE, QUICK_SIZE = 4, 256, 128
MARGIN = 0.2  # of the image, on each side: the map looks beyond the fixed frame and still finds the image
SHIFT, ROTATION_RAD, SCALE, BEND = 0.04, np.deg2rad(6.0), 0.04, 0.03  # largest; SHIFT and BEND as shares of the frame
CONTROL_POINTS = 6
GAMMA, NOISE = 0.25, 0.01  # largest change of the exponent; standard deviation as a share of the range


def _stain(channel: int) -> Image:
    """One of haematoxylin (0), eosin (1) and DAB (2) of a section."""
    return rgb2hed(data.immunohistochemistry())[..., channel]


SUBJECTS: dict[str, tuple[Callable[[], Image], Callable[[], Image]]] = {
    "cell": (data.cell, data.cell),
    "retina": (data.retina, data.retina),
    "microaneurysms": (data.microaneurysms, data.microaneurysms),
    "tissue": (data.immunohistochemistry, data.immunohistochemistry),
    "stains": (partial(_stain, 0), partial(_stain, 2)),  # different structures in the same place
}
"""Name to what loads the picture that becomes the fixed image, and the one that stays the moving image."""


def known_warps(*, quick: bool = False) -> dict[str, Callable[[], Pair]]:
    """Pairs of a picture and its warped self, or its other stain, with the true map.

    The fixed image is the picture read through the map, ``fixed(x) = picture(T(x))``, with another gamma and noise; the
    moving image is the picture. Both are cut from its middle, so that neither has empty borders.

    Args:
        quick: one map a picture and frames of 128 pixels, in place of four and 256.

    Returns:
        Name to a function that makes the pair.
    """
    size, count = (QUICK_SIZE, 1) if quick else (SIZE, WARPS)
    return {
        f"{name}{k}": partial(_pair, name, size, 100 * place + k)
        for place, name in enumerate(SUBJECTS)
        for k in range(count)
    }


def random_map(grid: SamplingGrid, rng: np.random.Generator) -> SpatialTransform:
    """A similarity followed by a smooth bend that does not fold: the fixed frame stays within the :data:`MARGIN`.

    Args:
        grid: where the map is used.
        rng: the only source of chance.
    """
    size = np.array(grid.shape, dtype=float)
    turn = AffineTransform.similarity(
        rng.uniform(-ROTATION_RAD, ROTATION_RAD),
        1 + rng.uniform(-SCALE, SCALE),
        shift=rng.uniform(-SHIFT, SHIFT, 2) * size,
        centre=(size - 1) / 2,
    )
    lattice = control_lattice(grid, control_shape=(CONTROL_POINTS, CONTROL_POINTS))
    bend = rng.uniform(-BEND, BEND, (1, 2, *lattice.shape)) * size.reshape(1, 2, 1, 1)
    return BSplineTransform(torch.from_numpy(bend), lattice).then(turn)


def _pair(name: str, size: int, seed: int) -> Pair:
    rng = np.random.default_rng(seed)
    fixed_picture, moving_picture = (_prepared(load(), size) for load in SUBJECTS[name])
    shape = tuple(round(n / (1 + 2 * MARGIN)) for n in moving_picture.shape[1:])
    border = [(n - inner) // 2 for n, inner in zip(moving_picture.shape[1:], shape, strict=True)]
    whole = np.eye(3)
    whole[:2, 2] = [-b for b in border]
    grid, around = SamplingGrid(shape), SamplingGrid(tuple(moving_picture.shape[1:]), whole)
    truth = random_map(grid, rng)
    fixed = resample(fixed_picture[None], truth, grid, around, mode="cubic")[0]
    rows, columns = (slice(b, b + n) for b, n in zip(border, shape, strict=True))
    moving = moving_picture[:, rows, columns]
    return Pair(*(grid.to_image(x) for x in (_seen(fixed, rng), _seen(moving, rng))), grid, grid, truth=truth)


def _prepared(image: Image, size: int) -> torch.Tensor:
    """(C, H, W) float32 from 0 to 255, its shorter side as long as a frame of ``size`` pixels with its margins."""
    colour = image.ndim == 3
    wanted = size * (1 + 2 * MARGIN)
    factor = min(1.0, wanted / min(image.shape[:2]))
    small = rescale(image.astype(np.float32), factor, order=1, anti_aliasing=True, channel_axis=-1 if colour else None)
    low, high = small.min(), small.max()
    scaled = (small - low) * np.float32(255 / (high - low))
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(scaled, -1, 0) if colour else scaled[None]))


def _seen(image: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """The image with a gamma and noise of its own, so that equal pixels do not give the map away."""
    gamma = 1 + rng.uniform(-GAMMA, GAMMA)
    bright = (image.double() / 255).clamp(0, 1) ** gamma
    noise = torch.from_numpy(NOISE * rng.standard_normal(tuple(image.shape)))
    return (255 * (bright + noise)).clamp(0, 255).float()
