"""Simulated nuclei as matter: outline, chromatin and surroundings, which a camera can look at from anywhere."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import cos, pi, sin

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, rfft2
from scipy.ndimage import map_coordinates

from .synthetic_outline import Array, Outline, draw_outline
from .synthetic_settings import REFERENCE_SIZE, NucleusSettings, Range


@dataclass(frozen=True)
class Specimen:
    """What lies under the microscope: one nucleus in the middle, perhaps others and specks around it.

    Positions are pixels of the first frame (row, column). The texture is a pair of independent noise pictures
    (2, S, S) of unit variance; turning slowly from one to the other changes the chromatin without changing its
    character.
    """

    nucleus: Outline
    neighbours: tuple[tuple[Outline, float], ...]
    specks: NDArray[np.float32]
    nucleoli: NDArray[np.float32]
    texture: Array
    nucleoplasm: float
    sharpness: float
    sparseness: float
    plateau: float
    rim: float
    tilt: tuple[float, float]
    doming: float

    def __post_init__(self) -> None:
        for array in (self.specks, self.nucleoli, self.texture):
            array.flags.writeable = False

    def brightness(self, points: Array, *, phase_rad: float = 0.0) -> tuple[Array, Array]:
        """Brightness of matter at points, relative to dense chromatin, and the label of the nucleus.

        Args:
            points: (2, S, S), where the camera's pixels lie in the first frame, in pixels.
            phase_rad: age of the chromatin texture; a quarter turn replaces it altogether.

        Returns:
            Brightness (S, S), before any optics, and the label (S, S), 1 inside of the nucleus and 0 elsewhere.
        """
        texture = self._texture_at(points, phase_rad)
        level = self.nucleus.level(points)
        light = _coverage(level) * self._chromatin(texture, level)
        light *= self._tilt_at(points) * self._nucleoli_at(points, texture)
        for outline, strength in self.neighbours:
            other = outline.level(points)
            light += np.float32(strength) * _coverage(other) * self._chromatin(texture, other)
        for row, column, width, strength in self.specks:
            light += strength * _blob(points, row, column, width)
        return light, (level > 0).astype(np.float32)

    def with_nuclei(self, first: Outline, *others: Outline) -> Specimen:
        """The same chromatin in other outlines in place of the nucleus; nucleoli are dissolved, as in mitosis."""
        neighbours = (*self.neighbours, *((outline, 1.0) for outline in others))
        return replace(self, nucleus=first, neighbours=neighbours, nucleoli=self.nucleoli[:0])

    def _texture_at(self, points: Array, phase_rad: float) -> Array:
        texture = np.float32(cos(phase_rad)) * self.texture[0]
        if phase_rad:
            texture += np.float32(sin(phase_rad)) * self.texture[1]
        return map_coordinates(texture, points, order=1, mode="grid-wrap")

    def _chromatin(self, texture: Array, level: Array) -> Array:
        depth = np.clip(level, 0, 1)
        dense = texture + np.float32(self.rim) * (np.float32(0.4) - depth) - np.float32(self.sparseness)
        steep = np.exp(np.minimum(np.float32(self.sharpness) * dense, 60))
        graded = np.log1p(steep) * np.float32(1 / max(1.0, self.sharpness * (2 - self.sparseness)))
        dense = np.float32(self.plateau) * (steep / (1 + steep)) + np.float32(1 - self.plateau) * graded
        thickness = 1 - np.float32(self.doming) * (1 - np.sqrt(depth * (2 - depth)))
        return (np.float32(self.nucleoplasm) + np.float32(1 - self.nucleoplasm) * dense) * thickness

    def _tilt_at(self, points: Array) -> Array:
        down, right = (points[k] - np.float32(self.nucleus.centre[k]) for k in range(2))
        slope = np.float32(self.tilt[0]) * down + np.float32(self.tilt[1]) * right
        return np.clip(1 + slope / np.float32(self.nucleus.radius), 0, 2)

    def _nucleoli_at(self, points: Array, texture: Array) -> Array:
        light = np.ones(points.shape[1:], np.float32)
        uneven = 1 + np.float32(0.15) * texture.clip(-2, 2)
        for row, column, width, depth in self.nucleoli:
            light *= 1 - depth * _blob(points, row, column, width * uneven)
        return light


def _blob(points: Array, row: float, column: float, width: float | Array) -> Array:
    """A flat-topped spot of the given half-width in pixels."""
    squared = ((points[0] - row) ** 2 + (points[1] - column) ** 2) / (width * width)
    return np.exp(-squared * squared)


def _coverage(level: Array) -> Array:
    """Share of each pixel that lies inside of an outline, so that edges fall between pixels."""
    down, right = np.gradient(level)
    slope = np.sqrt(down * down + right * right) + np.float32(1e-6)
    return np.clip(level / slope + np.float32(0.5), 0, 1)


def draw_specimen(rng: np.random.Generator, settings: NucleusSettings, *, size: int) -> Specimen:
    """A random nucleus with its surroundings for a square frame of ``size`` pixels."""
    direction, tilt = rng.uniform(0, 2 * pi), rng.uniform(*settings.tilt)
    radius = size * rng.uniform(*settings.diameter) / 2
    row, column = size / 2 - 0.5 + size * settings.jitter * rng.uniform(-1, 1, 2)
    nucleus = draw_outline(rng, settings, centre=(row, column), radius=radius)
    return Specimen(
        nucleus=nucleus,
        neighbours=_draw_neighbours(rng, settings, nucleus=nucleus, size=size),
        specks=_draw_specks(rng, settings, nucleus=nucleus, size=size),
        nucleoli=_draw_nucleoli(rng, settings, nucleus=nucleus),
        texture=_draw_texture(rng, settings, size=size, diameter=2 * radius),
        nucleoplasm=_log_uniform(rng, settings.nucleoplasm),
        sharpness=_log_uniform(rng, settings.sharpness),
        sparseness=rng.uniform(*settings.sparseness),
        plateau=rng.uniform(*settings.plateau),
        rim=rng.normal() * 0.8,
        tilt=(tilt * sin(direction), tilt * cos(direction)),
        doming=rng.uniform(*settings.doming),
    )


def _log_uniform(rng: np.random.Generator, bounds: Range) -> float:
    return float(bounds[0] * (bounds[1] / bounds[0]) ** rng.random())


def _draw_texture(rng: np.random.Generator, settings: NucleusSettings, *, size: int, diameter: float) -> Array:
    """Two independent pictures (2, S, S) of band-limited noise with unit variance, periodic at the frame's edge."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    band = np.zeros_like(frequency)
    for weight in (1.0, 0.5 * rng.random()):
        grain = _log_uniform(rng, settings.grain) * diameter
        band += weight * grain * np.exp(-((frequency * grain) ** 2) * 4)
    band[0, 0] = 0
    noise = rng.standard_normal((2, size, size), dtype=np.float32)
    texture = irfft2(rfft2(noise) * band.astype(np.float32), s=(size, size))
    return texture / texture.std(axis=(1, 2), keepdims=True)


