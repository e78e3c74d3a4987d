"""Films in which something happens that makes registration hard: fading, noise, division, leaving, empty frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import cos, pi, sin

import numpy as np

from .synthetic_outline import Outline
from .synthetic_sequence import NUCLEUS, NucleusSequence, Scene, draw_scene
from .synthetic_settings import NucleusSettings, SequenceSettings

__all__ = ["HARD_FILMS", "HardFilm", "divide", "fade", "leave", "vanish"]

LONE = NucleusSettings(neighbours=0.0, debris=0.0)


def fade(scene: Scene, *, lowest: float = 0.15, contrast: float = 2.0) -> Scene:
    """The light falls to a part of the first frame's and comes back in part, while the tone curve bends to and fro.

    Args:
        scene: what the film would show.
        lowest: light of the darkest frame relative to the first one's, above 0.
        contrast: the exponent of the pictures swings between this and its inverse.
    """
    phase = 0.75 * pi * np.linspace(0, 1, len(scene.light))
    dip = np.sin(phase)
    return replace(scene, light=lowest ** (dip / dip.max()), gamma=contrast ** np.sin(2 * phase))


def vanish(scene: Scene, frames: Sequence[int]) -> Scene:
    """The given frames show no nucleus nor anything else: background and noise only."""
    return replace(scene, nuclei=tuple({} if t in frames else each for t, each in enumerate(scene.nuclei)))


def leave(scene: Scene) -> Scene:
    """The nucleus speeds up towards the nearest edge of the view and is gone, blur and all, in the last frame."""
    ahead = np.array([*scene.motion.centre, *(scene.size - 1 - scene.motion.centre)])  # to the four edges
    nearest = int(ahead.argmin())
    direction = np.eye(2)[nearest % 2] * (1 if nearest > 1 else -1)
    waves = np.linalg.norm(scene.motion.waves_px[-1], axis=-1).sum()
    beyond = scene.specimen.nucleus.radius + waves + 4 * scene.microscope.psf_px + 1
    back = direction @ scene.motion.shift_px[-1]
    distance = ahead[nearest] + beyond - back
    path = np.linspace(0, 1, len(scene.light)) ** 2
    shift_px = scene.motion.shift_px + distance * path[:, None] * direction
    return replace(scene, motion=replace(scene.motion, shift_px=shift_px))


def divide(scene: Scene, *, start: int | None = None) -> Scene:
    """The nucleus condenses to a plate in frame ``start``; from the next frame on two daughters move apart.

    The plate keeps the nucleus's instance, the daughters are 2 and 3. They separate along the long axis.

    Args:
        scene: what the film would show.
        start: frame of the plate, from 1; the one in the middle unless given.
    """
    frames, nucleus = len(scene.nuclei), scene.specimen.nucleus
    start = frames // 2 if start is None else start
    plate = _plate(nucleus, radius=0.6, offset=0.0)
    nuclei: list[Mapping[int, Outline]] = [*scene.nuclei[:start], {NUCLEUS: plate}]
    for progress in np.linspace(0, 1, frames - start)[1:]:
        daughters = (_plate(nucleus, radius=0.5, offset=side * (0.4 + 0.5 * progress)) for side in (-1, 1))
        nuclei.append(dict(enumerate(daughters, start=NUCLEUS + 1)))
    return replace(scene, nuclei=tuple(nuclei))


def _plate(nucleus: Outline, *, radius: float, offset: float) -> Outline:
    """A flat ellipse across the long axis of a nucleus, sized and set off along that axis in the nucleus's radii."""
    along = nucleus.radius * offset
    centre = (nucleus.centre[0] + along * cos(nucleus.angle_rad), nucleus.centre[1] + along * sin(nucleus.angle_rad))
    smooth = np.zeros_like(nucleus.harmonics)
    return Outline(centre, nucleus.radius * radius, nucleus.angle_rad + pi / 2, 0.5, 0.0, smooth, (0.0, 0.0), 1.0)


@dataclass(frozen=True)
class HardFilm:
    """A film in which something happens.

    Attributes:
        settings: of all else.
        event: what happens to the scene.
    """

    settings: SequenceSettings = field(default_factory=SequenceSettings)
    event: Callable[[Scene], Scene] = lambda scene: scene

    def __call__(self, frames: int, size: int, seed: int) -> NucleusSequence:
        """The film; see :func:`~monai_cellreg.data.synthetic_sequence.simulate_sequence` for the arguments."""
        rng = np.random.default_rng(seed)
        return self.event(draw_scene(rng, self.settings, frames=frames, size=size)).filmed(rng)


def _vanish_twice(scene: Scene) -> Scene:
    return vanish(scene, (len(scene.nuclei) // 2, len(scene.nuclei) - 1))


HARD_FILMS: Mapping[str, HardFilm] = {
    "intensity": HardFilm(event=fade),
    "noise": HardFilm(SequenceSettings(NucleusSettings(shot_noise=(0.3, 0.5), read_noise=(0.12, 0.2)))),
    "division": HardFilm(SequenceSettings(replace(LONE, diameter=(0.4, 0.55))), divide),
    "leaving": HardFilm(SequenceSettings(LONE), leave),
    "empty": HardFilm(SequenceSettings(LONE), _vanish_twice),
}
"""Hard films by what happens in them; each is called with the number of frames, their size and a seed."""
