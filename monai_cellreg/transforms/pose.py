"""The same random pose for both images of a pair and for all that is known of it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform, RandomizableTransform
from monai.utils import TraceKeys, ensure_tuple
from torch import Tensor

from ..geometry import AffineTransform, DenseTransform, SamplingGrid, SpatialTransform, resample, to_voxel_ddf
from ..utils import check_choice, check_positive, plain
from .items import Image, grid_of, item, like, moved_landmarks


@dataclass(frozen=True)
class PoseRange:
    """How far a scene is turned, mirrored, scaled and shifted.

    Args:
        rotation_deg: largest turn either way; in 3D one number for each component of the rotation vector, or one for
            all (0, 0, 180 turns a stack about its last world axis alone).
        mirror_axes: world axes that are mirrored half of the time; all when None.
        zoom: largest factor, above or equal to 1, by which the scene is enlarged or reduced.
        shift: largest shift along each world axis, as a share of the first image's shortest side.

    Raises:
        ValueError: for a zoom below 1, or a negative or infinite turn or shift.
    """

    rotation_deg: float | Sequence[float] = 180.0
    mirror_axes: Sequence[int] | None = None
    zoom: float = 1.25
    shift: float = 0.05

    def __post_init__(self) -> None:
        check_positive("zoom", self.zoom)
        if self.zoom < 1:
            raise ValueError(f"zoom is {self.zoom}; expected 1 or more: the scene is enlarged or reduced by up to it")
        for name, given in (("rotation_deg", self.rotation_deg), ("shift", self.shift)):
            numbers = np.atleast_1d(np.asarray(given, dtype=np.float64))
            if not (np.isfinite(numbers) & (numbers >= 0)).all():
                raise ValueError(f"{name} is {given}; expected numbers of 0 or more, the largest change either way")

    def draw(self, random: np.random.RandomState, grids: Sequence[SamplingGrid]) -> AffineTransform:
        """A random pose about the common centre of grids: world points of the new scene to those of the old one."""
        dims = grids[0].spatial_dims
        turns = 1 if dims == 2 else 3
        angles = np.deg2rad(np.broadcast_to(self._rotations(turns), turns)) * random.uniform(-1, 1, turns)
        flips = random.uniform(size=dims) < 0.5
        axes = range(dims) if self.mirror_axes is None else self.mirror_axes
        for axis in axes:
            check_choice("mirror_axes", axis, range(dims))
        mirror = [-1.0 if flips[axis] and axis in axes else 1.0 for axis in range(dims)]
        size = self.zoom ** random.uniform(-1, 1)
        side = min(n * s for n, s in zip(grids[0].shape, grids[0].spacing, strict=True))
        shift = self.shift * side * random.uniform(-1, 1, dims)
        centre = np.mean([_centre(grid) for grid in grids], axis=0)
        about = AffineTransform(np.column_stack([np.diag(mirror), centre - mirror * centre]))
        pose = about.then(AffineTransform.similarity(angles, size, shift=shift, centre=centre))
        assert isinstance(pose, AffineTransform)  # a chain of affine maps is merged
        return pose

    def _rotations(self, turns: int) -> np.ndarray:
        numbers = np.atleast_1d(np.asarray(self.rotation_deg, dtype=np.float64))
        if numbers.shape not in ((1,), (turns,)):
            raise ValueError(
                f"rotation_deg is {self.rotation_deg} for images that have {turns} rotations; expected one number, or "
                "one for each component of the rotation vector in 3D"
            )
        return numbers


class RandPairPosed(RandomizableTransform, MapTransform, InvertibleTransform):
    """Turns, mirrors, scales and shifts a scene, the same way in all images and for all that is known of them.

    Convention: one affine map P of world points about the common centre of the images, ``new(x) = old(P(x))`` on the
    grid of each image, whatever its shape and spacing. Landmarks (world points) move against it, ``P^-1(p)``; the truth
    T becomes ``P^-1 T P``. Images are continued from their border. The inverse reads the images back through ``P^-1``,
    which restores them up to interpolation and what left the frame, and restores landmarks and truth.

    Args:
        keys: images (C, *spatial), read linearly; the first is the fixed and the last the moving one of the truth.
        label_keys: labels (C, *spatial), read with the nearest neighbour; each on the grid of one of the images.
        landmark_keys: landmarks (N, D) in world coordinates, arrays or tensors.
        truth_keys: the true map, a :class:`~monai_cellreg.geometry.SpatialTransform` or a voxel DDF (D, *fixed shape).
        pose: how far; :class:`PoseRange` when omitted.
        prob: probability of a change.

    Raises:
        KeyError: on a call, for a key that the data lack.
        ValueError: on a call, when images differ in dimension, frame or unit, a label lies on no image's grid, or
            landmarks or truth do not fit the images.

    Example:
        >>> mirror = RandPairPosed(["fixed", "moving"], landmark_keys="points", pose=PoseRange(0.0, None, 1.0, 0.0))
        >>> pair = {"fixed": torch.zeros(1, 3, 5), "moving": torch.zeros(1, 3, 5), "points": torch.tensor([[0.0, 1]])}
        >>> mirror.set_random_state(1)(pair)["points"]  # this draw mirrors both axes
        tensor([[2., 3.]])
    """

    def __init__(
        self,
        keys: KeysCollection = ("fixed", "moving"),
        *,
        label_keys: KeysCollection = (),
        landmark_keys: KeysCollection = (),
        truth_keys: KeysCollection = (),
        pose: PoseRange | None = None,
        prob: float = 1.0,
    ) -> None:
        RandomizableTransform.__init__(self, prob)
        self.image_keys, self.label_keys = ensure_tuple(keys), ensure_tuple(label_keys)
        MapTransform.__init__(self, (*self.image_keys, *self.label_keys))
        self.landmark_keys, self.truth_keys = ensure_tuple(landmark_keys), ensure_tuple(truth_keys)
        self.pose = pose or PoseRange()
        self._drawn: AffineTransform | None = None

    def randomize(self, data: Sequence[SamplingGrid]) -> None:
        """Draws whether and how the scene on these grids is posed."""
        super().randomize(None)
        self._drawn = self.pose.draw(self.R, data)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The pair in its new pose; see the class."""
        d = dict(data)
        grids = self._grids(d)
        self.randomize(list(grids.values()))
        drawn = self._drawn
        assert drawn is not None
        if self._do_transform:
            d.update(self._posed(d, drawn))
        for key in self.key_iterator(d):
            d[key] = like(d[key], plain(d[key]), grid_of(d[key]))
            self.push_transform(d[key], extra_info={"matrix": drawn.matrix[0].numpy()})
        return d

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The pair in its old pose; see the class."""
        d, record = dict(data), dict[Any, Any]()
        for key in self.key_iterator(d):
            d[key] = like(d[key], plain(d[key]), grid_of(d[key]))
            record = self.pop_transform(d[key])
        if record.get(TraceKeys.DO_TRANSFORM):
            back = AffineTransform(torch.as_tensor(record[TraceKeys.EXTRA_INFO]["matrix"])).inverse()
            d.update(self._posed(d, back))
        return d

    def _grids(self, data: Mapping[Hashable, Any]) -> dict[Hashable, SamplingGrid]:
        """The grids of the images, each compared with the first one's world."""
        found = {k: grid_of(item(data, k)) for k in self.image_keys if self._wanted(data, k)}
        first = next(iter(found), None)
        for key, grid in found.items():
            found[first].check_same_world(str(first), grid, str(key))
        return found

    def _wanted(self, data: Mapping[Hashable, Any], key: Hashable) -> bool:
        return key in data or not self.allow_missing_keys

    def _posed(self, data: Mapping[Hashable, Any], pose: AffineTransform) -> dict[Hashable, Any]:
        """All that changes when the scene is read through a pose."""
        grids, new = self._grids(data), dict[Hashable, Any]()
        for key in self.image_keys:
            if self._wanted(data, key):
                new[key] = _read(data[key], pose, "linear")
        for key in self.label_keys:
            if self._wanted(data, key):
                _check_label(key, item(data, key), grids)
                new[key] = _read(data[key], pose, "nearest")
        for key in self.landmark_keys:
            if self._wanted(data, key):
                new[key] = moved_landmarks(data, key, pose.inverse())
        for key in self.truth_keys:
            if self._wanted(data, key):
                new[key] = _conjugated(key, item(data, key), pose, list(grids.values()))
        return new


