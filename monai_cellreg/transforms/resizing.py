"""Images brought to another size, and landmarks in pixels carried along."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import DivisiblePadd, InvertibleTransform, MapTransform, Resized
from monai.utils import ensure_tuple, ensure_tuple_rep

from ..geometry import AffineTransform
from ..utils import check_choice, check_positive, plain
from .items import grid_of, item, like, moved_landmarks

RESIZING_MODES = ("linear", "nearest-exact")


class _CarryLandmarksd(MapTransform, InvertibleTransform):
    """Runs one of MONAI's dictionary transforms, which updates affines, and moves landmarks from grid to grid.

    Args:
        transforms: number of spatial axes to the transform.
        landmark_keys: see the subclasses.
    """

    def __init__(self, transforms: Mapping[int, MapTransform], landmark_keys: KeysCollection) -> None:
        super().__init__(transforms[2].keys)
        self.transforms, self.landmark_keys = dict(transforms), ensure_tuple(landmark_keys)
        if len(self.landmark_keys) > len(self.keys):
            raise ValueError(
                f"landmark_keys are {self.landmark_keys} for the keys {self.keys}; expected at most one for each key, "
                "in the order of the images in which they lie"
            )

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The data with images and landmarks changed; see the class."""
        return self._carried(data, lambda transform: transform)

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The data with images of their old size, and the landmarks where they were."""
        return self._carried(data, lambda transform: transform.inverse)

    def _carried(self, data: Mapping[Hashable, Any], way: Callable[[Any], Callable[..., dict]]) -> dict[Hashable, Any]:
        d = dict(data)
        grids = {key: grid_of(d[key]) for key in self.key_iterator(d)}
        if not grids:
            return d
        transform = self.transforms[next(iter(grids.values())).spatial_dims]
        transform.allow_missing_keys = self.allow_missing_keys
        for key, grid in grids.items():
            d[key] = like(d[key], plain(d[key]), grid)
        d = way(transform)(d)
        for key, landmarks in zip(self.keys, self.landmark_keys, strict=False):
            if key not in grids or (landmarks not in d and self.allow_missing_keys):
                continue
            if not isinstance(item(d, key), MetaTensor):
                raise ValueError(
                    f"{key} has no affine, so {landmarks} cannot be carried along; expected a MetaTensor. Switch "
                    "MONAI's tracking of metadata on (monai.data.set_track_meta)"
                )
            new = grid_of(d[key])
            d[landmarks] = moved_landmarks(d, landmarks, AffineTransform(np.linalg.inv(new.affine) @ grids[key].affine))
        return d


class ResizeWithLandmarksd(_CarryLandmarksd):
    """MONAI's ``Resized`` that also moves landmarks; affines are updated, so that world positions stay.

    Args:
        keys: images and labels (C, *spatial).
        spatial_size: the new size, or the longest side where ``size_mode`` is ``"longest"``.
        landmark_keys: landmarks (N, D) in index coordinates, the n-th of the image of the n-th key. Landmarks in world
            coordinates stay as they are: do not name them.
        mode: how to interpolate, for all keys or for each: ``"linear"`` (smooth an image beforehand that is to shrink
            by more than two) or ``"nearest-exact"`` (labels). PyTorch's ``"nearest"`` and ``"area"`` are not offered:
            they move the image by up to half a voxel against the affine.
        size_mode: ``"all"`` or ``"longest"``.

    Raises:
        ValueError: for another mode, or more landmarks than keys; on a call, for landmarks of another dimension.

    Example:
        >>> resize = ResizeWithLandmarksd("image", (8, 6), landmark_keys="points")
        >>> resize({"image": np.zeros((1, 4, 6)), "points": np.array([[0.0, 2.0]])})["points"]
        array([[0.5, 2. ]])
    """

    def __init__(
        self,
        keys: KeysCollection,
        spatial_size: Sequence[int] | int,
        *,
        landmark_keys: KeysCollection = (),
        mode: Sequence[str] | str = "linear",
        size_mode: str = "all",
    ) -> None:
        for one in ensure_tuple(mode):
            check_choice("mode", one, RESIZING_MODES)
        modes = ensure_tuple_rep(mode, len(ensure_tuple(keys)))

        def resized(linear: str) -> Resized:
            names = [linear if one == "linear" else one for one in modes]
            return Resized(keys, spatial_size, size_mode, names)

        super().__init__({2: resized("bilinear"), 3: resized("trilinear")}, landmark_keys)


class PadToMultipled(_CarryLandmarksd):
    """MONAI's ``DivisiblePadd`` that also moves landmarks; affines are updated, so that world positions stay.

    Args:
        keys: images and labels (C, *spatial).
        k: of what each side becomes a multiple, one number or one for each axis.
        landmark_keys: see :class:`ResizeWithLandmarksd`.
        mode: what is padded, for all keys or for each; see ``DivisiblePadd``.
        method: ``"symmetric"`` or ``"end"``, where it is padded.

    Raises:
        ValueError: for more landmarks than keys; on a call, for landmarks of another dimension.

    Example:
        >>> pad = PadToMultipled("image", 8, landmark_keys="points")
        >>> pad({"image": np.zeros((1, 4, 8)), "points": np.array([[0.0, 2.0]])})["points"]
        array([[2., 2.]])
    """

    def __init__(
        self,
        keys: KeysCollection,
        k: Sequence[int] | int,
        *,
        landmark_keys: KeysCollection = (),
        mode: Sequence[str] | str = "constant",
        method: str = "symmetric",
    ) -> None:
        check_positive("k", k)
        pad = DivisiblePadd(keys, k, mode, method)
        super().__init__({2: pad, 3: pad}, landmark_keys)
