"""Registering one frame of a movie: several ways to a map, of which the most similar one is taken."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..geometry import (
    AffineTransform,
    CompositeTransform,
    DenseTransform,
    Pair,
    SamplingGrid,
    SpatialTransform,
    compose,
    resample,
)
from ..losses import NCCLoss
from ..utils import plain
from .content import change_of_size, resemblance, structure

logger = logging.getLogger(__name__)

Register = Callable[[Pair], SpatialTransform]
"""What registers a pair: the ``register`` of any method."""

LEAST_STRUCTURE = 0.2  # below which a frame shows noise only, where the reference has as much more
LEAST_RESEMBLANCE = 0.3  # below which two frames have nothing in common that could be aligned
LARGEST_CHANGE = 1.0  # of the size of the content, in octaves: a nucleus does not halve or double from frame to frame
FAILURES = (ValueError, RuntimeError, ArithmeticError)
TRUSTED = ("reference", "registered", "continued", "neighbour", "identity")


@dataclass(frozen=True)
class FrameMap:
    """The map of one frame, and how it came about.

    Args:
        transform: reference world points to world points of the frame.
        flag: ``"reference"`` (the identity by definition); ``"registered"`` (found directly); ``"continued"`` (the map
            of the neighbour nearer to the reference, and a registration of what it left); ``"neighbour"``,
            ``"identity"`` (that map, or none, was at least as good as any registration); and, each with the
            neighbour's map since nothing can be said of the frame: ``"constant"``, ``"not finite"``, ``"unlike"`` (it
            shows noise only, or no map that leaves its content more than half and less than twice as large as the
            neighbour's map does makes it similar to what it is registered to) and ``"failed"`` (the method gave no
            map).
        similarity: correlation coefficient with what it was registered to, mean over the channels; NaN where there was
            no registration.
        seconds: time taken.
        reason: what the method said when it failed.
    """

    transform: SpatialTransform
    flag: str
    similarity: float = float("nan")
    seconds: float = 0.0
    reason: str = ""

    @property
    def is_trusted(self) -> bool:
        """Whether the map was found from the frame itself."""
        return self.flag in TRUSTED


def identity(spatial_dims: int) -> AffineTransform:
    """The map that leaves every point where it is."""
    return AffineTransform(np.eye(spatial_dims + 1))


def flaw(image: Tensor) -> str:
    """Why an image cannot be registered: ``"constant"``, ``"not finite"``, or nothing."""
    values = plain(image)
    if values.is_floating_point() and not bool(torch.isfinite(values).all()):
        return "not finite"
    return "constant" if bool((values == values.flatten()[0]).all()) else ""


@torch.no_grad()
def at_voxels(transform: SpatialTransform, grid: SamplingGrid) -> SpatialTransform:
    """A chain of maps as its displacements at the voxels of a grid; one map alone stays what it is.

    The displacements are those of the chain at every voxel, however many maps have been chained before, so that images
    on the grid are warped as by the chain; between voxels they are linear.
    """
    if not isinstance(transform, CompositeTransform):
        return transform
    return DenseTransform(transform.displacement(grid).float().cpu(), grid)


@torch.no_grad()
def similarity(pair: Pair, transform: SpatialTransform) -> float:
    """Correlation coefficient of the fixed and the warped moving image, mean over the channels.

    0 for a constant channel; minus infinity for a map that is not finite.
    """
    warped = _warped(pair, transform).double()
    if not bool(torch.isfinite(warped).all()):
        return -float("inf")
    return -float(NCCLoss(smooth_dr=1e-300)(warped[None], plain(pair.fixed)[None].double()))


def register_frame(
    pair: Pair, register: Register, guess: SpatialTransform, *, direct: SpatialTransform | None = None
) -> FrameMap:
    """The best map of a pair among several.

    The method registers the pair as it is. Where the guess, or no map at all, makes the images more similar than that,
    the method also registers what the guess leaves, on the moving image warped by it, and the best of all is taken: a
    frame that is far from the reference is thus reached from its neighbour, and never made worse than it was.

    Args:
        pair: reference and frame.
        register: the method's ``register``.
        guess: map of the neighbour nearer to the reference.
        direct: what the method has found for the pair, where that is known already.
    """
    start = time.perf_counter()
    if structure(plain(pair.moving)) < min(LEAST_STRUCTURE, structure(plain(pair.fixed)) - LEAST_STRUCTURE):
        return FrameMap(guess, "unlike", similarity(pair, guess), time.perf_counter() - start)
    maps: dict[str, SpatialTransform] = {"identity": identity(pair.fixed_grid.spatial_dims), "neighbour": guess}
    score = {flag: similarity(pair, known) for flag, known in maps.items()}
    reasons = _attempt(maps, score, "registered", pair, lambda: register(pair) if direct is None else direct)
    is_same = score["neighbour"] == score["identity"]  # then what the guess leaves is what was registered already
    if score["registered"] < max(score.values()) and not is_same:
        reasons += _attempt(maps, score, "continued", pair, lambda: _continued(pair, register, guess))
    best = max(score, key=lambda flag: score[flag])
    seconds = time.perf_counter() - start
    if reasons and best in ("identity", "neighbour"):
        return FrameMap(guess, "failed", score["neighbour"], seconds, reasons)
    if not _is_plausible(pair, maps[best], guess):
        return FrameMap(guess, "unlike", score["neighbour"], seconds)
    return FrameMap(maps[best], best, score[best], seconds)


def _is_plausible(pair: Pair, transform: SpatialTransform, guess: SpatialTransform) -> bool:
    """Whether the frame is the reference changed, and not something else made to look like it."""
    fixed = plain(pair.fixed)
    if resemblance(fixed, _warped(pair, transform)) < LEAST_RESEMBLANCE:
        return False
    return abs(change_of_size(fixed, pair.fixed_grid, transform, guess)) <= LARGEST_CHANGE


def refine_frame(pair: Pair, register: Register, before: FrameMap, *, step: SpatialTransform | None = None) -> FrameMap:
    """A map improved by a registration of what it leaves, or as it was where that does not help.

    Args:
        pair: reference and frame.
        register: the method's ``register``.
        before: the map so far.
        step: what the method has found for :func:`remainder` of the pair, where that is known already.
    """
    start = time.perf_counter()
    maps = {"before": before.transform}
    score = {"before": similarity(pair, before.transform)}
    _attempt(maps, score, "after", pair, lambda: _continued(pair, register, before.transform, step=step))
    best = max(score, key=lambda name: score[name])
    return FrameMap(maps[best], before.flag, score[best], before.seconds + time.perf_counter() - start)


def _attempt(
    maps: dict[str, SpatialTransform],
    score: dict[str, float],
    flag: str,
    pair: Pair,
    find: Callable[[], SpatialTransform],
) -> str:
    """Adds what a registration finds and how good it is; gives the reason where it fails."""
    score[flag] = -float("inf")
    try:
        maps[flag] = find()
        score[flag] = similarity(pair, maps[flag])
    except FAILURES as error:
        logger.warning("a frame could not be registered: %s", error)
        return str(error) or type(error).__name__
    return "" if np.isfinite(score[flag]) else "the map is not finite"


def remainder(pair: Pair, guess: SpatialTransform) -> Pair:
    """What a map leaves of a pair: the fixed image, and the moving one as read through the map."""
    return Pair(pair.fixed, pair.fixed_grid.to_image(_warped(pair, guess)), pair.fixed_grid, pair.fixed_grid)


def _continued(
    pair: Pair, register: Register, guess: SpatialTransform, *, step: SpatialTransform | None = None
) -> SpatialTransform:
    """The guess with a registration of what it leaves before it."""
    step = register(remainder(pair, guess)) if step is None else step
    return at_voxels(compose([step, guess]), pair.fixed_grid)


@torch.no_grad()
def _warped(pair: Pair, transform: SpatialTransform) -> Tensor:
    """The moving image (C, *fixed_grid.shape) read through a map, floating."""
    moving = plain(pair.moving)
    moving = moving if moving.is_floating_point() else moving.double()
    return resample(moving[None], transform, pair.fixed_grid, pair.moving_grid)[0]
