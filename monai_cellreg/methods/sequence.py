"""Registering the frames of a movie by any method: ``mc.register_sequence``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import MetaTensor
from tqdm import tqdm

from ..geometry import RegisteredTransform
from ..inferers import SequenceMaps, SequenceRegistration
from ..utils import ensure_writable_dir
from .method import Method
from .sequence_files import write_metrics, write_movies, write_pictures, write_transforms
from .sequence_frames import FrameTransforms, MovieFrames, MovieLike, WarpedFrames
from .sequence_metrics import TemporalStatistics, measure_sequence, summary
from .sequence_report import write_report
from .sequence_store import StoredMaps, method_hash
from .table import load_method, method_name

__all__ = ["SequenceResult", "register_sequence"]


@dataclass(frozen=True)
class SequenceResult:
    """What :func:`register_sequence` gives; frames are read and warped when they are asked for.

    Args:
        frames: the movie.
        found: reference, maps and their convergence.
        metrics: one dictionary a frame; see :func:`~monai_cellreg.methods.sequence_metrics.measure_sequence`.
        statistics: mean and standard deviation over time, before and after.
        method: name of the method.
    """

    frames: MovieFrames
    found: SequenceMaps
    metrics: list[dict[str, Any]]
    statistics: TemporalStatistics
    method: str

    @property
    def transforms(self) -> Sequence[RegisteredTransform]:
        """Maps from world points of the reference to world points of each frame."""
        return FrameTransforms(self.frames, self.found)

    @property
    def warped(self) -> Sequence[MetaTensor] | np.ndarray:
        """The frames on the reference: an array like the movie when that was one, else frames (C, *spatial)."""
        warped = WarpedFrames(self.frames, self.found, self.found.grid)
        if not self.frames.is_array:
            return warped
        return np.stack([self.frames.in_source_type(frame) for frame in warped])

    @property
    def summary(self) -> dict[str, Any]:
        """The figures of the whole movie, and how it was registered."""
        reference = "mean" if self.found.reference is None else self.found.reference
        how = {"method": self.method, "reference": reference, "convergence": list(self.found.convergence)}
        return {**how, **summary(self.metrics, self.statistics)}

    def report(self, path: str | os.PathLike[str]) -> None:
        """Writes one HTML page that shows the movie before and after, and needs no network."""
        write_report(path, self.frames, self.found, self.metrics, self.summary)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes all that :func:`register_sequence` writes to ``out``."""
        write_transforms(ensure_writable_dir(folder), FrameTransforms(self.frames, self.found))
        self._save_views(Path(folder))

    def _save_views(self, folder: Path) -> None:
        """All but the maps."""
        before, after = (WarpedFrames(self.frames, way, self.found.grid) for way in (None, self.found))
        write_metrics(folder, self.metrics, self.summary)
        write_pictures(folder, self.statistics, self.found.grid)
        write_movies(folder, self.frames, before, after)
        mp4 = folder / "stabilised.mp4"
        write_report(folder / "report.html", self.frames, self.found, self.metrics, self.summary, movie=mp4)


def register_sequence(
    movie: MovieLike,
    *,
    method: str | Method = "auto",
    reference: str | int = "first",
    out: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> SequenceResult:
    """Aligns the frames of a movie, in 2D or 3D.

    With ``out`` it writes ``stabilised.ome.tif`` (number type and pixel size of the movie), ``stabilised.mp4`` (before
    and after, side by side), ``transforms/t000.h5`` and so on (ITK), ``metrics.csv`` and ``metrics.json``, ``mean.png``
    and ``std.png`` (over time, before and after), and ``report.html``. Each file appears when it is complete. A run
    that was interrupted goes on where it stopped: maps that lie in the folder are used again where movie, method and
    reference are the same.

    Args:
        movie: path of a file of several frames or of a folder of images; an array or tensor (T, *spatial); a list of
            arrays, tensors or ``MetaTensor``; or a :class:`~monai_cellreg.data.movies.Movie`.
        method: a name (see :func:`~monai_cellreg.methods.method_names`) or anything with ``register(pair)``.
        reference: ``"first"``, ``"previous"``, ``"mean"`` or the number of a frame; see
            :class:`~monai_cellreg.inferers.SequenceRegistration`.
        out: folder for the files.
        progress: show a progress bar.

    Returns:
        Maps, warped frames and metrics.

    Raises:
        ValueError: when the movie or reference cannot be used, the method is unknown or refuses every frame.
        OSError: when the folder cannot be written.

    Example:
        >>> from monai_cellreg.data.synthetic_sequence import simulate_sequence
        >>> film = simulate_sequence(3, size=48, seed=1)
        >>> result = register_sequence(film.images[:, 0], method="joint", progress=False)
        >>> result.warped.shape, [row["flag"] for row in result.metrics][0]
        ((3, 48, 48), 'reference')
    """
    registration = SequenceRegistration(reference)
    chosen = load_method(method) if isinstance(method, str) else method
    folder = None if out is None else ensure_writable_dir(out)
    frames = MovieFrames(movie)
    maps = None if folder is None else StoredMaps(folder, frames, method_hash(method), reference)
    with tqdm(unit="frame", disable=not progress) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        found = registration(frames, chosen.register, maps=maps, progress=show)
    rows, statistics = measure_sequence(frames, found)
    result = SequenceResult(frames, found, rows, statistics, method_name(method))
    if folder is not None and found.reference is None:  # the maps to the mean shape are known only at the end
        result.save(folder)
    elif folder is not None:
        result._save_views(folder)
    return result
