"""Registration of a pair as MONAI transforms, for use inside ``Compose``."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from monai.config import KeysCollection
from monai.data import MetaTensor, get_track_meta
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, convert_to_tensor, ensure_tuple
from torch import Tensor

from ..geometry import Pair, RegisteredTransform, SpatialTransform, resample_image, to_voxel_ddf
from ..transforms.items import Image, grid_of, item
from ..utils import plain
from .instance import AutoRegistration, Registered

PLACE = ("space", "original_affine", "spatial_shape")  # metadata that say, with the affine, where an image lies


class PairMethod(Protocol):
    """A way to register: a network, a classical program or an optimisation."""

    def register(self, pair: Pair) -> SpatialTransform:
        """The map from fixed to moving world points."""


@runtime_checkable
class _Accountable(Protocol):
    def run(self, pair: Pair) -> Registered: ...


class RegisterPair(Transform):
    """Brings a moving image onto a fixed one by registering the two, by default by optimisation without training.

    Convention: the map takes fixed world points to moving world points, ``warped(x) = moving(T(x))``. A ``MetaTensor``
    lies where its affine says, in any other image world == index. Sizes, spacings and orientations may differ.

    Args:
        method: anything with ``register(pair)``, such as :class:`~monai_cellreg.engines.instance.AutoRegistration`,
            which it is when omitted.

    Raises:
        ValueError: on a call, when the images cannot be compared or registered.

    References:
        https://github.com/Project-MONAI/MONAI/issues/9008, which asks for such a transform.

    Example:
        >>> import torch
        >>> axes = torch.meshgrid(torch.arange(40.0), torch.arange(48.0), indexing="ij")
        >>> spot = lambda row, column: torch.exp(-((axes[0] - row) ** 2 + (axes[1] - column) ** 2) / 60)[None]
        >>> warped, transform = RegisterPair()(spot(20, 22), spot(22, 27))
        >>> transform.points(torch.tensor([[20.0, 22.0]])).round()
        tensor([[22., 27.]])
    """

    backend = [TransformBackends.TORCH]

    def __init__(self, method: PairMethod | None = None) -> None:
        self.method = AutoRegistration() if method is None else method

    def __call__(  # type: ignore[override]
        self, fixed: Image, moving: Image
    ) -> tuple[Tensor, RegisteredTransform]:
        """Registers a pair.

        Args:
            fixed: (C, *spatial) array, tensor or ``MetaTensor``; C as the method takes it, 1 or 3 by default.
            moving: likewise, of any size.

        Returns:
            The moving image on the fixed grid, in its own type of number and with its own metadata except for those of
            place, which are the fixed image's; and the map, which knows both grids.
        """
        transform, _ = registered_pair(self.method, pair_of(fixed, moving))
        return onto_fixed(moving, fixed, transform), transform


@dataclass(frozen=True)
class GuideKeys:
    """Where a data dictionary has what guides a registration; what is None is left out.

    Args:
        fixed_mask: mask (1, *spatial) of the fixed image, above 0 where it counts.
        moving_mask: mask (1, *spatial) of the moving image.
        fixed_landmarks: landmarks (N, D) of the fixed image in world coordinates, arrays or tensors.
        moving_landmarks: landmarks (N, D) of the moving image; row n belongs to row n of the fixed image's.
    """

    fixed_mask: str | None = None
    moving_mask: str | None = None
    fixed_landmarks: str | None = None
    moving_landmarks: str | None = None

    def named(self) -> dict[str, str]:
        """The parts that have a key, by the name that :class:`~monai_cellreg.geometry.Pair` gives them."""
        return {part: key for part, key in vars(self).items() if key is not None}


@dataclass(frozen=True)
class RegisteredKeys:
    """Where a registration is put in a data dictionary; what is None is left out.

    Args:
        postfix: what is added to the keys of the images and labels that are warped; with the empty one they are
            replaced.
        transform_key: of the map; None for a data loader, which collates no such object.
        ddf_key: of the map as a displacement (D, *spatial) in voxels, moving index = fixed index + displacement, as
            MONAI's ``Warp`` takes it.
        account_key: of what the method did and why, a tuple of sentences.
    """

    postfix: str = ""
    transform_key: str | None = "transform"
    ddf_key: str | None = None
    account_key: str | None = None


class RegisterPaird(MapTransform):
    """:class:`RegisterPair` for data dictionaries: the moving image and its labels are replaced by the warped ones.

    It is deterministic as far as its method is, keeps nothing between calls and executes pending lazy operations
    first. Warped images carry the operations applied to the fixed image, so that ``Invertd`` takes them to the fixed
    image's file.

    Args:
        keys: of the fixed image and the moving image (C, *spatial).
        label_keys: of labels (C, *spatial) of the moving image, which are read by the nearest neighbour and become 0
            where the moving image shows nothing.
        guides: masks and landmarks.
        outputs: where the results are put.
        method: see :class:`RegisterPair`.
        allow_missing_keys: leave out labels and guides that the data lack, and data that lack an image as they are.

    Raises:
        KeyError: on a call, for a key that the data lack.
        ValueError: for other than two keys; on a call, as :class:`RegisterPair`.

    Example:
        >>> import torch
        >>> axes = torch.meshgrid(torch.arange(40.0), torch.arange(48.0), indexing="ij")
        >>> spot = lambda row, column: torch.exp(-((axes[0] - row) ** 2 + (axes[1] - column) ** 2) / 60)[None]
        >>> register = RegisterPaird(("day0", "day1"), outputs=RegisteredKeys(ddf_key="ddf"))
        >>> data = register({"day0": spot(20, 22), "day1": spot(22, 27)})
        >>> list(data), data["ddf"][:, 20, 22].round().tolist()
        (['day0', 'day1', 'transform', 'ddf'], [2.0, 5.0])
    """

    backend = RegisterPair.backend

    def __init__(
        self,
        keys: KeysCollection = ("fixed", "moving"),
        *,
        label_keys: KeysCollection = (),
        guides: GuideKeys = GuideKeys(),
        outputs: RegisteredKeys = RegisteredKeys(),
        method: PairMethod | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if len(self.keys) != 2:
            raise ValueError(f"keys are {self.keys}; expected two, of the fixed and of the moving image, in this order")
        self.label_keys, self.guides, self.outputs = ensure_tuple(label_keys), guides, outputs
        self.method = AutoRegistration() if method is None else method

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The data with the results; see the class."""
        d = dict(data)
        if self.allow_missing_keys and not all(key in d for key in self.keys):
            return d
        fixed, moving = (item(d, key) for key in self.keys)
        guides = {part: item(d, key) for part, key in self.guides.named().items() if self._wanted(d, key)}
        labels = {key: item(d, key) for key in self.label_keys if self._wanted(d, key)}
        pair = pair_of(fixed, moving, guides)
        transform, account = registered_pair(self.method, pair)
        names = self.outputs
        d[f"{self.keys[1]}{names.postfix}"] = onto_fixed(moving, fixed, transform)
        for key, label in labels.items():
            d[f"{key}{names.postfix}"] = onto_fixed(label, fixed, transform, label=True)
        if names.transform_key is not None:
            d[names.transform_key] = transform
        if names.ddf_key is not None:
            ddf = to_voxel_ddf(transform, pair.fixed_grid, pair.moving_grid)[0].detach()
            d[names.ddf_key] = placed_like(fixed, pair.fixed_grid.to_image(ddf))
        if names.account_key is not None:
            d[names.account_key] = account
        return d

    def _wanted(self, data: Mapping[Hashable, Any], key: Hashable) -> bool:
        return key in data or not self.allow_missing_keys