def _centre(grid: SamplingGrid) -> np.ndarray:
    return grid.index_to_world((torch.tensor(grid.shape).double() - 1) / 2).numpy()


def _read(image: Image, pose: AffineTransform, mode: str) -> Tensor:
    grid = grid_of(image)
    return like(image, resample(plain(image)[None], pose, grid, grid, mode=mode)[0], grid)


def _check_label(key: Hashable, label: Image, grids: Mapping[Hashable, SamplingGrid]) -> None:
    grid = grid_of(label)
    if grids and not any(grid.matches(other) for other in grids.values()):
        raise ValueError(
            f"{key} lies on the grid of none of the images {list(grids)} (shape {grid.shape}, frame {grid.frame!r}, "
            f"affine {grid.affine.tolist()}); expected a label of one of them. Give it that image's affine"
        )


def _conjugated(
    key: Hashable, truth: SpatialTransform | Image, pose: AffineTransform, grids: Sequence[SamplingGrid]
) -> SpatialTransform | Tensor:
    """The true map of the posed pair, in the form in which it came."""
    if isinstance(truth, SpatialTransform):
        return pose.then(truth).then(pose.inverse())
    fixed, moving = grids[0], grids[-1]
    fixed.check_fits(str(key), plain(truth), fixed.spatial_dims)
    dense = DenseTransform.from_voxel_ddf(plain(truth)[None], fixed, moving)
    field = to_voxel_ddf(pose.then(dense).then(pose.inverse()), fixed, moving)[0]
    return like(truth, field, fixed) if isinstance(truth, MetaTensor) else field
