"""The case ``simulated-nuclei``: the first and the last frame of films that no training has seen."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from ..data.synthetic_sequence import simulate_sequence
from ..geometry import DenseTransform, Pair, SamplingGrid

__all__ = ["simulated_nuclei"]

FIRST_SEED = 5000  # of the films; trainings use small numbers, the demo 1000 and more
FILMS, SIZE = 20, 160
QUICK_FILMS, QUICK_SIZE = 4, 96
FRAMES = 2


def simulated_nuclei(*, quick: bool = False) -> dict[str, Callable[[], Pair]]:
    """Pairs of frames of one nucleus each, with labels and the true map.

    Args:
        quick: four films of 96 pixels in place of twenty of 160.

    Returns:
        Name to a function that makes the pair.
    """
    count, size = (QUICK_FILMS, QUICK_SIZE) if quick else (FILMS, SIZE)
    return {f"film{k:02d}": partial(_pair, FIRST_SEED + k, size) for k in range(count)}


def _pair(seed: int, size: int) -> Pair:
    film, grid = simulate_sequence(FRAMES, size=size, seed=seed), SamplingGrid((size, size))
    images = [grid.to_image(torch.from_numpy(image)) for image in film.images]
    labels = [grid.to_image(torch.from_numpy(label)) for label in film.labels]
    truth = DenseTransform.from_voxel_ddf(torch.from_numpy(film.displacement_vox[-1])[None].double(), grid)
    return Pair(images[0], images[-1], grid, grid, fixed_label=labels[0], moving_label=labels[-1], truth=truth)