def pair_of(fixed: Image, moving: Image, guides: Mapping[str, Image] | None = None) -> Pair:
    """The pair of two images (C, *spatial), with guides by the names that :class:`GuideKeys` gives them."""
    parts = {"fixed": fixed, "moving": moving, **(guides or {})}
    tensors = {name: plain(part) for name, part in parts.items()}
    return Pair(**tensors, fixed_grid=grid_of(fixed), moving_grid=grid_of(moving))  # type: ignore[arg-type]


def registered_pair(method: PairMethod, pair: Pair) -> tuple[RegisteredTransform, tuple[str, ...]]:
    """A method's map with the grids it belongs to, and its account where it gives one."""
    found = method.run(pair) if isinstance(method, _Accountable) else Registered(method.register(pair), ())
    return RegisteredTransform(found.transform, pair.fixed_grid, pair.moving_grid), found.account


def onto_fixed(image: Image, fixed: Image, transform: RegisteredTransform, *, label: bool = False) -> Tensor:
    """A moving image or label (C, *spatial) read on the fixed grid, with its own metadata except for those of place.

    What has no metadata lies on the moving grid.
    """
    placed = image if isinstance(image, MetaTensor) else transform.moving_grid.to_image(plain(image))
    mode, padding = ("nearest", "zeros") if label else ("linear", "border")
    warped = resample_image(placed, transform, transform.fixed_grid, mode=mode, padding=padding)
    return placed_like(fixed, warped)


def placed_like(fixed: Image, image: MetaTensor) -> Tensor:
    """An image on the fixed grid, with what the fixed image's metadata say of its place and of how it got there.

    Plain where MONAI does not track metadata.
    """
    known = fixed.meta if isinstance(fixed, MetaTensor) else {"space": image.meta["space"]}
    for key in PLACE:
        image.meta.pop(key, None)
    image.meta.update({key: deepcopy(known[key]) for key in PLACE if key in known})
    if isinstance(fixed, MetaTensor):
        image.affine = fixed.affine.clone()  # MONAI keeps 4x4 matrices for 2D images, with the place of the slice
        image.applied_operations = deepcopy(fixed.applied_operations)
    return convert_to_tensor(image.detach(), track_meta=get_track_meta())
