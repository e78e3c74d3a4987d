"""Smooth motions of a nucleus in closed form, drawn until the labels overlap as wanted."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .synthetic_settings import SequenceSettings
from .synthetic_specimen import Specimen

WAVES = 5
STEEPNESS = 0.25  # greatest slope of the deformation at strength 1
STRONGEST = 2.6  # keeps the slope below 1, which cannot fold and has an inverse
ATTEMPTS = 50


@dataclass(frozen=True)
class Motion:
    """A smooth motion in closed form: sine waves deform the plane, which then turns around a centre and moves on.

    Attributes:
        centre: (2,) centre of rotation in pixels.
        angle_rad: (T,) rotation by frame.
        shift_px: (T, 2) shift by frame.
        wave_vectors: (K, 2) in radians per pixel.
        wave_phases: (K,) in radians.
        waves_px: (T, K, 2) displacement at the crests by frame.
    """

    centre: NDArray[np.float64]
    angle_rad: NDArray[np.float64]
    shift_px: NDArray[np.float64]
    wave_vectors: NDArray[np.float64]
    wave_phases: NDArray[np.float64]
    waves_px: NDArray[np.float64]

    def scaled(self, strength: float) -> Motion:
        """The motion with its deformation times ``strength``; rotation and shift shrink with it but never grow."""
        rigid = min(strength, 1.0)
        return replace(
            self, angle_rad=self.angle_rad * rigid, shift_px=self.shift_px * rigid, waves_px=self.waves_px * strength
        )

    def forward(self, points: NDArray[np.float64], frame: int) -> NDArray[np.float64]:
        """Where points (2, ...) of frame 0 lie in the given frame."""
        centre = _column(self.centre, points)
        turned = _turn(points + self._wave(points, frame) - centre, self.angle_rad[frame])
        return turned + centre + _column(self.shift_px[frame], points)

    def backward(self, points: NDArray[np.float64], frame: int) -> NDArray[np.float64]:
        """Where points (2, ...) of the given frame lay in frame 0, to a thousandth of a pixel."""
        centre = _column(self.centre, points)
        deformed = _turn(points - centre - _column(self.shift_px[frame], points), -self.angle_rad[frame]) + centre
        found = deformed
        for _ in range(60):
            previous, found = found, deformed - self._wave(found, frame)
            if np.abs(found - previous).max() < 1e-3:
                break
        return found

    def steepness(self, size: int) -> float:
        """Greatest slope (Frobenius norm of the gradient) of the deformation over all frames of ``size`` pixels."""
        points = np.indices((32, 32), dtype=np.float64).reshape(2, -1) * (size / 31)
        crests = np.cos(self.wave_vectors @ points + self.wave_phases[:, None])  # (K, N)
        gradient = np.einsum("tki,kj,kn->tnij", self.waves_px, self.wave_vectors, crests, optimize=True)
        return float(np.linalg.norm(gradient, axis=(2, 3)).max())

    def _wave(self, points: NDArray[np.float64], frame: int) -> NDArray[np.float64]:
        phases = np.tensordot(self.wave_vectors, points, axes=1) + _column(self.wave_phases, points)  # (K, ...)
        return np.tensordot(self.waves_px[frame].T, np.sin(phases), axes=1)


def _column(values: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    return values.reshape(-1, *[1] * (points.ndim - 1))


def _turn(offsets: NDArray[np.float64], angle_rad: float) -> NDArray[np.float64]:
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.stack([c * offsets[0] - s * offsets[1], s * offsets[0] + c * offsets[1]])


def smooth_paths(rng: np.random.Generator, frames: int, *shape: int) -> NDArray[np.float64]:
    """Smooth random paths (T, *shape) that start at 0, mostly grow, and reach at most 1 in size."""
    time = np.linspace(0, 1, frames).reshape(-1, *[1] * len(shape))
    path = rng.uniform(0.3, 1, shape) * time**0.7 + 0.3 * rng.uniform(-1, 1, shape) * np.sin(2 * np.pi * time)
    return path * rng.choice([-1, 1], shape) / np.maximum(1, np.abs(path).max(axis=0))


def _draw_motion(
    rng: np.random.Generator, settings: SequenceSettings, *, frames: int, size: int, centre: tuple[float, float]
) -> Motion:
    """A random motion at strength 1."""
    wave_number = 2 * np.pi / (size * rng.uniform(*settings.wavelength, WAVES))
    direction = 2 * np.pi * rng.random(WAVES)
    motion = Motion(
        centre=np.array(centre),
        angle_rad=smooth_paths(rng, frames) * np.deg2rad(settings.rotation_deg),
        shift_px=smooth_paths(rng, frames, 2) * settings.shift * size,
        wave_vectors=wave_number[:, None] * np.stack([np.sin(direction), np.cos(direction)], axis=1),
        wave_phases=2 * np.pi * rng.random(WAVES),
        waves_px=smooth_paths(rng, frames, WAVES, 2),
    )
    return replace(motion, waves_px=motion.waves_px * (STEEPNESS / motion.steepness(size)))


def _mean_overlap(specimen: Specimen, motion: Motion) -> float:
    """Mean intersection over union of the later labels with the first, on a grid of points around the nucleus."""
    nucleus, axis = specimen.nucleus, np.linspace(-1.4, 1.4, 96) * specimen.nucleus.radius
    points = np.stack(np.meshgrid(nucleus.centre[0] + axis, nucleus.centre[1] + axis, indexing="ij"))
    first = nucleus.level(points.astype(np.float32)) > 0
    overlaps = []
    for frame in range(1, len(motion.angle_rad)):
        label = nucleus.level(motion.backward(points, frame).astype(np.float32)) > 0
        overlaps.append((first & label).sum() / (first | label).sum())
    return float(np.mean(overlaps))


def draw_motion_with_overlap(
    rng: np.random.Generator, settings: SequenceSettings, *, specimen: Specimen, frames: int, size: int
) -> Motion:
    """A random motion at the strength that gives the wanted mean overlap; motions too weak for it are drawn again."""
    overlap = rng.uniform(*settings.overlap)
    for _ in range(ATTEMPTS):
        motion = _draw_motion(rng, settings, frames=frames, size=size, centre=specimen.nucleus.centre)
        if _mean_overlap(specimen, motion.scaled(STRONGEST)) > overlap:
            continue
        weak, strong = 0.0, STRONGEST
        for _ in range(9):
            strength = (weak + strong) / 2
            if _mean_overlap(specimen, motion.scaled(strength)) > overlap:
                weak = strength
            else:
                strong = strength
        return motion.scaled(weak)
    raise ValueError(
        f"rotation_deg={settings.rotation_deg} and shift={settings.shift} do not bring the mean overlap down to "
        f"{overlap:.3f}; raise the two or ask for a higher overlap than {settings.overlap}"
    )
