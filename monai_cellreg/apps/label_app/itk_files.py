"""What ITK's programs see in the files of a pair, and maps and labels in that space.

Clients such as 3D Slicer and SimpleITK place an image as ITK reads its file. That is where we place it, too, except
that ITK ignores the pixel size of OME-TIFF and ImageJ's TIFF, and gives a slice of NIfTI three axes. What is sent to
clients lies where they see the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from ...geometry import SamplingGrid, to_itk
from ...geometry.itk import image_to_itk
from ...methods import Registration
from ...utils import plain

__all__ = ["ItkMap", "ItkPlace", "itk_order", "tensor_order"]

TOLERANCE = 1e-4  # of a voxel, to which two programs place an image alike


def itk_order(image: np.ndarray, frame: str) -> np.ndarray:
    """An image (C, *spatial) in the order of SimpleITK's arrays: (z,) y, x, and the channels last if several."""
    array = np.moveaxis(image, 0, -1)
    dims = array.ndim - 1
    array = array.transpose(*reversed(range(dims)), dims) if frame == "RAS" else array
    return array[..., 0] if array.shape[-1] == 1 else array


def tensor_order(array: np.ndarray, frame: str) -> np.ndarray:
    """An array of one channel in the order of SimpleITK's as an image (1, *spatial)."""
    return (array.T if frame == "RAS" else array)[None]


@dataclass(frozen=True)
class ItkPlace:
    """Where ITK puts the voxels of a file; components and axes are ITK's x, y(, z(, t)).

    Args:
        size: number of voxels along each axis.
        affine: (D+1, D+1) from index to physical space.
    """

    size: tuple[int, ...]
    affine: np.ndarray

    @classmethod
    def of(cls, path: Path, otherwise: ItkPlace) -> ItkPlace:
        """The place of a file.

        Args:
            path: the file.
            otherwise: its place where ITK cannot read the file, or reads another size.
        """
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        try:
            reader.ReadImageInformation()
        except RuntimeError:
            return otherwise
        found = cls._told_by(reader)
        return found if _without_ones(found.size) == _without_ones(otherwise.size) else otherwise

    @classmethod
    def on(cls, grid: SamplingGrid) -> ItkPlace:
        """The place of an image on a grid, as we write its file.

        Raises:
            ValueError: for a sheared grid.
        """
        return cls._told_by(image_to_itk(torch.zeros(1, *grid.shape, dtype=torch.uint8), grid))

    @classmethod
    def _told_by(cls, image: sitk.Image | sitk.ImageFileReader) -> ItkPlace:
        size = image.GetSize()
        affine = np.eye(len(size) + 1)
        affine[:-1, :-1] = np.reshape(image.GetDirection(), (len(size),) * 2) * image.GetSpacing()
        affine[:-1, -1] = image.GetOrigin()
        return cls(size, affine)

    @property
    def dims(self) -> int:
        """Number of axes."""
        return len(self.size)

    def image(self, array: np.ndarray) -> sitk.Image:
        """An array with the voxels of this place, in the order of SimpleITK's, channels last, as an image here."""
        shape = self.size[::-1]
        channels = array.size // int(np.prod(shape))
        values = array.reshape(*shape, *([channels] if channels > 1 else []))
        image = sitk.GetImageFromArray(values, isVector=channels > 1)
        spacing = np.linalg.norm(self.affine[:-1, :-1], axis=0)
        image.SetSpacing(spacing.tolist())
        image.SetDirection((self.affine[:-1, :-1] / spacing).ravel().tolist())
        image.SetOrigin(self.affine[:-1, -1].tolist())
        return image

    def matches(self, other: ItkPlace) -> bool:
        """Whether both places have the same voxels, up to the rounding of files."""
        if self.size != other.size:
            return False
        between = np.linalg.inv(self.affine) @ other.affine
        return bool(np.allclose(between, np.eye(self.dims + 1), rtol=0, atol=TOLERANCE))

    def points(self, index: np.ndarray) -> np.ndarray:
        """Physical points (..., D) of index coordinates, whose missing last components are 0."""
        short = self.dims - index.shape[-1]
        index = np.pad(index, [(0, 0)] * (index.ndim - 1) + [(0, short)])
        return index @ self.affine[:-1, :-1].T + self.affine[:-1, -1]


class ItkMap:
    """The map of a registration between the files of the pair, as ITK reads them.

    Args:
        registration: of the pair.
        fixed: file of the fixed image.
        moving: file of the moving image.

    Raises:
        ValueError: when ITK reads one file as a slice and the other as a volume of one slice.
    """

    def __init__(self, registration: Registration, fixed: Path, moving: Path) -> None:
        self.registration = registration
        self.grids = registration.pair.fixed_grid, registration.pair.moving_grid
        self.ours = tuple(ItkPlace.on(grid) for grid in self.grids)
        self.fixed, self.moving = (ItkPlace.of(*each) for each in zip((fixed, moving), self.ours, strict=True))
        if self.fixed.dims != self.moving.dims:
            raise ValueError(
                f"image {str(fixed)!r} has {self.fixed.dims} axes for ITK but reference {str(moving)!r} has "
                f"{self.moving.dims}; expected the same. Store slices either all as 2D images or all as volumes of one "
                "slice"
            )

    def transform(self) -> sitk.Transform:
        """Fixed to moving physical points: exactly as it was found where both images lie where ITK sees them."""
        if self.fixed.matches(self.ours[0]) and self.moving.matches(self.ours[1]):
            return to_itk(self.registration.transform, self.grids[0])
        return sitk.DisplacementFieldTransform(self.field())

    def field(self) -> sitk.Image:
        """Displacements (float64) at the voxels of the fixed image."""
        fixed_grid, moving_grid = self.grids
        world = fixed_grid.world().reshape(-1, fixed_grid.spatial_dims)
        with torch.no_grad():
            moved = torch.as_tensor(self.registration.transform.points(world.numpy()))
        index = _itk_components(fixed_grid.index().reshape(world.shape), fixed_grid.frame)
        found = _itk_components(moving_grid.world_to_index(moved), moving_grid.frame)
        displacement = self.moving.points(found) - self.fixed.points(index)
        shaped = displacement.reshape(*fixed_grid.shape, -1)
        return self.fixed.image(itk_order(np.moveaxis(shaped, -1, 0), fixed_grid.frame))

    def labels(self, label: Tensor) -> np.ndarray:
        """Labels (1, *spatial) of the moving image on the fixed one, as SimpleITK's ``Resample`` gives them.

        Returns:
            In the order of SimpleITK's arrays; 0 where the moving image does not reach.
        """
        moving = self.moving.image(itk_order(plain(label).numpy(), self.grids[1].frame))
        like = self.fixed.image(np.zeros(self.fixed.size[::-1], np.uint8))
        warped = sitk.Resample(moving, like, self.transform(), sitk.sitkNearestNeighbor, 0)
        return sitk.GetArrayFromImage(warped)


def _itk_components(index: Tensor, frame: str) -> np.ndarray:
    """Index coordinates (..., D) with their components in ITK's order."""
    return index.numpy() if frame == "RAS" else index.numpy()[..., ::-1]


def _without_ones(size: tuple[int, ...]) -> list[int]:
    return [n for n in size if n > 1]
