"""Stacks of thick slices, registered slice by slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import torch
from torch import Tensor

from ..engines.instance import Registered
from ..geometry import DenseTransform, Pair, SamplingGrid, SpatialTransform
from ..transforms import to_grey
from ..utils import plain
from .method import BatchMethod, Method, all_found_by, found_by

CLEARLY = 1.5  # times the next largest spacing: then an axis is that of the slices
MOST_APART = 0.5  # slices
TOLD_APART = 0.01  # slices, from which the account tells it
SIDES = ("fixed", "moving")


@dataclass(frozen=True)
class SliceWise:
    """Registers stacks of slices by a method of 2D pairs, each slice in its own plane; 2D pairs go through as they are.

    What lies centimetres apart, as short-axis slices of the heart do, hardly tells how it moved from slice to slice,
    while within a slice every millimetre is seen.

    Convention: slices are stacked along the axis of clearly the largest spacing, else along the last axis in frame
    ``"RAS"`` and the first in frame ``"index"``. Coordinates in the plane are those of the world along two orthonormal
    directions, the first of them that of the fixed image's first other axis; they are the same for both images.

    Args:
        method: what registers 2D pairs.
        is_guided: whether it heeds masks; else they are left out, and so are landmarks.
    """

    method: Method
    is_guided: bool = True

    def register(self, pair: Pair) -> SpatialTransform:
        """The map from fixed to moving world points; see :meth:`run`."""
        return self.run(pair).transform

    def run(self, pair: Pair) -> Registered:
        """The map, and what was done.

        Args:
            pair: in 2D, or two stacks of as many slices at the same places, up to half a slice; their planes may differ
                in size and pixels. Labels and masks are sliced as the images are.

        Returns:
            Of stacks, a displacement of every fixed voxel within the plane of its slice. Slices that show nothing to
            align move as their neighbours do.

        Raises:
            ValueError: for other stacks, landmarks of stacks, no slice with something to align, and whatever the method
                refuses.
        """
        if pair.fixed_grid.spatial_dims == 2:
            return Registered(*found_by(self.method, pair))
        if not self.is_guided:
            pair = replace(pair, fixed_mask=None, moving_mask=None, fixed_landmarks=None, moving_landmarks=None)
        stacks = _Stacks.of(pair)
        pairs = [stacks.slice(k) for k in range(stacks.count)]
        flawed = {side: [k for k, each in enumerate(pairs) if _is_constant(each, side)] for side in SIDES}
        shown = [k for k in range(stacks.count) if not any(k in slices for slices in flawed.values())]
        if not shown:
            raise ValueError(
                f"fixed and moving have {stacks.count} slices, in each of which one of the two is constant; expected "
                "images with something to align. Check that the right files were read, and the masks"
            )
        found = dict(zip(shown, all_found_by(self.method, [pairs[k] for k in shown]), strict=True))
        fields = {k: found[k][0].displacement(pairs[k].fixed_grid).detach().cpu() for k in shown}
        account = [stacks.account, *_flaws(flawed), *_accounts({k: found[k][1] for k in shown})]
        return Registered(stacks.transform(_filled(fields, stacks.count)), tuple(account))


@dataclass(frozen=True)
class BatchSliceWise(SliceWise):
    """As :class:`SliceWise`, around a :class:`~monai_cellreg.methods.BatchMethod`, of several pairs as well."""

    method: BatchMethod

    def register_batch(self, pairs: Sequence[Pair]) -> list[SpatialTransform]:
        """The maps of several pairs: 2D ones at once, and the slices of each stack."""
        if all(pair.fixed_grid.spatial_dims == 2 for pair in pairs):
            return self.method.register_batch(pairs)
        return [self.register(pair) for pair in pairs]


@dataclass(frozen=True)
class _Stacks:
    """Two volumes that consist of the same slices.

    Args:
        pair: the volumes.
        axes: along which the fixed and the moving slices are stacked.
        backwards: whether the moving ones are stacked in the opposite direction.
        apart: largest distance of corresponding slices, in slices.
    """

    pair: Pair
    axes: tuple[int, int]
    backwards: bool
    apart: float

    @classmethod
    def of(cls, pair: Pair) -> _Stacks:
        """The stacks that two volumes are.

        Raises:
            ValueError: when they are not, or have landmarks.
        """
        if pair.fixed_landmarks is not None:
            raise ValueError(
                f"landmarks are given ({len(pair.fixed_landmarks)}) of volumes that are registered slice by slice; "
                "expected none, since they may lie between the slices. Leave them out, or choose the method 'auto'"
            )
        fixed, moving = pair.fixed_grid, pair.moving_grid
        axis = slice_axis(fixed)
        between = np.linalg.inv(moving.affine) @ fixed.affine
        normals = np.linalg.inv(moving.affine)[:-1, :-1]  # row by row those of the planes of constant index
        across = np.linalg.inv(fixed.affine)[axis, :-1]
        other = int(np.argmax(np.abs(normals @ across) / np.linalg.norm(normals, axis=1)))
        backwards = bool(between[other, axis] < 0)
        counts = fixed.shape[axis], moving.shape[other]
        if counts[0] != counts[1]:
            raise _no_stacks(f"fixed has {counts[0]} slices (axis {axis}) and moving {counts[1]} (axis {other})")
        apart = max(
            _largest_offset(between, fixed.shape, axis, other, backwards),
            _largest_offset(np.linalg.inv(between), moving.shape, other, axis, backwards),
        )
        if apart > MOST_APART:
            raise _no_stacks(
                f"their slices lie up to {apart:.2g} slices ({apart * fixed.spacing[axis]:.3g} {fixed.unit}) apart"
            )
        return cls(pair, (axis, other), backwards, apart)

    @property
    def count(self) -> int:
        """Number of slices."""
        return self.pair.fixed_grid.shape[self.axes[0]]

    @property
    def account(self) -> str:
        """What was done with the slices, and what was disregarded."""
        grid, axis = self.pair.fixed_grid, self.axes[0]
        apart = f"; that those of the two images lie up to {self.apart:.2g} slices apart was disregarded"
        return (
            f"The volumes were registered slice by slice: {self.count} slices, {grid.spacing[axis]:.3g} {grid.unit} "
            f"from one to the next, along axis {axis}, each in its own plane{apart if self.apart > TOLD_APART else ''}."
        )

    @property
    def plane(self) -> np.ndarray:
        """Two orthonormal world directions (2, 3) in the plane of the fixed slices."""
        first, second = np.delete(self.pair.fixed_grid.affine[:-1, :-1], self.axes[0], axis=1).T
        first = first / np.linalg.norm(first)
        second = second - (second @ first) * first
        return np.stack([first, second / np.linalg.norm(second)])

    def slice(self, k: int) -> Pair:
        """The pair of 2D images of a fixed slice."""
        places = k, self.count - 1 - k if self.backwards else k
        parts: dict[str, Tensor | None] = {}
        for side, axis, place in zip(SIDES, self.axes, places, strict=True):
            for name in (side, f"{side}_label", f"{side}_mask"):
                image = getattr(self.pair, name)
                parts[name] = None if image is None else plain(image).select(1 + axis, place)
        fixed, moving = (
            _slice_grid(grid, axis, place, self.plane)
            for grid, axis, place in zip((self.pair.fixed_grid, self.pair.moving_grid), self.axes, places, strict=True)
        )
        return Pair(fixed_grid=fixed, moving_grid=moving, **parts)

    def transform(self, fields: Sequence[Tensor]) -> DenseTransform:
        """The map of the volumes by the displacements (1, 2, *spatial) of the slices in their planes."""
        plane = torch.as_tensor(self.plane)
        moved = [torch.einsum("bihw,ij->bjhw", field.double(), plane) for field in fields]
        return DenseTransform(torch.stack(moved, dim=2 + self.axes[0]), self.pair.fixed_grid)


def slice_axis(grid: SamplingGrid) -> int:
    """The axis along which the slices of a volume are stacked; see :class:`SliceWise`.

    Example:
        >>> slice_axis(SamplingGrid((64, 64, 10), np.diag([1.5, 1.5, 8, 1])))
        2
        >>> [slice_axis(SamplingGrid((64, 64, 64), frame=frame)) for frame in ("index", "RAS")]
        [0, 2]
    """
    *_, second, largest = np.argsort(grid.spacing)
    if grid.spacing[largest] > CLEARLY * grid.spacing[second]:
        return int(largest)
    return {"RAS": 2, "index": 0}[grid.frame]


def _slice_grid(grid: SamplingGrid, axis: int, place: int, plane: np.ndarray) -> SamplingGrid:
    """Where a slice of a volume lies in the coordinates of a plane, (2, 3) orthonormal directions."""
    affine = np.eye(3)
    affine[:-1, :-1] = plane @ np.delete(grid.affine[:-1, :-1], axis, axis=1)
    affine[:-1, -1] = plane @ (grid.affine[:-1, -1] + place * grid.affine[:-1, axis])
    return SamplingGrid(tuple(np.delete(grid.shape, axis)), affine, "index", grid.unit)


def _largest_offset(between: np.ndarray, shape: Sequence[int], axis: int, other: int, backwards: bool) -> float:
    """How far the corners of a stack lie from the corresponding slices of another, in its slices.

    Args:
        between: (4, 4) from the stack's index to the other's.
        shape: of the stack.
        axis: of its slices.
        other: that of the other's slices.
        backwards: whether the other counts its slices from the other end.
    """
    corners = np.array([*product(*((0, n - 1) for n in shape))], dtype=np.float64)
    place = corners @ between[other, :-1] + between[other, -1]
    wanted = shape[axis] - 1 - corners[:, axis] if backwards else corners[:, axis]
    return float(np.abs(place - wanted).max())


def _no_stacks(why: str) -> ValueError:
    return ValueError(
        f"fixed and moving are no stacks of the same slices: {why}; expected as many slices at the same places, up to "
        "half a slice. Resample one of them to the slices of the other first, or choose the method 'auto', which "
        "registers them as volumes"
    )


def _is_constant(pair: Pair, side: str) -> bool:
    """Whether a side of a 2D pair has one value only where it counts."""
    grey, mask = to_grey(plain(getattr(pair, side))), getattr(pair, f"{side}_mask")
    values = grey if mask is None else grey[mask > 0]
    return values.numel() == 0 or bool(values.min() == values.max())


def _filled(fields: dict[int, Tensor], count: int) -> list[Tensor]:
    """The displacements of all slices: where there is none, between those of the nearest slices that have one."""
    known = sorted(fields)
    filled = []
    for k in range(count):
        place = np.interp(k, known, np.arange(len(known)))  # at the ends that of the last one
        before, share = known[int(place)], float(place % 1)
        after = known[min(int(place) + 1, len(known) - 1)]
        filled.append(fields[k] if k in fields else torch.lerp(fields[before], fields[after], share))
    return filled


def _flaws(flawed: dict[str, list[int]]) -> list[str]:
    return [
        f"{_named(slices)}: the {side} image is constant where it counts; the map is that of the neighbouring slices."
        for side, slices in flawed.items()
        if slices
    ]


def _accounts(said: dict[int, tuple[str, ...]]) -> list[str]:
    """The sentences of all slices, each once, with the slices that it was said of unless these are all."""
    of: dict[str, list[int]] = {}
    for k, sentences in said.items():
        for sentence in sentences:
            of.setdefault(sentence, []).append(k)
    return [
        sentence if len(slices) == len(said) else f"{_named(slices)}: {sentence}" for sentence, slices in of.items()
    ]


def _named(slices: Sequence[int]) -> str:
    return f"Slice{'s' * (len(slices) > 1)} {', '.join(map(str, slices))}"
