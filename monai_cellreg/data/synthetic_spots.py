"""Bright spots that diffuse inside a nucleus and move with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .synthetic_outline import Array, Outline
from .synthetic_settings import REFERENCE_SIZE, SpotSettings

DEPTH = 0.15  # least relative depth of a spot's middle below the outline


@dataclass(frozen=True)
class Spots:
    """K spots with Gaussian profiles, in the coordinates of frame 0.

    Attributes:
        reference: (T, K, 2) positions (row, column) by frame, in pixels.
        width_px: (K,) standard deviation of each profile.
        height: (K,) brightness in the middle, relative to dense chromatin.
    """

    reference: NDArray[np.float64]
    width_px: NDArray[np.float64]
    height: NDArray[np.float64]

    def brightness(self, points: Array, frame: int) -> Array:
        """Brightness (...) of the spots in a frame at points (2, ...) in the coordinates of frame 0."""
        light = np.zeros(points.shape[1:], np.float32)
        for (row, column), width, height in zip(self.reference[frame], self.width_px, self.height, strict=True):
            squared = (points[0] - np.float32(row)) ** 2 + (points[1] - np.float32(column)) ** 2
            light += np.float32(height) * np.exp(squared / np.float32(-2 * width * width))
        return light


def draw_spots(rng: np.random.Generator, settings: SpotSettings, *, nucleus: Outline, frames: int, size: int) -> Spots:
    """Random spots in a nucleus of frame 0, on Brownian paths; a step that would leave the nucleus is not taken."""
    unit = size / REFERENCE_SIZE
    reference = np.empty((frames, settings.count, 2))
    reference[:1] = _draw_inside(rng, nucleus, settings.count)
    steps = settings.step_px * unit * rng.standard_normal((frames - 1, settings.count, 2))
    for frame, step in enumerate(steps, start=1):
        wanted = reference[frame - 1] + step
        reference[frame] = np.where(_is_inside(nucleus, wanted)[:, None], wanted, reference[frame - 1])
    return Spots(
        reference=reference,
        width_px=unit * rng.uniform(*settings.width_px, settings.count),
        height=rng.uniform(*settings.brightness, settings.count),
    )


def _draw_inside(rng: np.random.Generator, nucleus: Outline, count: int) -> NDArray[np.float64]:
    """Positions (K, 2), even over the inside of the nucleus."""
    found = np.empty((0, 2))
    while len(found) < count:
        tried = nucleus.centre + nucleus.radius * rng.uniform(-1, 1, (count, 2))
        found = np.concatenate([found, tried[_is_inside(nucleus, tried)]])
    return found[:count]


def _is_inside(nucleus: Outline, positions: NDArray[np.float64]) -> NDArray[np.bool_]:
    return nucleus.level(positions.T.astype(np.float32)) > DEPTH
