"""Registering the frames of a movie by any method: ``mc.register_sequence``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from tqdm import tqdm

from ..geometry import RegisteredTransform
from ..inferers import SequenceMaps, SequenceRegistration
from ..report import Verdict
from ..utils import ensure_writable_dir, plain
from .images import ImageLike
from .method import BatchMethod, Method
from .propagation import LabelledFrame, PropagatedLabels, read_labels, write_labels
from .relative_motion import RelativeMotion, points_on_reference
from .sequence_files import write_metrics, write_movies, write_pictures, write_transforms
from .sequence_frames import FrameTransforms, MovieFrames, MovieLike, WarpedFrames
from .sequence_metrics import TemporalStatistics, measure_sequence, summary
from .sequence_options import SequenceOptions
from .sequence_report import judge_sequence, write_report
from .sequence_store import StoredMaps, method_hash
from .table import load_method, method_name
from .track_files import TrackTable, read_tracks

__all__ = ["SequenceResult", "register_sequence"]

NO_FRAME = "labels belong to no frame: the reference is the mean of all; give labels_frame, the number of theirs"


@dataclass(frozen=True)
class SequenceResult:
    """What :func:`register_sequence` gives; frames are read and warped when they are asked for.

    Args:
        frames: the movie.
        found: reference, maps and their convergence.
        metrics: one dictionary a frame; see :func:`~monai_cellreg.methods.sequence_metrics.measure_sequence`.
        statistics: mean and standard deviation over time, before and after.
        method: name of the method.
        labelled: labels of one frame that are carried along.
        tracks: structures that are followed.
        smoothing: standard deviation, in frames, of the filter over time.
    """

    frames: MovieFrames
    found: SequenceMaps
    metrics: list[dict[str, Any]]
    statistics: TemporalStatistics
    method: str
    labelled: LabelledFrame | None = None
    tracks: TrackTable | None = None
    smoothing: float = 0.0

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
        how = {"method": self.method, "reference": reference, "smoothing": self.smoothing}
        return {**how, "convergence": list(self.found.convergence), **summary(self.metrics, self.statistics)}

    @property
    def verdict(self) -> Verdict:
        """What is to be thought of the figures, as the page says it: ``level``, ``headline`` and ``reasons``."""
        return judge_sequence(self.summary)

    @cached_property
    def motion(self) -> RelativeMotion | None:
        """The motion of the structures that are followed; None where none are.

        ``motion.tracks["7"]`` is one track, with its ``frames`` (F,) and ``points`` (2, F, D), where they were seen and
        on the reference, in world units; ``motion.msd`` (2, L) is the mean squared displacement of all tracks, before
        and after; ``motion.reference`` (N, D) holds all points on the reference, in the order of the table.
        """
        return None if self.tracks is None else RelativeMotion(self.tracks, self.found)

    def to_reference(self, points: np.ndarray, frames: int | np.ndarray) -> np.ndarray:
        """Points of frames as points of the reference, without the motion that was found.

        Convention: index coordinates of frames and reference, in the order of the tensor axes (row, column; or plane,
        row, column), 0 at the centre of the first pixel.

        Args:
            points: (N, D).
            frames: the frame of all points, or (N,) of each.

        Returns:
            (N, D) float64; where the map of a frame folds, the closest point that is found.

        Raises:
            ValueError: when points or frames have another shape, or there is no such frame.
        """
        index, numbers = self._checked(points, frames)
        world = points_on_reference(self.found, self._world(index).numpy(), numbers)
        return self.found.grid.world_to_index(torch.from_numpy(world)).numpy()

    def from_reference(self, points: np.ndarray, frame: int) -> np.ndarray:
        """Points of the reference as points of a frame; see :meth:`to_reference`, whose inverse it is.

        Args:
            points: (N, D).
            frame: the frame.

        Returns:
            (N, D) float64.

        Raises:
            ValueError: as for :meth:`to_reference`.
        """
        index, _ = self._checked(points, frame)
        moved = self.found.maps[frame].transform.points(self._world(index).numpy())
        return self.frames.grid.world_to_index(torch.from_numpy(np.asarray(moved))).numpy()

    def propagate(
        self, labels: ImageLike | None = None, *, frame: int | None = None
    ) -> Sequence[MetaTensor] | np.ndarray:
        """Labels of one frame in every frame; see :class:`~monai_cellreg.methods.propagation.PropagatedLabels`.

        Args:
            labels: path, array (*spatial) or tensor of whole numbers, 0 for background; those that were given to
                :func:`register_sequence` when omitted.
            frame: the frame that they belong to, from 0; the reference when omitted.

        Returns:
            An array (T, *spatial) in the labels' number type when the movie is an array, else frames (1, *spatial) that
            are made when they are asked for.

        Raises:
            ValueError: when there are no labels, they do not fit the frames, or the reference is a mean and no frame is
                given.
        """
        labelled, chosen = self.labelled, self.found.reference if frame is None else frame
        if labels is not None:
            if chosen is None:
                raise ValueError(NO_FRAME)
            labelled = read_labels(labels, self.frames, chosen)
        if labelled is None:
            raise ValueError("labels is None and none were registered with the movie; expected a path or an array")
        carried = PropagatedLabels(labelled, self.found, self.frames.grid)
        if not self.frames.is_array:
            return carried
        return np.stack([plain(one)[0].numpy() for one in carried]).astype(labelled.image.meta["source_dtype"])

    def report(self, path: str | os.PathLike[str]) -> None:
        """Writes one HTML page that shows the movie before and after, and needs no network."""
        motion = self.motion.section(self.statistics) if self.motion and self.motion.tracks else None
        warped = WarpedFrames(self.frames, self.found, self.found.grid)
        write_report(path, warped, self.metrics, self.summary, motion=motion)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes all that :func:`register_sequence` writes to ``out``."""
        write_transforms(ensure_writable_dir(folder), FrameTransforms(self.frames, self.found))
        self._save_views(Path(folder))

    def _save_views(self, folder: Path) -> None:
        """All but the maps."""
        before, after = (WarpedFrames(self.frames, way, self.found.grid) for way in (None, self.found))
        carried: dict[str, Any] = {}
        if self.labelled is not None:
            labels = PropagatedLabels(self.labelled, self.found, self.frames.grid)
            carried["labels"] = write_labels(folder, labels, seconds_per_frame=self.frames.seconds_per_frame)
        motion = None
        if self.motion is not None:
            carried["tracks"] = self.motion.told()
            motion = self.motion.write(folder, self.statistics)
        write_metrics(folder, self.metrics, {**self.summary, **carried})
        write_pictures(folder, self.statistics, self.found.grid)
        write_movies(folder, self.frames, before, after)
        mp4 = folder / "stabilised.mp4"
        write_report(folder / "report.html", after, self.metrics, self.summary, movie=mp4, motion=motion)

    def _checked(self, points: np.ndarray, frames: int | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (N, D) and the frame (N,) of each."""
        index, numbers, dims = np.array(points, dtype=np.float64), np.asarray(frames), self.frames.grid.spatial_dims
        if index.ndim != 2 or index.shape[1] != dims or numbers.shape not in ((), (len(index),)):
            raise ValueError(
                f"points has shape {index.shape} and frames {numbers.shape}; expected (N, {dims}) and (N,), or one "
                "frame for all"
            )
        last = len(self.frames) - 1
        wrong = numbers[(numbers < 0) | (numbers > last) | (numbers != np.rint(numbers))]
        if wrong.size:
            raise ValueError(f"frames holds {wrong.ravel()[0]}; expected whole numbers from 0 to {last}")
        return index, np.broadcast_to(numbers.astype(np.int64), len(index))

    def _world(self, index: np.ndarray) -> torch.Tensor:
        return self.frames.grid.index_to_world(torch.from_numpy(index))


def register_sequence(
    movie: MovieLike,
    *,
    method: str | Method = "auto",
    reference: str | int = "first",
    out: str | os.PathLike[str] | None = None,
    options: SequenceOptions | None = None,
    progress: bool = True,
) -> SequenceResult:
    """Aligns the frames of a movie, in 2D or 3D.

    With ``out`` it writes ``stabilised.ome.tif`` (number type and pixel size of the movie), ``stabilised.mp4`` (before
    and after, side by side), ``transforms/t000.h5`` and so on (ITK), ``metrics.csv`` and ``metrics.json``, ``mean.png``
    and ``std.png`` (over time, before and after), and ``report.html``. Labels that are carried along give
    ``labels.ome.tif`` and ``labels_ctc`` (Cell Tracking Challenge), tracks give ``tracks_reference.csv``,
    ``motion.csv`` and ``motion.png``. Each file appears when it is complete. A run that was interrupted goes on where
    it stopped: maps that lie in the folder are used again where movie, reference and method are the same, with the same
    settings and weights. A method with ``register_batch`` registers up to 32 frames at once.

    Args:
        movie: path of a file of several frames or of a folder of images; an array or tensor (T, *spatial); a list of
            arrays, tensors or ``MetaTensor``; or a :class:`~monai_cellreg.data.movies.Movie`.
        method: a name (see :func:`~monai_cellreg.methods.method_names`) or anything with ``register(pair)``.
        reference: ``"first"``, ``"previous"``, ``"mean"`` or the number of a frame; see
            :class:`~monai_cellreg.inferers.SequenceRegistration`.
        out: folder for the files.
        options: labels and tracks that are carried along, and smoothness over time.
        progress: show a progress bar.

    Returns:
        Maps, warped frames and metrics.

    Raises:
        ValueError: when the movie, reference, labels or tracks cannot be used, the method is unknown or refuses every
            frame.
        OSError: when the folder cannot be written.

    Example:
        >>> from monai_cellreg.data.synthetic_sequence import simulate_sequence
        >>> film = simulate_sequence(3, size=48, seed=1)
        >>> result = register_sequence(film.images[:, 0], method="joint", progress=False)
        >>> result.warped.shape, [row["flag"] for row in result.metrics][0]
        ((3, 48, 48), 'reference')
    """
    given = options or SequenceOptions()
    registration = SequenceRegistration(reference, smoothing=given.smoothing)
    chosen = load_method(method) if isinstance(method, str) else method
    folder = None if out is None else ensure_writable_dir(out)
    frames = MovieFrames(movie)
    labelled, tracks = _carried(given, frames, reference)
    apart = given.smoothing > 0
    maps = None if folder is None else StoredMaps(folder, frames, method_hash(method), reference, apart=apart)
    with tqdm(unit="frame", disable=not progress) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        batch = chosen.register_batch if isinstance(chosen, BatchMethod) else None
        found = registration(frames, chosen.register, register_batch=batch, maps=maps, progress=show)
    rows, statistics = measure_sequence(frames, found)
    result = SequenceResult(frames, found, rows, statistics, method_name(method), labelled, tracks, given.smoothing)
    if folder is not None and (apart or found.reference is None):  # the final maps are known only at the end
        result.save(folder)
    elif folder is not None:
        result._save_views(folder)
    return result


def _carried(
    options: SequenceOptions, frames: MovieFrames, reference: str | int
) -> tuple[LabelledFrame | None, TrackTable | None]:
    """Labels and tracks, read before the work starts."""
    labelled, frame = None, options.labels_frame
    if options.labels is not None:
        if frame is None and reference == "mean":
            raise ValueError(NO_FRAME)
        frame = frame if frame is not None else reference if isinstance(reference, int) else 0
        labelled = read_labels(options.labels, frames, frame)
    if options.tracks is None:
        return labelled, None
    return labelled, read_tracks(options.tracks, frames, coordinates=options.coordinates)
