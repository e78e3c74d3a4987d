"""Films of a simulated nucleus that moves, deforms, bleaches and renews its chromatin, with the true maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .synthetic import Microscope, draw_microscope
from .synthetic_motion import Motion, draw_motion_with_overlap, smooth_paths
from .synthetic_outline import Array, Outline
from .synthetic_settings import SequenceSettings, SpotSettings
from .synthetic_specimen import Specimen, draw_specimen
from .synthetic_spots import Spots, draw_spots

__all__ = ["NucleusSequence", "SequenceSettings", "SpotSettings", "simulate_sequence"]

DEFAULTS = SequenceSettings()
NUCLEUS = 1  # instance of the nucleus before any division


@dataclass(frozen=True)
class NucleusSequence:
    """A film and its truth.

    Convention: frame 0 is fixed, frame t is moving. The matter at pixel p of frame 0 lies at
    ``p + displacement_vox[t][:, p]`` in frame t, so the displacement pulls frame t back onto frame 0. Components are
    row and column, in pixels. A frame whose matter cannot be followed back to frame 0, because the nucleus divides or
    is not there, has NaN for a displacement and for spots.

    Attributes:
        images: (T, 1, S, S), float32 in [0, 1], each frame between its own 0.5th and 99.5th percentile.
        labels: (T, 1, S, S), float32, 1 inside of the nucleus, or of its daughters.
        displacement_vox: (T, 2, S, S), float32; frame 0 holds zeros.
        instances: (T, 1, S, S), int32: 0 outside, 1 inside of the nucleus, 2 and 3 inside of its daughters.
        spots: (T, K, 2), true positions of K structures inside the nucleus in every frame; they may lie outside of the
            view when the nucleus does.
        spots_reference: (T, K, 2), the same in the coordinates of frame 0, where only what a spot has moved relative to
            the nucleus is left: ``spots[t]`` is ``spots_reference[t]`` displaced by the motion of frame t.
    """

    images: Array
    labels: Array
    displacement_vox: Array
    instances: NDArray[np.int32]
    spots: NDArray[np.float64]
    spots_reference: NDArray[np.float64]


@dataclass(frozen=True)
class Scene:
    """All that a film of T frames will show, before the camera runs.

    Attributes:
        specimen: matter, in the coordinates of frame 0.
        microscope: through which it is seen.
        motion: of all matter.
        light: (T,) brightness of all matter, by frame.
        gamma: (T,) exponent of the finished picture, by frame.
        phase_rad: (T,) age of the chromatin texture, by frame.
        spots: structures inside the nucleus.
        nuclei: outlines that are there in each frame, by their instance, in the coordinates of frame 0.
    """

    specimen: Specimen
    microscope: Microscope
    motion: Motion
    light: NDArray[np.float64]
    gamma: NDArray[np.float64]
    phase_rad: NDArray[np.float64]
    spots: Spots
    nuclei: tuple[Mapping[int, Outline], ...]

    @property
    def size(self) -> int:
        """Height and width of the frames in pixels."""
        return len(self.microscope.background)

    def is_intact(self, frame: int) -> bool:
        """Whether the nucleus of frame 0 is there, so that its matter can be followed."""
        return self.nuclei[frame].get(NUCLEUS) is self.specimen.nucleus

    def matter(self, points: Array, frame: int) -> Array:
        """Brightness (S, S) before any optics, at points (2, S, S) in the coordinates of frame 0.

        All the light of a nucleus that divides stays, because its DNA does. Without any nucleus there is nothing.
        """
        intact, _ = self.specimen.brightness(points, phase_rad=self.phase_rad[frame])
        if self.is_intact(frame):
            return intact + self.spots.brightness(points, frame)
        if not self.nuclei[frame]:
            return np.zeros_like(intact)
        divided = self.specimen.with_nuclei(*self.nuclei[frame].values())
        light, _ = divided.brightness(points, phase_rad=self.phase_rad[frame])
        return light * (intact.sum() / light.sum())

    def instances(self, points: Array, frame: int) -> NDArray[np.int32]:
        """Which nucleus lies at points (2, S, S), as (S, S)."""
        found = np.zeros(points.shape[1:], np.int32)
        for number, outline in self.nuclei[frame].items():
            found[outline.level(points) > 0] = number
        return found

    def filmed(self, rng: np.random.Generator) -> NucleusSequence:
        """The film and its truth; noise is drawn from ``rng``."""
        pixels = np.indices((self.size, self.size), dtype=np.float64)
        images, instances, displacements = [], [], []
        reference, spots = np.full_like(self.spots.reference, np.nan), np.full_like(self.spots.reference, np.nan)
        for frame, (light, gamma) in enumerate(zip(self.light, self.gamma, strict=True)):
            points = (self.motion.backward(pixels, frame) if frame else pixels).astype(np.float32)
            picture = self.microscope.picture(np.float32(light) * self.matter(points, frame), rng)
            images.append(picture[None] if gamma == 1 else picture[None] ** np.float32(gamma))
            instances.append(self.instances(points, frame)[None])
            displacement = (self.motion.forward(pixels, frame) - pixels).astype(np.float32)
            if self.is_intact(frame):
                reference[frame] = self.spots.reference[frame]
                spots[frame] = self.motion.forward(reference[frame].T, frame).T
            else:
                displacement[:] = np.nan
            displacements.append(displacement)
        shown = np.stack(instances)
        labels = (shown > 0).astype(np.float32)
        return NucleusSequence(np.stack(images), labels, np.stack(displacements), shown, spots, reference)


def simulate_sequence(
    frames: int = 10, *, size: int = 160, seed: int = 0, settings: SequenceSettings = DEFAULTS
) -> NucleusSequence:
    """A film of one nucleus with its labels and the true map of every frame.

    Args:
        frames: number of frames T, at least 2.
        size: height and width S of the square frames in pixels, at least 32.
        seed: the only source of chance; the same seed gives the same film.
        settings: ranges of the motion, the light and the nucleus.

    Returns:
        The film and its truth; see ``NucleusSequence`` for shapes, units and direction.

    Raises:
        ValueError: if there are too few frames or pixels, or if the settings' motion is too weak for their overlap.

    Example:
        >>> film = simulate_sequence(2, size=48, seed=1)
        >>> film.images.shape, film.displacement_vox.shape
        ((2, 1, 48, 48), (2, 2, 48, 48))
    """
    if frames < 2:
        raise ValueError(f"frames is {frames}, expected at least 2, the first and a later one; ask for more")
    if size < 32:
        raise ValueError(f"size is {size}, expected at least 32 pixels; ask for larger frames")
    rng = np.random.default_rng(seed)
    return draw_scene(rng, settings, frames=frames, size=size).filmed(rng)


def draw_scene(rng: np.random.Generator, settings: SequenceSettings, *, frames: int, size: int) -> Scene:
    """A random scene; spots have chance of their own, so that the rest of the film is the same with and without."""
    specimen = draw_specimen(rng, settings.nucleus, size=size)
    microscope = draw_microscope(rng, settings.nucleus, size=size)
    motion = draw_motion_with_overlap(rng, settings, specimen=specimen, frames=frames, size=size)
    time = np.linspace(0, 1, frames)
    return Scene(
        specimen=specimen,
        microscope=microscope,
        motion=motion,
        light=(1 - rng.uniform(*settings.bleaching)) ** time * (1 + settings.drift * smooth_paths(rng, frames)),
        gamma=np.ones(frames),
        phase_rad=np.pi / 2 * rng.uniform(*settings.renewal) * time,
        spots=draw_spots(rng.spawn(1)[0], settings.spots, nucleus=specimen.nucleus, frames=frames, size=size),
        nuclei=({NUCLEUS: specimen.nucleus},) * frames,
    )
