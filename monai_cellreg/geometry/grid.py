"""Where an image lies: its shape and its index-to-world affine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor

from ..utils import check_choice, check_spatial, format_shape

FRAMES = {"index": "px", "RAS": "mm"}  # frame of the world axes -> its usual unit
AXIS_LETTERS = ("RL", "AP", "SI")  # anatomical directions: that of RAS, and its opposite
DECIMALS = {"nm": -9, "µm": -6, "um": -6, "mm": -3, "cm": -2, "m": 0}  # unit of length -> power of ten, in metres


@dataclass(frozen=True, eq=False)
class SamplingGrid:
    """The voxel centres of an image in world coordinates.

    Convention: index components follow the tensor axes (row, column; or the three axes of a volume), voxel centres lie
    at whole indices. ``frame`` says what the world axes mean: ``"index"`` (world axes are the tensor axes, as of plain
    arrays, PNG and TIFF) or ``"RAS"`` (anatomical, as of NIfTI).

    Args:
        shape: number of voxels along each of the D tensor axes.
        affine: (D+1, D+1) homogeneous matrix from index to world, float64; identity when omitted.
        frame: ``"index"`` or ``"RAS"``.
        unit: unit of the world coordinates; the usual one of the frame when omitted (``"px"`` or ``"mm"``).

    Raises:
        ValueError: for a shape that is not 2D or 3D, an affine of another size or a singular one, an unknown frame.

    Example:
        >>> SamplingGrid((4, 6), frame="index").index_to_world(torch.tensor([[1.0, 2.0]]))
        tensor([[1., 2.]])
    """

    shape: tuple[int, ...]
    affine: np.ndarray = None  # type: ignore[assignment]  # __post_init__ sets it
    frame: str = "index"
    unit: str = ""

    def __post_init__(self) -> None:
        shape = tuple(int(s) for s in self.shape)
        dims = len(shape)
        if dims not in (2, 3) or min(shape) < 1:
            raise ValueError(f"shape is {shape}; expected two or three positive sizes, without batch and channel")
        affine = np.eye(dims + 1) if self.affine is None else np.array(self.affine, dtype=np.float64)
        if affine.shape != (dims + 1, dims + 1):
            raise ValueError(
                f"affine has shape {format_shape(affine.shape)} but the grid has {dims} axes; "
                f"expected {format_shape((dims + 1, dims + 1))}"
            )
        linear = affine[:dims, :dims]
        volume = np.linalg.norm(linear, axis=0).prod()  # of a voxel with these edges at right angles
        if not np.isfinite(affine).all() or abs(np.linalg.det(linear)) <= 1e-9 * volume:
            raise ValueError(f"affine is singular or not finite: {affine.tolist()}; expected an invertible matrix")
        check_choice("frame", self.frame, FRAMES)
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "unit", self.unit or FRAMES[self.frame])

    @classmethod
    def from_image(cls, image: Tensor) -> SamplingGrid:
        """The grid of an image (C, *spatial): of a ``MetaTensor`` by its affine and space, else world == index.

        An image in another anatomical space (any of R or L, A or P, S or I, as MONAI's readers give on request) gets
        the grid of the same voxels in RAS. An image without a space is in frame ``"index"``, whatever order of axes its
        reader gave it: MONAI's ``PILReader`` turns them to x, y unless ``reverse_indexing=False``.
        """
        shape = tuple(image.shape[1:])
        if not isinstance(image, MetaTensor):
            return cls(shape)
        space = str(image.meta.get("space") or "index")
        affine = _crop_affine(np.asarray(image.affine, dtype=np.float64), len(shape))
        if space not in FRAMES:
            space, affine = "RAS", _ras_signs(space, len(shape)) @ affine
        return cls(shape, affine, space, str(image.meta.get("unit", "")))

    def to_image(self, data: Tensor) -> MetaTensor:
        """``data`` (C, *shape) as a ``MetaTensor`` that lies on this grid; other metadata it has is kept."""
        self.check_fits("data", data, "C")
        image = MetaTensor(data)
        image.affine = torch.as_tensor(self.affine.copy())
        image.meta.update(space=self.frame, unit=self.unit)
        return image

    @property
    def spatial_dims(self) -> int:
        """Number of axes, 2 or 3."""
        return len(self.shape)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance of neighbouring voxel centres along each tensor axis, in world units."""
        return tuple(float(s) for s in np.linalg.norm(self.affine[:-1, :-1], axis=0))

    def matches(self, other: SamplingGrid) -> bool:
        """Whether both grids have the same voxels in the same frame, up to the rounding of files."""
        if (self.shape, self.frame) != (other.shape, other.frame):
            return False
        between = np.linalg.inv(self.affine) @ other.affine  # in voxels, so that it holds for any unit and origin
        return bool(np.allclose(between, np.eye(self.spatial_dims + 1), rtol=0, atol=1e-4))

    def check_fits(self, name: str, data: Tensor, *leading: str | int) -> None:
        """Check that a tensor has one entry for every voxel of this grid.

        Args:
            name: what the caller calls the tensor.
            data: (*leading, *shape).
            leading: the axes before the spatial ones: their size, or a letter where any size will do.

        Raises:
            ValueError: for another shape.
        """
        expected = (*leading, *self.shape)
        fits = (wanted in (size, str(wanted)) for wanted, size in zip(expected, data.shape, strict=False))
        if data.ndim != len(expected) or not all(fits):
            raise ValueError(
                f"{name} has shape {format_shape(data.shape)} but its grid is {format_shape(self.shape)}; expected "
                f"({', '.join(map(str, expected))}). Add missing axes, or give the grid that {name} lies on"
            )

    def check_same_world(self, name: str, other: SamplingGrid, other_name: str) -> None:
        """Check that another grid's world coordinates mean the same as this one's.

        Raises:
            ValueError: for another dimension, frame or unit.
        """
        if (self.spatial_dims, self.frame) != (other.spatial_dims, other.frame):
            raise ValueError(
                f"{name} is {self.spatial_dims}D in frame {self.frame!r} but {other_name} is {other.spatial_dims}D in "
                f"frame {other.frame!r}; expected both of the same dimension and frame. Convert one of them first"
            )
        if DECIMALS.get(self.unit, self.unit) != DECIMALS.get(other.unit, other.unit):
            raise ValueError(
                f"{name} is measured in {self.unit} but {other_name} in {other.unit}; expected the same unit. Convert "
                "one of them first, with SamplingGrid.in_unit"
            )

    def index(self, *, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu") -> Tensor:
        """Index coordinates of every voxel, (*shape, D)."""
        axes = [torch.arange(s, dtype=dtype, device=device) for s in self.shape]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)

    def world(self, *, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu") -> Tensor:
        """World coordinates of every voxel centre, (*shape, D)."""
        return self.index_to_world(self.index(dtype=dtype, device=device))

    def index_to_world(self, index: Tensor) -> Tensor:
        """World coordinates of index coordinates, both (..., D)."""
        return apply_affine(self.affine, index)

    def world_to_index(self, world: Tensor) -> Tensor:
        """Index coordinates of world coordinates, both (..., D)."""
        return apply_affine(np.linalg.inv(self.affine), world)

    @property
    def cube_to_world(self) -> np.ndarray:
        """(D+1, D+1) affine of the cube [-1, 1]^D, whose faces pass through the outermost voxel centres, to world."""
        half = (np.array(self.shape, dtype=np.float64) - 1) / 2
        cube = np.diag([*np.maximum(half, 0.5), 1.0])  # an axis of one voxel keeps an invertible scale
        cube[:-1, -1] = half
        return self.affine @ cube

    def in_unit(self, unit: str) -> SamplingGrid:
        """This grid measured in another unit of length.

        Args:
            unit: ``"nm"``, ``"µm"`` (or ``"um"``), ``"mm"``, ``"cm"`` or ``"m"``.

        Raises:
            ValueError: for another unit, or a grid whose own is another one, such as pixels.

        Example:
            >>> SamplingGrid((4, 6), np.diag([650.0, 650.0, 1.0]), unit="nm").in_unit("µm").spacing
            (0.65, 0.65)
        """
        check_choice("unit", unit, DECIMALS)
        check_choice("unit of the grid", self.unit, DECIMALS)
        power = DECIMALS[self.unit] - DECIMALS[unit]
        affine = self.affine.copy()
        affine[:-1] *= 10.0**power
        return SamplingGrid(self.shape, affine, self.frame, unit)

    def resized(self, shape: Sequence[int]) -> SamplingGrid:
        """A grid of another shape over the same extent (outer voxel borders kept)."""
        check_spatial(shape, self.spatial_dims, "shape")
        scale = np.array(self.shape, dtype=np.float64) / np.array(shape, dtype=np.float64)
        to_old = np.diag([*scale, 1.0])
        to_old[:-1, -1] = (scale - 1) / 2  # voxel centres are half a voxel inside the border
        return SamplingGrid(tuple(shape), self.affine @ to_old, self.frame, self.unit)


def apply_affine(affine: np.ndarray, points: Tensor) -> Tensor:
    """Points (..., D) mapped by a homogeneous matrix (D+1, D+1), in the points' own dtype, float32 at least."""
    matrix = torch.as_tensor(np.array(affine), dtype=torch.float64, device=points.device)
    moved = points.double() @ matrix[:-1, :-1].T + matrix[:-1, -1]  # float64 products are safe from autocast
    return moved.to(torch.promote_types(points.dtype, torch.float32))


def _ras_signs(space: str, dims: int) -> np.ndarray:
    """(dims+1, dims+1) matrix from an anatomical space, named by three letters, to RAS."""
    if len(space) != len(AXIS_LETTERS) or any(a not in b for a, b in zip(space, AXIS_LETTERS, strict=True)):
        raise ValueError(
            f"image has the space {space!r}; expected 'index', or an anatomical one such as 'RAS' (R or L, A or P, "
            "S or I, in this order). Give its affine in RAS and set image.meta['space'] to 'RAS'"
        )
    signs = [1.0 if letter == letters[0] else -1.0 for letter, letters in zip(space, AXIS_LETTERS, strict=True)]
    return np.diag([*signs[:dims], 1.0])


def _crop_affine(affine: np.ndarray, dims: int) -> np.ndarray:
    """The (dims+1, dims+1) part of an image's affine; MONAI keeps 4x4 matrices for 2D images."""
    if affine.shape[0] == dims + 1:
        return affine
    if dims == 2 and np.abs(affine[2, :2]).max() > 1e-3 * np.linalg.norm(affine[:, :2], axis=0).min():
        raise ValueError(
            f"affine {affine.tolist()} of a 2D image turns its plane out of the first two world axes; "
            "expected an in-plane affine. Reorient the slice (monai.transforms.Orientation) or drop its affine"
        )
    keep = [*range(dims), affine.shape[0] - 1]
    return affine[np.ix_(keep, keep)]
