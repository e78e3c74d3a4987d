"""A known pair out of one image of a data dictionary."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from monai.transforms import MapTransform, Randomizable
from monai.utils import ensure_tuple_rep
from torch import Tensor

from ..geometry import AffineTransform, InverseTransform, SamplingGrid, SpatialTransform, sample
from ..utils import check_same_shape, plain
from .items import grid_of, item, like, moved_landmarks
from .known_pairs import DeformationRange, KnownPairs, posed_index


@dataclass(frozen=True)
class KnownPairKeys:
    """Where a data dictionary has what a known pair is made of; what is None is left out.

    Args:
        image: image (C, *spatial).
        label: labels (C, *spatial) on the image's grid.
        landmarks: landmarks (N, D) of the image in world coordinates, arrays or tensors.
        transform: where the true map of world points is put; None for a data loader, which collates no such object.
    """

    image: str = "image"
    label: str | None = None
    landmarks: str | None = None
    transform: str | None = None


class RandKnownDeformationd(Randomizable, MapTransform):
    """Makes ``fixed(x) = moving(T(x))`` of one image by a random map T that never folds, and keeps T.

    This is :class:`~monai_cellreg.transforms.KnownPairs` for one item of a data dictionary, with the image's own grid,
    labels of any number and landmarks. Adds ``fixed``, ``moving`` (C, *spatial) and ``fixed_to_moving``, the truth as a
    voxel DDF (D, *spatial); where the keys name them, also ``fixed_label``, ``moving_label`` (C, *spatial) and
    ``fixed_landmarks``, ``moving_landmarks`` (N, D), and the truth as a map of world points. Images are read from the
    given one in a single interpolation, labels by the nearest neighbour; both are continued from their border.

    Args:
        keys: what to read, and where to put the map of world points.
        control_shape: control points of T along each axis, or one number for all; at least 4 for the families
            ``"bspline"`` and ``"velocity"``.
        deformation: family of T, and how far it goes; thin-plate splines when omitted.
        pose: also turn, mirror, scale and shift the scene itself, the same way in both images.

    Raises:
        KeyError: on a call, for a key that the data lack.
        ValueError: on a call, when label or landmarks do not fit the image, or landmarks are mapped to no point.

    Example:
        >>> make = RandKnownDeformationd(deformation=DeformationRange(family="velocity")).set_random_state(0)
        >>> {key: tuple(value.shape) for key, value in make({"image": torch.rand(1, 24, 32)}).items()}
        {'image': (1, 24, 32), 'fixed': (1, 24, 32), 'moving': (1, 24, 32), 'fixed_to_moving': (2, 24, 32)}
    """

    def __init__(
        self,
        keys: KnownPairKeys | None = None,
        *,
        control_shape: Sequence[int] | int = 5,
        deformation: DeformationRange | None = None,
        pose: bool = False,
    ) -> None:
        self.names = keys or KnownPairKeys()
        named = (self.names.image, self.names.label, self.names.landmarks)
        MapTransform.__init__(self, [name for name in named if name is not None])
        self.control_shape, self.deformation, self.pose = control_shape, deformation, pose
        self.seed = 0
        self._pairs: tuple[tuple[Any, ...], KnownPairs] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_pairs": None}  # a copy, as for a worker of a data loader, sets up its own

    def randomize(self, data: Any = None) -> None:
        """Draws the seed of the next pair."""
        self.seed = int(self.R.randint(2**31 - 1))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The data with the pair; see the class."""
        d, names = dict(data), self.names
        image = item(d, names.image)
        grid = grid_of(image)
        pairs = self._pairs_on(grid)
        self.randomize()
        pairs.generator.manual_seed(self.seed)
        parameters = pairs.draw(1)
        scene = pairs.draw_pose(1)
        truth = pairs.field(parameters)
        index = {"fixed": posed_index(truth, scene), "moving": posed_index(torch.zeros_like(truth), scene)}
        for side, where in index.items():
            d[side] = like(image, sample(plain(image)[None], where)[0], grid)
        d["fixed_to_moving"] = like(truth[0], truth[0], grid)
        if names.label is not None:
            label = item(d, names.label)
            check_same_shape(names.label, label.shape[1:], names.image, grid.shape)
            for side, where in index.items():
                read: Tensor = sample(plain(label)[None], where, mode="nearest")[0]
                d[f"{side}_label"] = like(label, read, grid)
        world = _in_world(pairs.field.transform(parameters), grid)  # type: ignore[operator]
        if names.landmarks is not None:
            back = _in_world(AffineTransform(scene), grid).inverse()
            d["moving_landmarks"] = moved_landmarks(d, names.landmarks, back)
            d["fixed_landmarks"] = moved_landmarks(d, "moving_landmarks", InverseTransform(world))
        if names.transform is not None:
            d[names.transform] = world
        return d

    def _pairs_on(self, grid: SamplingGrid) -> KnownPairs:
        """The maker of pairs on a grid; that of the last grid is kept."""
        shape = ensure_tuple_rep(self.control_shape, grid.spatial_dims)
        if self._pairs is None or self._pairs[0] != (grid.shape, grid.spacing):
            pairs = KnownPairs(
                grid.shape,
                shape,
                torch.Generator(),
                deformation=self.deformation,
                pose=self.pose,
                spacing=grid.spacing,
            )
            self._pairs = (grid.shape, grid.spacing), pairs
        return self._pairs[1]


def _in_world(on_cube: SpatialTransform, grid: SamplingGrid) -> SpatialTransform:
    """A map of the cube [-1, 1]^D of a grid as a map of world points."""
    to_world = AffineTransform(grid.cube_to_world)
    return to_world.inverse().then(on_cube).then(to_world)
