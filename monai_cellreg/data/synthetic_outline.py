"""Closed outlines of nuclei, from smooth ellipses to lobed and bean-shaped ones, in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np
from numpy.typing import NDArray

from .synthetic_settings import NucleusSettings

Array = NDArray[np.float32]
HARMONICS = 6


@dataclass(frozen=True)
class Outline:
    """A closed outline: an ellipse, modulated by harmonics of the angle, bent, scaled to a radius and put in its place.

    Attributes:
        centre: (row, column) of the middle of the outline, in pixels.
        radius: greatest distance of the outline from its centre, in pixels.
        angle_rad: direction of the long axis.
        aspect: short axis over long axis.
        bend: curvature of the long axis, an arc of length 2.
        harmonics: complex coefficients of orders 2, 3, ...
        unit_centre: the centre in the coordinates in which the unbent ellipse has long half-axis 1.
        unit_radius: the radius in those coordinates.
    """

    centre: tuple[float, float]
    radius: float
    angle_rad: float
    aspect: float
    bend: float
    harmonics: NDArray[np.complex64]
    unit_centre: tuple[float, float]
    unit_radius: float

    def level(self, points: Array) -> Array:
        """Relative depth below the outline at points (2, ...) in pixels: 1 in the middle, 0 on the outline."""
        row, column = points[0] - np.float32(self.centre[0]), points[1] - np.float32(self.centre[1])
        scale = np.float32(self.unit_radius / self.radius)
        c, s = np.float32(cos(self.angle_rad)), np.float32(sin(self.angle_rad))
        along = (c * row + s * column) * scale + np.float32(self.unit_centre[0])
        across = (c * column - s * row) * scale + np.float32(self.unit_centre[1])
        along, across = self._straighten(along, across)
        across = across / np.float32(self.aspect)
        rho = np.hypot(along, across) + np.float32(1e-6)
        return np.float32(1) - rho / self._reach((along + 1j * across) / rho)

    def _straighten(self, along: Array, across: Array) -> tuple[Array, Array]:
        """Arc length and height of points over the bent long axis, a circular arc of curvature ``bend``."""
        if not self.bend:
            return along, across
        arc = np.float32(1 / self.bend)
        return arc * np.arctan2(along, arc - across), arc - np.hypot(along, arc - across)

    def _bend(self, along: Array, across: Array) -> tuple[Array, Array]:
        """The inverse of ``_straighten``."""
        if not self.bend:
            return along, across
        arc = np.float32(1 / self.bend)
        return (arc - across) * np.sin(along / arc), arc - (arc - across) * np.cos(along / arc)

    def _reach(self, direction: NDArray[np.complex64]) -> Array:
        """Radius of the unbent, unsqueezed outline along unit complex directions."""
        return 1 + np.real(_polynomial(self.harmonics, direction) * direction**2)


def _polynomial(coefficients: NDArray[np.complex64], z: NDArray[np.complex64]) -> NDArray[np.complex64]:
    value = np.full_like(z, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = value * z + coefficient
    return value


def draw_outline(
    rng: np.random.Generator, settings: NucleusSettings, *, centre: tuple[float, float], radius: float
) -> Outline:
    """A random outline whose farthest point lies ``radius`` pixels from its centre ``(row, column)``."""
    aspect = rng.uniform(*settings.aspect)
    bend = min(aspect * rng.uniform(*settings.bend) * rng.random(), 0.7 / aspect)
    order = np.arange(2, HARMONICS + 1)
    size = rng.uniform(*settings.lobes) * rng.random(order.size) * 4 / order**2
    harmonics = (size * np.exp(2j * pi * rng.random(order.size))).astype(np.complex64)
    unit = Outline((0.0, 0.0), 1.0, 0.0, aspect, bend, harmonics, (0.0, 0.0), 1.0)
    direction = np.exp(2j * pi * np.arange(256) / 256).astype(np.complex64)
    edge = unit._reach(direction) * direction
    along, across = unit._bend(edge.real, aspect * edge.imag)
    middle = (float(along.max() + along.min()) / 2, float(across.max() + across.min()) / 2)
    reach = float(np.hypot(along - middle[0], across - middle[1]).max())
    return Outline(centre, radius, rng.uniform(0, 2 * pi), aspect, bend, harmonics, middle, reach)
