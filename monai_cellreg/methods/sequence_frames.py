"""Whatever a user calls a movie, as frames that are read one by one and know where they lie."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor

from ..data.movies import Movie
from ..data.readers import ImageReadError
from ..data.writers import as_type
from ..geometry import RegisteredTransform, SamplingGrid, resample
from ..inferers import SequenceMaps
from ..inferers.frame import identity
from ..utils import plain
from .images import ImageLike, as_image, in_layout

logger = logging.getLogger(__name__)

MovieLike = str | os.PathLike[str] | np.ndarray | Tensor | Sequence[ImageLike] | Movie


class MovieFrames(Sequence[MetaTensor]):
    """The frames of a movie, each (C, *spatial) float32 on one grid; none is kept.

    A frame of a file that cannot be read, or holds NaN, is NaN as a whole, so that one bad frame does not end the
    registration of a long movie.

    Args:
        movie: path of a file of several frames or of a folder of images, a ``Movie``, an array or tensor (T, *spatial),
            or a sequence of images as ``mc.register`` takes them.

    Raises:
        TypeError: for anything else.
        ValueError: for a movie without frames, or whose first frame cannot be used.
    """

    def __init__(self, movie: MovieLike) -> None:
        given = Movie(movie, color="keep") if isinstance(movie, (str, os.PathLike)) else movie
        if not isinstance(given, (np.ndarray, Tensor, Sequence)):
            raise TypeError(f"movie is a {type(movie).__name__}; expected a path, an array, a tensor or a list")
        if isinstance(given, (np.ndarray, Tensor)) and given.ndim < 3:
            raise ValueError(f"movie has shape {tuple(given.shape)}; expected (T, *spatial). Use register for one pair")
        if len(given) == 0:
            raise ValueError("movie is empty; expected at least one frame")
        self.movie = given
        self.is_array = isinstance(given, np.ndarray)
        first = given.frame(0) if isinstance(given, Movie) else self._converted(0)
        self.like = first  # for what writers keep: number type and header
        self.grid = SamplingGrid.from_image(first)
        self.shape = tuple(first.shape)
        self.seconds_per_frame = given.seconds_per_frame if isinstance(given, Movie) else None

    @property
    def source_dtype(self) -> np.dtype:
        """The number type that the movie has where it comes from."""
        return np.dtype(self.like.meta["source_dtype"])

    def __len__(self) -> int:
        return len(self.movie)

    def __getitem__(self, t: int) -> MetaTensor:  # type: ignore[override]
        return self.frame(range(len(self))[t])

    def frame(self, index: int) -> MetaTensor:
        """A frame (C, *spatial), float32.

        Raises:
            ValueError: when a frame in memory has another shape, or lies elsewhere, than the first.
        """
        if isinstance(self.movie, Movie):
            try:
                return self.movie.frame(index)
            except ImageReadError as error:
                logger.warning("frame %d cannot be used: %s", index, error)
                return self.grid.to_image(torch.full(self.shape, torch.nan))
        image = self._converted(index)
        if tuple(image.shape) != self.shape or not SamplingGrid.from_image(image).matches(self.grid):
            raise ValueError(
                f"movie[{index}] has shape {tuple(image.shape)} but movie[0] has {self.shape}, or lies elsewhere; "
                "expected frames on one grid. Resample them to one first"
            )
        return image

    def in_source_type(self, frame: Tensor) -> np.ndarray:
        """A frame (C, *spatial) as the array that the movie has in its place."""
        whole = np.issubdtype(self.source_dtype, np.integer)
        values = as_type(plain(frame.nan_to_num(0) if whole else frame).cpu().numpy(), self.source_dtype)
        return in_layout(values, self.movie[0])

    def _converted(self, index: int) -> MetaTensor:
        """A frame in memory; values that are not finite stay what they are."""
        given, name = self.movie[index], f"movie[{index}]"
        if isinstance(given, np.ndarray):
            image = as_image(np.nan_to_num(given, posinf=0, neginf=0), name)
            known = as_image(np.isfinite(given), name)
        elif isinstance(given, Tensor):
            image = as_image(torch.nan_to_num(given, 0, 0, 0), name)
            known = as_image(torch.isfinite(given).to(torch.uint8), name)
        else:
            image = as_image(given, name)
            known = torch.ones(())
        meta = dict(image.meta) if isinstance(image, MetaTensor) else {}
        if "source_dtype" not in meta:
            meta["source_dtype"] = str(given.dtype).removeprefix("torch.")
        values = torch.where(plain(known) == 0, torch.nan, plain(image).float())
        return SamplingGrid.from_image(image).to_image(MetaTensor(values, meta=meta))


class WarpedFrames(Sequence[MetaTensor]):
    """The frames of a movie on the grid of the reference, each warped when it is asked for, from the frame itself.

    Args:
        frames: the movie.
        found: its maps; None for the frames as they lie.
        grid: of the reference.
    """

    def __init__(self, frames: MovieFrames, found: SequenceMaps | None, grid: SamplingGrid) -> None:
        self.frames, self.found, self.grid = frames, found, grid

    def __len__(self) -> int:
        return len(self.frames)

    @torch.no_grad()
    def __getitem__(self, t: int) -> MetaTensor:  # type: ignore[override]
        frame = self.frames[t]
        still = identity(self.grid.spatial_dims)
        transform = still if self.found is None else self.found.maps[t].transform
        warped = resample(plain(frame)[None], transform, self.grid, SamplingGrid.from_image(frame))[0]
        return self.grid.to_image(MetaTensor(warped, meta=frame.meta))

    def __iter__(self) -> Iterator[MetaTensor]:
        return (self[t] for t in range(len(self)))


class FrameTransforms(Sequence[RegisteredTransform]):
    """The maps of a movie, each read when it is asked for."""

    def __init__(self, frames: MovieFrames, found: SequenceMaps) -> None:
        self.frames, self.found = frames, found

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, t: int) -> RegisteredTransform:  # type: ignore[override]
        return RegisteredTransform(self.found.maps[t].transform, self.found.grid, self.frames.grid)

    def __iter__(self) -> Iterator[RegisteredTransform]:
        return (self[t] for t in range(len(self)))
