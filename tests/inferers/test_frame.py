"""What is said of a frame that cannot be registered from its own content."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_cellreg.data.synthetic_events import divide, vanish
from monai_cellreg.data.synthetic_sequence import NucleusSequence, SequenceSettings, draw_scene
from monai_cellreg.data.synthetic_settings import NucleusSettings
from monai_cellreg.geometry import AffineTransform, Pair, SamplingGrid, SpatialTransform
from monai_cellreg.inferers.frame import register_frame

SEEDS = range(4)
SETTINGS = SequenceSettings(NucleusSettings(neighbours=0.0, debris=0.0, gradient=(0.1, 0.12)))
GUESS = AffineTransform.translation(np.array([0.5, -0.25]))


def filmed(event: object, seed: int) -> NucleusSequence:
    scene = draw_scene(np.random.default_rng(seed), SETTINGS, frames=3, size=72)
    return event(scene).filmed(np.random.default_rng(seed))  # type: ignore[operator]


def pair(film: NucleusSequence, fixed: int, moving: int) -> Pair:
    grid = SamplingGrid(film.images.shape[2:])
    return Pair.of(*(grid.to_image(torch.from_numpy(film.images[t])) for t in (fixed, moving)))


def refusing(pair: Pair) -> SpatialTransform:
    raise AssertionError("an empty frame needs no registration")


def scaled(factor: float, film: NucleusSequence) -> AffineTransform:
    """The content of frame 0 at another size, about its middle."""
    middle = np.argwhere(film.labels[0, 0]).mean(axis=0)
    matrix = np.eye(3)
    matrix[:2, :2] *= factor
    matrix[:2, 2] = (1 - factor) * middle
    return AffineTransform(matrix)


@pytest.mark.parametrize("seed", SEEDS)
def test_frame_of_noise_is_unlike_whatever_it_shares_of_the_background(seed: int) -> None:
    film = filmed(lambda scene: vanish(scene, (1,)), seed)
    found = register_frame(pair(film, 0, 1), refusing, GUESS)
    assert found.flag == "unlike" and found.transform is GUESS and not found.is_trusted
    assert np.isfinite(found.similarity)


def test_frame_of_noise_can_be_registered_to_noise() -> None:
    """Whichever of the two has a little more structure by chance."""
    grid = SamplingGrid((40, 56))
    noise, other = (torch.from_numpy(np.random.default_rng(k).normal(size=(1, 40, 56))) for k in (0, 1))
    frames = [grid.to_image(each) for each in (noise, 0.8 * noise + 0.2 * other)]
    for fixed, moving in (frames, frames[::-1]):
        found = register_frame(Pair.of(fixed, moving), lambda pair: AffineTransform.rigid(0.1), GUESS)
        assert found.flag == "identity" and found.similarity > 0.9


@pytest.mark.parametrize("seed", SEEDS)
def test_nucleus_is_no_noise(seed: int) -> None:
    film = filmed(lambda scene: scene, seed)
    found = register_frame(pair(film, 0, 2), lambda pair: AffineTransform(np.eye(3)), GUESS)
    assert found.is_trusted


@pytest.mark.parametrize("seed", SEEDS)
def test_map_that_shrinks_the_nucleus_to_a_plate_is_not_taken(seed: int) -> None:
    film = filmed(lambda scene: divide(scene, start=1), seed)
    condensed = pair(film, 0, 1)
    found = register_frame(condensed, lambda pair: scaled(0.5, film), GUESS)
    assert found.flag == "unlike" and found.transform is GUESS
    again = register_frame(condensed, lambda pair: scaled(0.5, film), scaled(0.45, film))  # as small before
    assert again.flag in ("registered", "neighbour")
    milder = register_frame(condensed, lambda pair: scaled(0.75, film), scaled(1.0, film))
    assert milder.flag == "registered"
