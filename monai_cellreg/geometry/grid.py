"""Where an image lies: its shape and its index-to-world affine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor

FRAMES = {"index": "px", "RAS": "mm"}  # frame of the world axes -> its usual unit


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
    affine: np.ndarray = field(default=None)  # type: ignore[assignment]
    frame: str = "index"
    unit: str = ""

    def __post_init__(self) -> None:
        shape = tuple(int(s) for s in self.shape)
        dims = len(shape)
        if dims not in (2, 3) or min(shape) < 1:
            raise ValueError(f"shape is {shape}; expected two or three positive sizes, without batch and channel")
        affine = np.eye(dims + 1) if self.affine is None else np.array(self.affine, dtype=np.float64)
        if affine.shape != (dims + 1, dims + 1):
            raise ValueError(f"affine has shape {affine.shape} but the grid has {dims} axes; expected {(dims + 1,) * 2}")
        if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:dims, :dims])) < 1e-12:
            raise ValueError(f"affine is singular or not finite: {affine.tolist()}; expected an invertible matrix")
        if self.frame not in FRAMES:
            raise ValueError(f"frame is {self.frame!r}; expected one of {sorted(FRAMES)}")
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "unit", self.unit or FRAMES[self.frame])

    @classmethod
    def from_image(cls, image: Tensor) -> SamplingGrid:
        """The grid of an image (C, *spatial): of a ``MetaTensor`` by its affine and space, else world == index."""
        shape = tuple(image.shape[1:])
        if not isinstance(image, MetaTensor):
            return cls(shape)
        frame = "RAS" if str(image.meta.get("space", "index")).upper() == "RAS" else "index"
        affine = np.asarray(image.affine, dtype=np.float64)
        return cls(shape, _crop_affine(affine, len(shape)), frame, str(image.meta.get("unit", "")))

    def to_image(self, data: Tensor) -> MetaTensor:
        """``data`` (C, *shape) as a ``MetaTensor`` that lies on this grid."""
        if tuple(data.shape[1:]) != self.shape:
            raise ValueError(f"data has shape {tuple(data.shape)}; expected (C, {', '.join(map(str, self.shape))})")
        image = MetaTensor(data, affine=torch.as_tensor(self.affine.copy()))
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
        """Whether both grids have the same voxels in the same frame."""
        same = self.shape == other.shape and self.frame == other.frame
        return same and bool(np.allclose(self.affine, other.affine, rtol=1e-6, atol=1e-6))

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

    def resized(self, shape: Sequence[int]) -> SamplingGrid:
        """A grid of another shape over the same extent (outer voxel borders kept)."""
        scale = np.array(self.shape, dtype=np.float64) / np.array(shape, dtype=np.float64)
        to_old = np.diag([*scale, 1.0])
        to_old[:-1, -1] = (scale - 1) / 2  # voxel centres are half a voxel inside the border
        return SamplingGrid(tuple(shape), self.affine @ to_old, self.frame, self.unit)


def apply_affine(affine: np.ndarray, points: Tensor) -> Tensor:
    """Points (..., D) mapped by a homogeneous matrix (D+1, D+1), in the points' own dtype."""
    matrix = torch.as_tensor(np.array(affine), dtype=points.dtype, device=points.device)
    return points @ matrix[:-1, :-1].T + matrix[:-1, -1]


def _crop_affine(affine: np.ndarray, dims: int) -> np.ndarray:
    """The (dims+1, dims+1) part of an image's affine; MONAI keeps 4x4 matrices for 2D images."""
    if affine.shape[0] == dims + 1:
        return affine
    if dims == 2 and abs(np.linalg.det(affine[:2, :2])) < 1e-9:
        raise ValueError(
            f"affine {affine.tolist()} of a 2D image turns its plane out of the first two world axes; "
            "expected an in-plane affine. Reorient the slice (monai.transforms.Orientation) or drop its affine"
        )
    keep = [*range(dims), affine.shape[0] - 1]
    return affine[np.ix_(keep, keep)]
