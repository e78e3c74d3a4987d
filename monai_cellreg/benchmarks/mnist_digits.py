"""Pairs of handwritten digits of one class, and how well they lie on each other."""

from __future__ import annotations

import base64
import os
import zlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.datasets.mnist import read_mnist
from ..geometry import Pair, SamplingGrid, SpatialTransform, resample
from ..methods.evaluate import map_scores
from ..metrics import LabelDice
from ..utils import check_positive, plain
from .cases_scores import image_correlation
from .journal import Row
from .paired import PairedCase

__all__ = ["SCORES", "WARPED", "digit_pairs", "digit_scores", "mean_warped", "read_digit_pairs"]

SCORES = ("ncc", "dice", "folding_fraction")
WARPED = "warped"  # the registered image in a row, so that a run that goes on can average all of them
THRESHOLD = 0.5


def read_digit_pairs(folder: str | os.PathLike[str], per_digit: int, *, seed: int = 0) -> PairedCase:
    """The pairs of the test part of a folder; see :func:`digit_pairs`.

    Raises:
        FileNotFoundError: when the folder does not exist.
        ImageReadError: when its files cannot be used.
        ValueError: for no pair, or no class of two digits.
    """
    return digit_pairs(
        *read_mnist(folder, "test"), per_digit, name=os.path.basename(os.path.normpath(folder)), seed=seed
    )


def digit_pairs(
    images: NDArray[np.uint8], classes: NDArray[np.integer], per_digit: int, *, name: str = "digits", seed: int = 0
) -> PairedCase:
    """One digit of each class, chosen at random, is fixed, and others of the class, likewise, are moving.

    Args:
        images: (N, H, W), 0 to 255.
        classes: (N,).
        per_digit: moving digits of each class, as far as there are so many.
        name: of the data.
        seed: of the choice. More digits of the class begin with the same ones.

    Raises:
        ValueError: for no pair, or no class of two digits.
    """
    check_positive("pairs", per_digit)
    pairs, groups = {}, {}
    for digit in np.unique(classes).tolist():
        chosen = np.random.default_rng((seed, digit)).permutation(np.flatnonzero(classes == digit))[: per_digit + 1]
        for number in chosen[1:]:
            key = f"{digit}: {number} to {chosen[0]}"
            pairs[key], groups[key] = _pair(images[chosen[0]], images[number]), str(digit)
    if not pairs:
        raise ValueError(f"classes are {sorted(set(classes.tolist()))} of one image each, or none; expected more")
    return PairedCase(name, pairs, groups, digit_scores)


def _pair(fixed: NDArray[np.uint8], moving: NDArray[np.uint8]) -> Pair:
    grid = SamplingGrid(fixed.shape)
    sides = [torch.from_numpy(image.astype(np.float32) / 255)[None] for image in (fixed, moving)]
    return Pair(sides[0], sides[1], grid, grid)


@torch.no_grad()
def digit_scores(pair: Pair, transform: SpatialTransform) -> Row:
    """Scores of a map of a pair of digits.

    Args:
        pair: images in [0, 1].
        transform: fixed to moving world points.

    Returns:
        ``ncc``, the correlation of the images, ``dice`` of what is above 0.5 in them, ``folding_fraction``, and the
        registered image as text in ``warped``.
    """
    moving = plain(torch.as_tensor(pair.moving))[None].float()
    warped = resample(moving, transform, pair.fixed_grid, pair.moving_grid)
    masks = [(plain(x) > THRESHOLD).float() for x in (warped, pair.fixed[None])]
    return {
        "ncc": image_correlation(warped[0], pair.fixed),
        "dice": float(torch.as_tensor(LabelDice()(*masks))),
        "folding_fraction": map_scores(transform, pair.fixed_grid)["folding_fraction"],
        WARPED: _packed(warped[0, 0].numpy()),
    }


def _packed(image: NDArray[np.floating]) -> str:
    """An image in [0, 1] as text, in 256 steps."""
    steps = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return base64.b64encode(zlib.compress(steps.tobytes())).decode("ascii")


def mean_warped(rows: Sequence[Row], shape: tuple[int, int]) -> NDArray[np.float64]:
    """The mean (H, W) in [0, 1] of the registered images of rows."""
    images = [np.frombuffer(zlib.decompress(base64.b64decode(row[WARPED])), np.uint8) for row in rows]
    return np.mean(images, axis=0).reshape(shape) / 255