def _draw_neighbours(
    rng: np.random.Generator, settings: NucleusSettings, *, nucleus: Outline, size: int
) -> tuple[tuple[Outline, float], ...]:
    """Other nuclei around the middle one, clear of it and mostly cut by the frame, each with its strength."""
    found: list[tuple[Outline, float]] = []
    for _ in range(rng.poisson(settings.neighbours)):
        radius, angle = nucleus.radius * rng.uniform(0.7, 1.2), rng.uniform(0, 2 * pi)
        distance = nucleus.radius + radius + size * rng.uniform(0.01, 0.2)
        centre = (nucleus.centre[0] + distance * sin(angle), nucleus.centre[1] + distance * cos(angle))
        found.append((draw_outline(rng, settings, centre=centre, radius=radius), rng.uniform(0.4, 1.6)))
    return tuple(found)


def _draw_specks(rng: np.random.Generator, settings: NucleusSettings, *, nucleus: Outline, size: int) -> Array:
    """Debris as rows (row, column, width, strength), none of it on the nucleus."""
    specks = np.empty((rng.poisson(settings.debris), 4), np.float32)
    specks[:, :2] = rng.uniform(0, size, (len(specks), 2))
    specks[:, 2] = rng.uniform(0.8, 4, len(specks)) * size / REFERENCE_SIZE
    specks[:, 3] = rng.uniform(0.1, 0.8, len(specks))
    return specks[nucleus.level(specks[:, :2].T) < -0.25]


def _draw_nucleoli(rng: np.random.Generator, settings: NucleusSettings, *, nucleus: Outline) -> Array:
    """Dark holes as rows (row, column, width, depth) well inside of the nucleus."""
    holes = np.empty((int(rng.integers(*settings.nucleoli, endpoint=True)), 4), np.float32)
    spread = 0.5 * nucleus.radius * nucleus.aspect
    holes[:, :2] = nucleus.centre + rng.uniform(-spread, spread, (len(holes), 2))
    holes[:, 2] = nucleus.radius * rng.uniform(0.08, 0.2, len(holes))
    holes[:, 3] = rng.uniform(0.2, 0.7, len(holes))
    return holes[nucleus.level(holes[:, :2].T) > 0.3]
