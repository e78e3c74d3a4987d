"""Registering the frames of a movie to one reference, with any method that registers pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Protocol

import torch
from torch import Tensor

from ..geometry import Pair, SamplingGrid, SpatialTransform, compose, resample
from ..utils import check_not_negative, plain
from .batches import Lookahead, RegisterBatch
from .frame import FrameMap, Register, at_voxels, flaw, identity, refine_frame, register_frame, remainder, similarity
from .group_mean import centred, rms_change
from .temporal import SmoothedMaps

REFERENCES = ("first", "previous", "mean")
SETTLED = 0.05  # RMS change of the maps between two rounds, in voxels, below which the group mean is left as it is

Key = tuple[int, int]
"""Round (0 unless the reference is the mean) and frame."""


class Frames(Protocol):
    """A movie that is read frame by frame."""

    def __len__(self) -> int:
        """Number of frames."""

    def frame(self, index: int) -> Tensor:
        """A frame (C, *spatial); a ``MetaTensor`` lies where its affine says."""


@dataclass(frozen=True)
class SequenceMaps:
    """What :class:`SequenceRegistration` gives.

    Args:
        maps: one for each frame; those that were found before are read, and smooth ones made, when they are asked for.
        grid: where the reference lies.
        image: the reference (C, *spatial): a frame, or the mean of the warped frames, float32.
        reference: the frame that is the reference; None for the mean.
        convergence: root mean square change of the maps in each round after the first, in world units; empty unless the
            reference is the mean.
    """

    maps: Sequence[FrameMap]
    grid: SamplingGrid
    image: Tensor
    reference: int | None
    convergence: tuple[float, ...] = ()


class SequenceRegistration:
    """Finds, for every frame, the map from the reference to it.

    - ``"first"``, or the number of a frame: every frame is registered straight to that one, so that errors do not add
      up over the movie. Where the map of the neighbour nearer to the reference makes the frame more similar than its
      own registration, what that map leaves is registered as well and the best is taken (see
      :func:`~monai_cellreg.inferers.frame.register_frame`).
    - ``"previous"``: every frame is registered to the one before it, and maps are chained to the first frame: for
      content that changes until the first frame is of no use. Errors add up.
    - ``"mean"``: the frames are registered to the one that is most like their mean, then, round by round, to the mean
      of the warped frames. After each round the mean displacement is taken out of the maps, so that the reference is
      the mean shape, whichever frame comes first.

    Frames are read one by one, or in batches where the method registers several pairs at once, and never kept. A frame
    that is constant or not finite, that nothing makes similar, or that the method refuses takes the map of its
    neighbour, with a flag that says so; as a reference it is replaced by the nearest usable frame.

    With ``smoothing`` the maps that were found are filtered over time, which takes out what the registration of each
    frame errs on its own, and gives a frame without a map of its own one between those of its neighbours (see
    :class:`~monai_cellreg.inferers.temporal.SmoothedMaps`).

    Convention: maps take world points of the reference to world points of the frame, so that each frame is warped onto
    the reference; all frames share one world.

    Args:
        reference: ``"first"``, ``"previous"``, ``"mean"`` or the number of a frame, from 0.
        rounds: most rounds of ``"mean"``, at least 1; it stops once maps change by less than 0.05 voxels.
        smoothing: standard deviation, in frames, of the Gaussian that filters the maps over time; 0 for none.

    Raises:
        ValueError: for another reference, fewer rounds or a negative smoothing.

    Example:
        >>> from monai_cellreg.geometry import AffineTransform
        >>> class Film(list):
        ...     frame = list.__getitem__
        >>> image = torch.rand(1, 8, 12, generator=torch.Generator().manual_seed(0))
        >>> film = Film([image, image.sqrt(), 0 * image])
        >>> found = SequenceRegistration()(film, lambda pair: AffineTransform.rigid(0.1))  # a poor method
        >>> [each.flag for each in found.maps]
        ['reference', 'identity', 'constant']
    """

    def __init__(self, reference: str | int = "first", *, rounds: int = 3, smoothing: float = 0.0) -> None:
        is_number = isinstance(reference, int) and not isinstance(reference, bool)
        if not (is_number and reference >= 0 or reference in REFERENCES):  # type: ignore[operator]
            raise ValueError(
                f"reference is {reference!r}; expected 'first', 'previous', 'mean' or the number of a frame, from 0"
            )
        if rounds < 1:
            raise ValueError(f"rounds is {rounds}; expected at least 1")
        check_not_negative("smoothing", smoothing)
        self.reference, self.rounds, self.smoothing = reference, rounds, smoothing

    def __call__(
        self,
        frames: Frames,
        register: Register,
        *,
        register_batch: RegisterBatch | None = None,
        maps: MutableMapping[Key, FrameMap] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> SequenceMaps:
        """The maps of a movie.

        Args:
            frames: the movie.
            register: the method's ``register``.
            register_batch: the method's ``register_batch``, where it has one: usable frames are registered together, up
                to 32 at once, unless each is registered to the one before it.
            maps: where maps are kept as they are found, before they are smoothed; those that it already holds are not
                searched for again, so that a mapping on disk makes a run that can be interrupted.
            progress: called with the number of registrations done and their total.

        Raises:
            ValueError: when the movie is empty, has no frame of that number, or the method refuses every frame.
        """
        if len(frames) == 0:
            raise ValueError("frames is empty; expected a movie of at least one frame")
        if isinstance(self.reference, int) and self.reference >= len(frames):
            raise ValueError(
                f"reference is {self.reference} but the movie has {len(frames)} frames; expected 0 to {len(frames) - 1}"
            )
        kept = {} if maps is None else maps
        run = _Run(frames, register, register_batch, kept, progress or (lambda done, total: None))
        if self.reference == "mean":
            return run.to_mean(self.rounds, self.smoothing)
        number = self.reference if isinstance(self.reference, int) else 0
        found = run.chained(number) if self.reference == "previous" else run.direct(number)
        if not self.smoothing:
            return found
        return replace(found, maps=SmoothedMaps(found.maps, self.smoothing, found.grid, found.reference))


class _Run:
    """One movie on its way through one method."""

    def __init__(
        self,
        frames: Frames,
        register: Register,
        register_batch: RegisterBatch | None,
        maps: MutableMapping[Key, FrameMap],
        progress: Callable[[int, int], None],
    ) -> None:
        self.frames, self.register, self.register_batch = frames, register, register_batch
        self.maps, self.progress = maps, progress
        self.done, self.total = 0, len(frames)
        self.succeeded, self.reason = False, ""

    def direct(self, wanted: int) -> SequenceMaps:
        """Every frame to one; outward from it, so that a neighbour's map is always there."""
        reference = self.usable(wanted)
        image = self.frames.frame(reference)
        grid = SamplingGrid.from_image(image)
        start = self.keep((0, reference), partial(self.standing, image, grid))
        orders = (range(reference + 1, len(self.frames)), range(reference - 1, -1, -1))
        ahead = Lookahead(self.register_batch, partial(self.unregistered, image), chain(*orders))
        for order in orders:
            guess = start.transform
            for t in order:
                guess = self.keep((0, t), partial(self.straight, image, t, guess, ahead)).transform
        return self.result(0, grid, image, reference)

    def chained(self, wanted: int) -> SequenceMaps:
        """Every frame to the last trusted one before it."""
        reference = self.usable(wanted)
        image = self.frames.frame(reference)
        grid = SamplingGrid.from_image(image)
        last = reference
        for t in range(len(self.frames)):
            if t <= reference:  # frames before it cannot be registered
                self.keep((0, t), partial(self.standing, self.frames.frame(t), grid))
            elif self.keep((0, t), partial(self.step, last, t, grid)).is_trusted:
                last = t
        return self.result(0, grid, image, reference)

    def to_mean(self, rounds: int, smoothing: float) -> SequenceMaps:
        """Every frame to the group mean."""
        self.total *= rounds
        first = self.direct(self.most_typical())
        found, grid = list(first.maps), first.grid
        maps = self.centred(found, grid)
        convergence: list[float] = []
        for turn in range(1, rounds):
            image = self.mean_image(maps, found, grid)
            start = [replace(old, transform=each) for old, each in zip(found, maps, strict=True)]
            ahead = Lookahead(self.register_batch, partial(self.unrefined, image, turn, start), range(len(start)))
            found = [self.keep((turn, t), partial(self.refined, image, t, each, ahead)) for t, each in enumerate(start)]
            before, maps = maps, self.centred(found, grid)
            convergence.append(rms_change(before, maps, grid))
            if convergence[-1] < SETTLED * min(grid.spacing):
                break
        if smoothing:
            start = [replace(old, transform=each) for old, each in zip(found, maps, strict=True)]
            maps = self.centred(SmoothedMaps(start, smoothing, grid, None), grid)
        image = self.mean_image(maps, found, grid)
        final = [
            replace(old, transform=each, flag="registered" if old.flag == "reference" else old.flag)
            for old, each in zip(found, maps, strict=True)
        ]
        return SequenceMaps(final, grid, image, None, tuple(convergence))

    def keep(self, key: Key, find: Callable[[], FrameMap]) -> FrameMap:
        """The map of a key, found unless it is there already."""
        if key not in self.maps:
            self.maps[key] = find()
        found = self.maps[key]
        self.reason = self.reason or found.reason
        self.succeeded |= found.is_trusted and found.flag != "reference"
        self.done += 1
        self.progress(self.done, self.total)
        return found

    def standing(self, frame: Tensor, grid: SamplingGrid) -> FrameMap:
        """The identity, of the reference itself or of a frame that comes before any other map."""
        return FrameMap(identity(grid.spatial_dims), flaw(frame) or "reference")

    def unregistered(self, image: Tensor, t: int) -> tuple[Pair, Pair] | None:
        """Frame t with the image that it is to be registered to; None where it has a map, or cannot be used."""
        if (0, t) in self.maps or flaw(frame := self.frames.frame(t)):
            return None
        pair = Pair.of(image, frame)
        return pair, pair

    def straight(self, image: Tensor, t: int, guess: SpatialTransform, ahead: Lookahead) -> FrameMap:
        """Frame t registered to an image."""
        ready = ahead.take(t)
        if ready is not None:
            found = register_frame(ready.pair, self.register, guess, direct=ready.transform)
            return replace(found, seconds=found.seconds + ready.seconds)
        frame = self.frames.frame(t)
        flag = flaw(frame)
        return FrameMap(guess, flag) if flag else register_frame(Pair.of(image, frame), self.register, guess)

    def step(self, last: int, t: int, grid: SamplingGrid) -> FrameMap:
        """Frame t registered to a frame before it, chained to the first one."""
        start, frame = self.maps[0, last].transform, self.frames.frame(t)
        flag = flaw(frame)
        if flag:
            return FrameMap(start, flag)
        pair = Pair.of(self.frames.frame(last), frame)
        found = register_frame(pair, self.register, identity(grid.spatial_dims))
        chain = at_voxels(compose([start, found.transform]), grid)
        return replace(found, transform=chain, flag="neighbour" if found.flag == "identity" else found.flag)

    def unrefined(self, image: Tensor, turn: int, start: Sequence[FrameMap], t: int) -> tuple[Pair, Pair] | None:
        """Frame t with an image, and what its map leaves; None where it was refined, or has no map of its own."""
        if (turn, t) in self.maps or not start[t].is_trusted:
            return None
        pair = Pair.of(image, self.frames.frame(t))
        return pair, remainder(pair, start[t].transform)

    def refined(self, image: Tensor, t: int, before: FrameMap, ahead: Lookahead) -> FrameMap:
        """The map of frame t brought closer to an image."""
        ready = ahead.take(t)
        if ready is not None:
            found = refine_frame(ready.pair, self.register, before, step=ready.transform)
            return replace(found, seconds=found.seconds + ready.seconds)
        if not before.is_trusted:
            return before
        return refine_frame(Pair.of(image, self.frames.frame(t)), self.register, before)

    def centred(self, found: Sequence[FrameMap], grid: SamplingGrid) -> list[SpatialTransform]:
        """The maps without their mean displacement."""
        trusted = [each.is_trusted for each in found]
        return centred([each.transform for each in found], trusted if any(trusted) else [True] * len(found), grid)

    def usable(self, wanted: int) -> int:
        """The frame nearest to the wanted one that can be registered; the wanted one when there is none."""
        nearest = sorted(range(len(self.frames)), key=lambda t: abs(t - wanted))
        return next((t for t in nearest if not flaw(self.frames.frame(t))), wanted)

    def most_typical(self) -> int:
        """The frame that is most similar to the mean of the unregistered frames."""
        usable = [t for t in range(len(self.frames)) if not flaw(self.frames.frame(t))]
        if not usable:
            return 0
        grid = SamplingGrid.from_image(self.frames.frame(usable[0]))
        still = identity(grid.spatial_dims)
        mean = self.mean_of(usable, [still] * len(self.frames), grid)
        return max(usable, key=lambda t: similarity(Pair.of(mean, self.frames.frame(t)), still))

    def mean_image(self, maps: Sequence[SpatialTransform], found: Sequence[FrameMap], grid: SamplingGrid) -> Tensor:
        """Mean of the trusted frames as warped, or of all where none is."""
        trusted = [t for t, each in enumerate(found) if each.is_trusted]
        return self.mean_of(trusted or range(len(found)), maps, grid)

    def mean_of(self, chosen: Sequence[int], maps: Sequence[SpatialTransform], grid: SamplingGrid) -> Tensor:
        """Mean (C, *grid.shape) of the chosen frames as warped, float32."""
        total = self.warped(chosen[0], maps[chosen[0]], grid)
        for t in chosen[1:]:
            total += self.warped(t, maps[t], grid)
        return grid.to_image((total / len(chosen)).float())

    @torch.no_grad()
    def warped(self, t: int, transform: SpatialTransform, grid: SamplingGrid) -> Tensor:
        """Frame t on the reference, float64."""
        frame = self.frames.frame(t)
        return resample(plain(frame)[None].double(), transform, grid, SamplingGrid.from_image(frame))[0]

    def result(self, turn: int, grid: SamplingGrid, image: Tensor, reference: int) -> SequenceMaps:
        """What was found in a round."""
        if self.reason and not self.succeeded:
            raise ValueError(f"no frame could be registered; the method says: {self.reason}")
        return SequenceMaps(_Kept(self.maps, turn, len(self.frames)), grid, image, reference)


class _Kept(Sequence[FrameMap]):
    """The maps of one round, read when they are asked for."""

    def __init__(self, maps: MutableMapping[Key, FrameMap], turn: int, size: int) -> None:
        self.maps, self.turn, self.size = maps, turn, size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, t: int) -> FrameMap:  # type: ignore[override]
        return self.maps[self.turn, range(self.size)[t]]

    def __iter__(self) -> Iterator[FrameMap]:
        return (self.maps[self.turn, t] for t in range(self.size))
