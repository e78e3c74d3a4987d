"""Exchange with ITK, in memory and as files: the only place that knows LPS and the order x, y(, z).

Convention: ITK's transforms map fixed to moving points as ours do; only the axes differ. For frame ``"index"``, ITK's x
is the last tensor axis (as ITK reads PNG and TIFF), so components are reversed. For frame ``"RAS"``, tensor axes are
x, y(, z) as in NIfTI, and ITK's LPS negates the first two components.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import tempfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from ..utils import atomic_path, check_choice, check_finite, check_spatial, format_shape
from .affine import AffineTransform
from .dense import DenseTransform
from .grid import FRAMES, SamplingGrid
from .transform import SpatialTransform, compose

if TYPE_CHECKING:
    import SimpleITK

TRANSFORM_SUFFIXES = (".h5", ".tfm", ".txt")
FIELD_SUFFIXES = (".nii.gz", ".mha")


def to_itk(transform: SpatialTransform, grid: SamplingGrid, *, index: int = 0) -> SimpleITK.Transform:
    """A map as an ITK transform: an affine map exactly, any other as displacements at the voxels of a grid.

    Args:
        transform: fixed world points to moving world points.
        grid: the fixed grid; its frame says what the world axes mean. Outside it, ITK takes displacements as zero.
        index: which of the transform's B maps.

    Raises:
        ValueError: when map and grid differ in dimension, there is no such map, values are not finite, or displacements
            would lie on a sheared grid.

    Example:
        >>> shift = AffineTransform(np.array([[1, 0, 5], [0, 1, -2]]))  # five rows down, two columns to the left
        >>> to_itk(shift, SamplingGrid((20, 30))).TransformPoint((10, 0))
        (8.0, 5.0)
    """
    import SimpleITK as sitk

    check_spatial(grid.shape, transform.spatial_dims, "grid")
    if not isinstance(transform, AffineTransform):
        return sitk.DisplacementFieldTransform(_field_image(transform, grid, index=index))
    matrix = _chosen(transform.matrix, index)
    flip = _flip(grid.frame, grid.spatial_dims)
    affine = sitk.AffineTransform(grid.spatial_dims)
    affine.SetMatrix((flip @ matrix[:, :-1] @ flip).ravel().tolist())
    affine.SetTranslation((flip @ matrix[:, -1]).tolist())
    return affine


def from_itk(transform: SimpleITK.Transform, frame: str) -> SpatialTransform:
    """The map of an ITK transform: of any affine kind, a displacement field, or a composite of these.

    Outside the grid of a displacement field our map continues from the border, where ITK's is the identity.

    Args:
        transform: in ITK's physical space.
        frame: ``"index"`` or ``"RAS"``: the world that the map is to act on.

    Raises:
        ValueError: for another kind of transform, or an unknown frame.
    """
    import SimpleITK as sitk

    check_choice("frame", frame, FRAMES)
    dims, kind = transform.GetDimension(), transform.Downcast()
    if transform.IsLinear():
        origin, flip = (0.0,) * dims, _flip(frame, dims)
        columns = [transform.TransformVector(axis, origin) for axis in np.eye(dims).tolist()]
        linear, shift = np.transpose(columns), np.array(transform.TransformPoint(origin))
        return AffineTransform(np.column_stack([flip @ linear @ flip, flip @ shift]))
    if isinstance(kind, sitk.CompositeTransform):  # ITK applies the last added first
        return compose(
            [from_itk(kind.GetNthTransform(n), frame) for n in reversed(range(kind.GetNumberOfTransforms()))]
        )
    if isinstance(kind, sitk.DisplacementFieldTransform):
        return _dense(kind.GetDisplacementField(), frame)
    raise ValueError(
        f"transform is an ITK {transform.GetName()}; expected an affine kind, a displacement field or a composite of "
        "these. Sample it first, with SimpleITK.TransformToDisplacementField"
    )


def write_transform(
    path: str | os.PathLike[str], transform: SpatialTransform, grid: SamplingGrid, *, index: int = 0
) -> None:
    """Writes a map to a file that ITK, SimpleITK, ANTs and 3D Slicer open, completely or not at all.

    Args:
        path: ``.h5``, ``.tfm`` or ``.txt`` for a transform (see :func:`to_itk`); ``.nii.gz`` or ``.mha`` for an image
            of displacement vectors at the voxels of ``grid``.
        transform: fixed world points to moving world points.
        grid: the fixed grid.
        index: which of the transform's B maps.

    Raises:
        ValueError: for another suffix, a map that :func:`to_itk` refuses, or a grid that the format cannot hold.
        OSError: when the file cannot be written.
    """
    import SimpleITK as sitk

    suffix = _suffix(path)
    write: Callable[[str], None]
    if suffix in TRANSFORM_SUFFIXES:
        write = partial(sitk.WriteTransform, to_itk(transform, grid, index=index))
    else:
        image = _field_image(transform, grid, index=index)
        if suffix == ".nii.gz" and image.GetSize()[-1] == 1:
            raise ValueError(
                f"transform file {path} cannot hold a grid of shape {format_shape(grid.shape)}, since NIfTI drops a "
                "last axis of 1; expected two or more voxels along it. Use .mha"
            )
        write = partial(sitk.WriteImage, image)
    with atomic_path(path) as temporary:
        write(str(temporary))


def read_transform(path: str | os.PathLike[str], frame: str) -> SpatialTransform:
    """The map of a file that :func:`write_transform`, ITK or ANTs has written.

    Args:
        path: a transform (``.h5``, ``.tfm``, ``.txt``) or an image of displacement vectors (``.nii.gz``, ``.mha``).
        frame: ``"index"`` or ``"RAS"``: that of the images which the map belongs to; the file does not say it.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: for a damaged or foreign file, another suffix, an unknown frame, or what :func:`from_itk` refuses.
    """
    check_choice("frame", frame, FRAMES)
    suffix = _suffix(path)
    if not Path(path).is_file():
        raise FileNotFoundError(f"transform file {path} does not exist; expected a file that write_transform has made")
    try:
        if suffix in FIELD_SUFFIXES:
            return _dense(_read_image(Path(path)), frame)
        return from_itk(_read_itk(Path(path)), frame)
    except (RuntimeError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        kind = "an image of vectors" if suffix in FIELD_SUFFIXES else "an ITK transform (not elastix parameters)"
        raise ValueError(
            f"transform file {path} is damaged or foreign; expected {kind}. Write it again, or copy it anew"
        ) from error
    except ValueError as error:
        raise ValueError(f"transform file {path} cannot be used: {error}") from error


def _flip(frame: str, dims: int) -> np.ndarray:
    """Matrix (D, D) between world components and ITK's physical x, y(, z); its own inverse."""
    return np.eye(dims)[::-1] if frame == "index" else np.diag([-1.0, -1.0, 1.0][:dims])


