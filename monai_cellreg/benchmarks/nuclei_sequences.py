"""Films of single nuclei with their labels, simulated or cut out of a labelled folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

from ..data import spread
from ..data.nucleus_tracks import NucleusTrack, nucleus_tracks
from ..data.synthetic_sequence import simulate_sequence
from ..geometry import Pair, SamplingGrid
from .cases_simulated import FIRST_SEED

__all__ = ["PAPER_FRAMES", "Film", "Sequences", "simulated_films", "tracked_nuclei"]

PAPER_FRAMES = (7, 13)
"""Frames of the paper's shortest and longest sequence."""


@dataclass(frozen=True)
class Film:
    """Frames of one nucleus.

    Args:
        images: (T, 1, H, W) in [0, 1], the first one the reference.
        labels: (T, 1, H, W), above 0 inside of the nucleus.
    """

    images: Tensor
    labels: Tensor

    def pairs(self) -> list[Pair]:
        """Every later frame as the moving side of a pair with the first one, with labels; world == index."""
        grid = SamplingGrid(tuple(self.images.shape[2:]))
        images, labels = ([grid.to_image(frame) for frame in frames] for frames in (self.images, self.labels))
        return [
            Pair(images[0], images[t], grid, grid, fixed_label=labels[0], moving_label=labels[t])
            for t in range(1, len(images))
        ]


@dataclass(frozen=True)
class Sequences:
    """Named films, each made or read when its turn comes.

    Args:
        name: what they are, in words.
        films: name of the film to the function that gives it, in their order.
        fingerprint: text that differs for other films of the same names.
    """

    name: str
    films: Mapping[str, Callable[[], Film]]
    fingerprint: str

    def limited(self, count: int | None) -> Sequences:
        """At most ``count`` of the films, spread evenly; all for ``None``."""
        if count is None:
            return self
        if count < 1:
            raise ValueError(f"limit is {count}, expected a number of sequences of at least 1; leave it out for all")
        chosen = spread([{"name": name} for name in self.films], count)
        return replace(self, films={item["name"]: self.films[item["name"]] for item in chosen})


def simulated_films(count: int, *, size: int, most_frames: int = PAPER_FRAMES[1]) -> Sequences:
    """Simulated films that no training has seen, of 7 to 13 frames in turn.

    Args:
        count: number of films.
        size: side of the square frames in pixels.
        most_frames: films with more frames are cut short.

    Raises:
        ValueError: for no film, or fewer than two frames.
    """
    if count < 1:
        raise ValueError(f"films is {count}, expected at least 1")
    _check_frames(most_frames)
    shortest, longest = PAPER_FRAMES
    lengths = [min(shortest + k % (longest - shortest + 1), most_frames) for k in range(count)]
    films = {f"film{k:02d}": partial(_simulated, length, size, FIRST_SEED + k) for k, length in enumerate(lengths)}
    return Sequences(f"{count} simulated films", films, f"simulated {size} {most_frames}")


def _simulated(frames: int, size: int, seed: int) -> Film:
    film = simulate_sequence(frames, size=size, seed=seed)
    return Film(torch.from_numpy(film.images), torch.from_numpy(film.labels))


def tracked_nuclei(
    folder: str | os.PathLike[str], *, size: int, most_frames: int = PAPER_FRAMES[1], limit: int | None = None
) -> Sequences:
    """Every nucleus of a folder that can be followed over three time points or more.

    Args:
        folder: in the layout of the Cell Tracking Challenge.
        size: side of the square frames in pixels.
        most_frames: only the first so many frames of each nucleus.
        limit: at most so many nuclei, spread evenly.

    Raises:
        FileNotFoundError: when the folder does not exist.
        ValueError: when it cannot be used; see :func:`~monai_cellreg.data.nucleus_tracks.nucleus_tracks`.
    """
    _check_frames(most_frames)
    tracks = nucleus_tracks(folder, least_frames=min(3, most_frames), most_frames=most_frames)
    listed = [[t.group, t.number, [(Path(i["image"]).name, *_sizes(i)) for i in t.items]] for t in tracks]
    fingerprint = sha256(json.dumps([size, listed]).encode()).hexdigest()
    films = {track.name: partial(_tracked, track, size) for track in tracks}
    return Sequences(f"nuclei of {Path(folder).name}", films, fingerprint).limited(limit)


def _tracked(track: NucleusTrack, size: int) -> Film:
    return Film(*track.frames(size))


def _sizes(item: Mapping[str, str]) -> tuple[int, int]:
    """Bytes of the image and of its label."""
    return os.path.getsize(item["image"]), os.path.getsize(item["label"])


def _check_frames(most_frames: int) -> None:
    if most_frames < 2:
        raise ValueError(f"frames is {most_frames}, expected at least 2, the first and a later one")
