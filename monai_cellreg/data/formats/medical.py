"""MHA, MHD and NRRD by SimpleITK, and what DICOM shares with them.

Convention: as in NIfTI, the tensor axes are the file's x, y(, z), and the affine leads to RAS in millimetres. The same
image stored as NIfTI and as MHA gives the same tensor and the same affine.
"""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import SimpleITK as sitk

from ...geometry.itk import physical_axes
from .record import INDEX_SPACE, RAS_SPACE, ImageReadError, OpenOptions, Placed, Stored

_MADE_BY_ITK = ("ITK_", "NRRD_")  # keys that ITK derives from the file, or writes by itself
_COLOUR_TYPES = (sitk.sitkVectorUInt8, sitk.sitkVectorUInt16)


class MedicalImage:
    """An opened MHA, MHD or NRRD file; the entries of a fourth axis are its pages."""

    def __init__(self, path: Path, options: OpenOptions) -> None:
        self.path = path
        self.file = sitk.ImageFileReader()
        self.file.SetFileName(str(path))
        self.file.ReadImageInformation()
        size = self.file.GetSize()
        self.pages = size[3] if len(size) == 4 else 1

    def read(self, page: int) -> Stored:
        size = list(self.file.GetSize())
        if len(size) == 4:
            self.file.SetExtractSize([*size[:3], 0])
            self.file.SetExtractIndex([0, 0, 0, page])
            affine = itk_affine(self.file.GetSpacing(), self.file.GetDirection(), self.file.GetOrigin())
            image = self.file.Execute()
        else:
            image = self.file.Execute()
            affine = itk_affine(image.GetSpacing(), image.GetDirection(), image.GetOrigin())
        known = {key: self.file.GetMetaData(key) for key in self.file.GetMetaDataKeys()}
        header = {"itk": {k: v for k, v in known.items() if not k.startswith(_MADE_BY_ITK)}}
        return stored_from_itk(image, affine, self.path, header)

    def close(self) -> None:
        self.file.SetExtractSize([])


def itk_affine(spacing: tuple[float, ...], direction: tuple[float, ...], origin: tuple[float, ...]) -> np.ndarray:
    """(4, 4) affine to RAS from ITK's description of a 2D, 3D or 4D image; a fourth axis is left out."""
    dims = len(spacing)
    kept = min(dims, 3)
    axes = physical_axes(RAS_SPACE, kept)
    linear = (np.reshape(direction, (dims, dims)) * spacing)[:kept, :kept]
    affine = np.eye(4)
    affine[:kept, :kept] = axes @ linear
    affine[:kept, 3] = axes @ np.array(origin[:kept])
    return affine


def stored_from_itk(image: sitk.Image, affine: np.ndarray, path: Path, header: dict[str, Any]) -> Stored:
    """An ITK image in our order of axes; a last axis of one slice is dropped, as of NIfTI."""
    samples = image.GetNumberOfComponentsPerPixel()
    if samples > 1 and image.GetPixelID() not in _COLOUR_TYPES:
        raise ImageReadError(
            f"path {str(path)!r} holds {samples} values a pixel of the type {image.GetPixelIDTypeAsString()!r}; "
            "expected a grey image or 8- or 16-bit colour: a field of vectors is a transform (read_transform)"
        )
    array = sitk.GetArrayFromImage(image)  # (z,) y, x(, samples)
    dims = image.GetDimension()
    array = array.transpose(*reversed(range(dims)), *range(dims, array.ndim))
    if dims == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    return Stored(array, in_colour=samples > 1, affine=affine, space=RAS_SPACE, unit="mm", header=header)


def image_to_itk(image: Placed, *, as_volume: bool = False) -> sitk.Image:
    """An ITK image of what is to be written, in millimetres; colour as vectors.

    A slice that has a place in 3D becomes a volume of one slice, as does every one with `as_volume`.
    """
    array, affine = image.samples_last, image.affine_mm
    if array.dtype in (np.bool_, np.float16):
        array = array.astype(np.uint8 if array.dtype == np.bool_ else np.float32)
    dims = image.spatial_dims
    if image.space == RAS_SPACE and dims == 2 and (as_volume or _is_turned_or_raised(affine)):
        array, dims = np.expand_dims(array, 2), 3
    linear, shift = affine[:dims, :dims], affine[:dims, 3]
    if image.space == INDEX_SPACE:
        linear = linear[:, ::-1]
    else:
        array = array.transpose(*reversed(range(dims)), *range(dims, array.ndim))
    axes = physical_axes(image.space, dims)
    linear = axes @ linear
    spacing = np.linalg.norm(linear, axis=0)
    made = sitk.GetImageFromArray(np.ascontiguousarray(array), isVector=array.ndim > dims)
    made.SetSpacing(spacing.tolist())
    made.SetDirection((linear / spacing).ravel().tolist())
    made.SetOrigin((axes @ shift).tolist())
    return made


def _is_turned_or_raised(affine: np.ndarray) -> bool:
    """Whether a slice's affine says more than its place in the plane of the first two axes."""
    return not (np.allclose(affine[2], [0, 0, 1, 0]) and np.allclose(affine[:, 2], [0, 0, 1, 0]))


def write_medical(temporary: Path, image: Placed, path: Path) -> None:
    """Writes MHA, NRRD, or MHD with its .raw beside it, with the metadata of its source.

    Of an MHD file, the pixels are put in place just before the header that names them.
    """
    made = image_to_itk(image)
    for key, value in image.header.get("itk", {}).items():
        made.SetMetaData(key, value)
    if path.suffix.lower() != ".mhd":
        sitk.WriteImage(made, str(temporary), useCompression=True)
        return
    with TemporaryDirectory(dir=path.parent, prefix=".tmp-") as folder:
        sitk.WriteImage(made, str(Path(folder) / path.name))
        raw = path.with_suffix(".raw").name
        os.replace(Path(folder) / raw, path.parent / raw)
        os.replace(Path(folder) / path.name, temporary)