def _chosen(maps: Tensor, index: int) -> np.ndarray:
    """Parameters or displacements of one of B maps, as an array."""
    if not 0 <= index < maps.shape[0]:
        raise ValueError(f"index is {index} but the transform holds {maps.shape[0]} maps, counted from 0; choose one")
    values = maps[index].detach().cpu().numpy()
    check_finite("transform", values)
    return values


def _field_image(transform: SpatialTransform, grid: SamplingGrid, *, index: int) -> SimpleITK.Image:
    """Displacements at the voxels of a grid as an image of float64 vectors."""
    import SimpleITK as sitk

    dims, flip = grid.spatial_dims, _flip(grid.frame, grid.spatial_dims)
    linear = flip @ _reordered_columns(grid.affine[:-1, :-1], grid.frame)
    direction = linear / np.linalg.norm(linear, axis=0)
    if not np.allclose(direction.T @ direction, np.eye(dims), atol=1e-4):
        raise ValueError(
            f"grid is sheared (affine {grid.affine.tolist()}); expected axes at right angles, as ITK's displacement "
            "fields need them. Give a grid without shear over the same region"
        )
    with torch.no_grad():
        field = transform.displacement(grid)
    vectors = np.moveaxis(_chosen(field, index), 0, -1) @ flip  # (*shape, D)
    image = sitk.GetImageFromArray(_reordered_voxels(vectors, grid.frame), isVector=True)
    image.SetOrigin((flip @ grid.affine[:-1, -1]).tolist())
    image.SetSpacing(np.linalg.norm(linear, axis=0).tolist())
    image.SetDirection(direction.ravel().tolist())
    return image


