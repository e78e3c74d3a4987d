"""Pictures of single fluorescent nuclei with exact labels, made from nothing but a seed: the embedded default data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

from .synthetic_outline import Array
from .synthetic_settings import REFERENCE_SIZE, NucleusSettings
from .synthetic_specimen import draw_specimen

__all__ = ["NucleusSettings", "simulate_nucleus", "simulated_items"]

DEFAULTS = NucleusSettings()


@dataclass(frozen=True)
class Microscope:
    """Optics, illumination and camera of one recording; every picture taken with it has fresh noise.

    Brightness is relative to dense chromatin and lengths are pixels of the finished picture.
    """

    psf_px: float
    haze: float
    background: Array
    shot_noise: float
    read_noise: float
    camera_px: float

    def picture(self, brightness: Array, rng: np.random.Generator) -> Array:
        """The picture (S, S) in [0, 1] of matter of the given brightness (S, S), scaled as the readers scale images."""
        light = gaussian_filter(brightness, self.psf_px, mode="nearest", truncate=3) if self.psf_px else brightness
        if self.haze:
            light = (1 - self.haze) * light + self.haze * self._halo(brightness)
        camera = max(8, round(len(light) / self.camera_px))
        seen = _resize(light + self.background, camera)
        noise = np.sqrt(self.shot_noise**2 * np.clip(seen, 0, None) + self.read_noise**2)
        seen += noise * rng.standard_normal(seen.shape, dtype=np.float32)
        return _scaled(_resize(seen, len(light)))

    def _halo(self, brightness: Array) -> Array:
        """Scattered light: so smooth that a quarter of the resolution carries it."""
        coarse = _resize(brightness, max(8, len(brightness) // 4))
        return _resize(gaussian_filter(coarse, len(coarse) / 16, mode="nearest", truncate=3), len(brightness))


def _resize(image: Array, size: int) -> Array:
    factor = size / len(image)
    return image.copy() if factor == 1 else zoom(image, factor, order=1, mode="nearest", grid_mode=True)


def _scaled(image: Array) -> Array:
    low, high = np.percentile(image, (0.5, 99.5))
    return np.clip((image - np.float32(low)) / np.float32(max(high - low, 1e-6)), 0, 1)


def draw_microscope(rng: np.random.Generator, settings: NucleusSettings, *, size: int) -> Microscope:
    """A random microscope for square frames of ``size`` pixels."""
    unit = size / REFERENCE_SIZE
    slope = rng.uniform(*settings.gradient) * rng.random() * np.exp(2j * np.pi * rng.random())
    bowl = rng.uniform(*settings.gradient) * rng.uniform(-1, 1)
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    row, column = axis[:, None], axis[None, :]
    uneven = slope.real * row + slope.imag * column + bowl * (row**2 + column**2)
    return Microscope(
        psf_px=rng.uniform(*settings.psf_px) * unit,
        haze=rng.uniform(*settings.haze) * rng.random(),
        background=(rng.uniform(*settings.background) + uneven).astype(np.float32),
        shot_noise=rng.uniform(*settings.shot_noise),
        read_noise=rng.uniform(*settings.read_noise),
        camera_px=max(1.0, rng.uniform(*settings.camera_px) * unit),
    )


def simulate_nucleus(
    size: int, rng: np.random.Generator, *, settings: NucleusSettings = DEFAULTS
) -> tuple[Array, Array]:
    """A picture of one nucleus and its label.

    The label is the whole nucleus, dim nucleoplasm included; its boundary is where the blurred edge has
    half its height.

    Args:
        size: height and width of the square frame S, in pixels, at least 16.
        rng: the only source of chance; the same state gives the same picture.
        settings: ranges of shape, chromatin, optics and noise.

    Returns:
        Image (1, S, S), float32, its 0.5th to 99.5th percentile as [0, 1]; label (1, S, S), float32, 0 or 1.

    Raises:
        ValueError: if ``size`` is below 16.

    Example:
        >>> image, label = simulate_nucleus(64, np.random.default_rng(0))
        >>> image.shape, sorted(set(label.ravel().tolist()))
        ((1, 64, 64), [0.0, 1.0])
    """
    if size < 16:
        raise ValueError(f"size is {size}, expected at least 16 pixels; ask for a larger frame")
    specimen = draw_specimen(rng, settings, size=size)
    microscope = draw_microscope(rng, settings, size=size)
    brightness, label = specimen.brightness(np.indices((size, size), dtype=np.float32))
    return microscope.picture(brightness, rng)[None], label[None]


def simulated_items(count: int, *, image_size: int = 160, seed: int = 0) -> list[dict[str, Any]]:
    """Items for a MONAI dataset, each a nucleus of its own.

    Item ``i`` depends on ``seed`` and ``i`` alone: a longer list begins with the shorter one.

    Args:
        count: number of items, at least 1.
        image_size: height and width of the frames, in pixels.
        seed: seed of the whole list.

    Returns:
        Dictionaries with ``image`` and ``label`` (1, S, S) as ``simulate_nucleus`` gives them, and ``group``, the name
        of the specimen.

    Raises:
        ValueError: if ``count`` is below 1.
    """
    if count < 1:
        raise ValueError(f"count is {count}, expected at least 1 item; ask for one or more")
    items: list[dict[str, Any]] = []
    for index in range(count):
        image, label = simulate_nucleus(image_size, np.random.default_rng((seed, index)))
        items.append({"image": image, "label": label, "group": f"specimen{index:05d}"})
    return items
