"""Simulated short-axis cine MRI of beating hearts, with labels at every time point, made from nothing but a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from ..utils import check_positive
from .cine_slice import CineSlice, pixel_grid
from .synthetic_ventricles import SYSTOLE, Array, Ventricles, contraction, draw_ventricles

__all__ = ["simulated_cardiac"]

SPACING_MM = 1.4
SCANNER_UNITS = 400.0  # signal of blood
EDGE_MM = 0.8  # of what is painted, besides the blur of the picture


@dataclass(frozen=True)
class Scene:
    """What surrounds the ventricles of a patient, and how bright all is; blood is 1.

    Args:
        papillaries: places of the papillary muscles, row and column in radii of the cavity (N, 2).
        muscle: signal of the myocardium.
        right_blood: signal of the blood in the right ventricle.
        liver: signal below the diaphragm.
        chest_mm: from the axis of the left ventricle to the fat of the chest wall.
        shading: logarithm of the change of brightness from the middle to the border of the picture, along each axis.
        noise: standard deviation of the receiver's noise.
    """

    papillaries: Array
    muscle: float
    right_blood: float
    liver: float
    chest_mm: float
    shading: tuple[float, float]
    noise: float

    def signal(self, heart: Ventricles, at_rest: Array, grain: Array) -> Array:
        """The signal (H, W) of tissue that lies at these points (2, H, W) at end diastole, with texture ``grain``."""
        cavity, ventricle, right = heart.depths(at_rest)
        row, column = at_rest
        light = 0.06 + 0.5 * np.clip(grain - 1.9, 0, 1)  # lung with its vessels
        light = _over(light, self.liver * (1 + 0.12 * grain), row - 1.15 * heart.outer - 0.12 * column)
        light = _over(light, 0.9 + 0.1 * grain, -column - self.chest_mm + 0.004 * row**2)
        light = _over(light, 0.55 + 0.2 * grain, np.maximum(ventricle, right) + 4.5)  # fat around the heart
        light = _over(light, self.muscle, np.maximum(ventricle, right + 2.5))
        light = _over(light, self.right_blood * (1 + 0.08 * grain), right)
        light = _over(light, self.muscle * (1 + 0.1 * grain), ventricle)
        light = _over(light, 1 + 0.06 * grain, cavity + 0.6 * grain)
        for place in self.papillaries * heart.cavity:
            light = _over(light, self.muscle, 0.16 * heart.cavity - np.hypot(row - place[0], column - place[1]))
        return light

    def picture(self, signal: Array, rng: np.random.Generator) -> Array:
        """The signal as the scanner gives it: shaded, and the magnitude of a complex image with noise."""
        row, column = (np.linspace(-1, 1, n, dtype=np.float32) for n in signal.shape)
        shading = np.exp(self.shading[0] * row[:, None] + self.shading[1] * column)
        real, imaginary = self.noise * rng.standard_normal((2, *signal.shape), dtype=np.float32)
        seen = np.hypot(gaussian_filter(signal, 0.5) * shading + real, imaginary)
        return (SCANNER_UNITS * seen).astype(np.float32)


def simulated_cardiac(
    patients: int, *, slices: int = 4, phases: int = 20, size: tuple[int, int] = (128, 128), seed: int = 0
) -> list[CineSlice]:
    """Hearts of several simulated patients, each seen in slices from base to apex with the look of cine MRI.

    Time point 0 is end diastole; end systole follows at 0.35 of the cycle. Every time point has its label: right
    ventricle, myocardium and cavity of the left one, whose papillary muscles count as cavity. Pixels are 1.4 mm. A
    patient depends on ``seed`` and its number alone: a longer list begins with the shorter one.

    Args:
        patients: number of patients.
        slices: number of slices of each.
        phases: number of time points of a cycle, T.
        size: height and width of the pictures; from about 112 pixels on the heart lies whole in them.
        seed: of the whole list.

    Returns:
        Slices of ``images`` (T, height, width) in arbitrary units, sorted by patient, then from base to apex.

    Raises:
        ValueError: for a number or size below 1.

    Example:
        >>> cine = simulated_cardiac(1, slices=1, phases=10, size=(112, 128))[0]
        >>> tuple(cine.images.shape), cine.ed, cine.es
        ((10, 112, 128), 0, 4)
    """
    for name, number in (("patients", patients), ("slices", slices), ("phases", phases), ("size", size)):
        check_positive(name, number)
    made: list[CineSlice] = []
    for number in range(patients):
        rng = np.random.default_rng((seed, number))
        made += _beating(f"heart{number:03d}", draw_ventricles(rng, slices), rng, phases, size)
    return made


def _beating(
    patient: str, hearts: Sequence[Ventricles], rng: np.random.Generator, phases: int, size: tuple[int, int]
) -> list[CineSlice]:
    """Films of a patient's slices."""
    scene, grid = _draw_scene(rng), pixel_grid(size, (SPACING_MM, SPACING_MM))
    axis_px = ((np.array(size) - 1) / 2 + rng.uniform(-4, 4, 2)).astype(np.float32)[:, None, None]
    points = SPACING_MM * (np.indices(size, dtype=np.float32) - axis_px)
    found = []
    for number, heart in enumerate(hearts):
        texture = _draw_texture(rng, size)
        images, labels = [], {}
        for time in range(phases):
            at_rest = heart.at_rest(points, contraction(time / phases))
            grain = map_coordinates(texture, at_rest / SPACING_MM + axis_px, order=1, mode="reflect")
            images.append(scene.picture(scene.signal(heart, at_rest, grain), rng))
            labels[time] = torch.from_numpy(heart.label(at_rest))
        stack = torch.from_numpy(np.stack(images))
        found.append(CineSlice(patient, number, stack, labels, ed=0, es=round(SYSTOLE * phases), grid=grid))
    return found


def _draw_scene(rng: np.random.Generator) -> Scene:
    angles = np.deg2rad([rng.uniform(-70, -30), rng.uniform(40, 80)])
    return Scene(
        papillaries=0.66 * np.stack([np.sin(angles), np.cos(angles)], axis=-1).astype(np.float32),
        muscle=rng.uniform(0.22, 0.38),
        right_blood=rng.uniform(0.65, 0.95),
        liver=rng.uniform(0.2, 0.45),
        chest_mm=rng.uniform(72, 86),
        shading=(rng.uniform(-0.35, 0.35), rng.uniform(-0.35, 0.35)),
        noise=rng.uniform(0.01, 0.04),
    )


def _draw_texture(rng: np.random.Generator, size: tuple[int, int]) -> Array:
    """Noise of unit variance with coarse and fine grain."""
    layers = [gaussian_filter(rng.standard_normal(size), sigma) for sigma in (0.8, 2.0, 6.0)]
    total = np.sum([layer / layer.std() for layer in layers], axis=0)
    return (total / np.sqrt(len(layers))).astype(np.float32)


def _over(below: Array, above: Array | float, depth_mm: Array) -> Array:
    """Tissue painted over other tissue where it is deep, with a soft edge."""
    return below + (above - below) / (1 + np.exp(np.clip(-depth_mm / EDGE_MM, -30, 30)))