def _dense(image: SimpleITK.Image, frame: str) -> DenseTransform:
    """The map of an image of displacement vectors."""
    import SimpleITK as sitk

    dims, components = image.GetDimension(), image.GetNumberOfComponentsPerPixel()
    if components != dims or dims not in (2, 3) or 0 in image.GetSize():
        raise ValueError(
            f"image has size {format_shape(image.GetSize())} with {components} values a voxel; expected displacement "
            "vectors, two values in 2D and three in 3D. Choose the file of the field, or copy it anew"
        )
    flip = _flip(frame, dims)
    linear = np.reshape(image.GetDirection(), (dims, dims)) * image.GetSpacing()
    affine = np.eye(dims + 1)
    affine[:-1, :-1] = flip @ _reordered_columns(linear, frame)
    affine[:-1, -1] = flip @ image.GetOrigin()
    vectors = _reordered_voxels(sitk.GetArrayFromImage(image).astype(np.float64), frame) @ flip
    grid = SamplingGrid(vectors.shape[:-1], affine, frame)
    return DenseTransform(torch.from_numpy(np.moveaxis(vectors, -1, 0)[None]), grid)


def _reordered_columns(linear: np.ndarray, frame: str) -> np.ndarray:
    """Columns of an affine between the order of tensor axes and ITK's axes x, y(, z)."""
    return linear[:, ::-1] if frame == "index" else linear


def _reordered_voxels(vectors: np.ndarray, frame: str) -> np.ndarray:
    """Vectors (*spatial, D) between the order of tensor axes and that of SimpleITK's arrays, which is (z,) y, x."""
    if frame == "index":
        return vectors
    return rearrange(vectors, "x y c -> y x c" if vectors.ndim == 3 else "x y z c -> z y x c")


def _read_itk(path: Path) -> SimpleITK.Transform:
    """A transform file; ITK silently reads a cut text as another map, so its last line must be whole."""
    import SimpleITK as sitk

    if path.suffix != ".h5" and not re.search(rb"^FixedParameters:.*\n\s*\Z", path.read_bytes()[-4096:], re.MULTILINE):
        raise EOFError("the last line is not a whole line of FixedParameters")
    return sitk.ReadTransform(str(path))


def _read_image(path: Path) -> SimpleITK.Image:
    """An image file; ``.gz`` is unpacked for ITK, which silently reads a cut one, or a ``.nii`` that lies beside it."""
    import SimpleITK as sitk

    if path.suffix != ".gz":
        return sitk.ReadImage(str(path))
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "field.nii"
        with gzip.open(path) as packed, plain.open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked)
        return sitk.ReadImage(str(plain))


def _suffix(path: str | os.PathLike[str]) -> str:
    for suffix in (*TRANSFORM_SUFFIXES, *FIELD_SUFFIXES):
        if Path(path).name.endswith(suffix):
            return suffix
    raise ValueError(
        f"transform file {path} has an unknown suffix; expected {', '.join(TRANSFORM_SUFFIXES)} for a transform, or "
        f"{', '.join(FIELD_SUFFIXES)} for a displacement field. Rename or convert it"
    )
