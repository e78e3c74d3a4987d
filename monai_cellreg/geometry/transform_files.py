"""Maps as files that ITK, SimpleITK, 3D Slicer, elastix and ANTs share."""

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

import nibabel
import numpy as np
import scipy.io

from ..utils import atomic_path, check_choice, format_shape
from .elastix import is_elastix, read_elastix
from .grid import FRAMES, SamplingGrid
from .itk import field_from_itk, field_to_itk, from_itk, to_itk
from .transform import SpatialTransform

if TYPE_CHECKING:
    import SimpleITK

TRANSFORM_SUFFIXES = (".h5", ".tfm", ".txt")
FIELD_SUFFIXES = (".nii.gz", ".nii", ".mha", ".nrrd")
READ_SUFFIXES = (*TRANSFORM_SUFFIXES, ".mat", *FIELD_SUFFIXES, ".mhd")


def write_transform(
    path: str | os.PathLike[str], transform: SpatialTransform, grid: SamplingGrid, *, index: int = 0
) -> None:
    """Writes a map to a file that ITK, SimpleITK, ANTs and 3D Slicer open, completely or not at all.

    Args:
        path: ``.h5``, ``.tfm`` or ``.txt`` for a transform (see :func:`to_itk` for what stays exact); ``.nii.gz``,
            ``.nii``, ``.mha`` or ``.nrrd`` for an image of displacement vectors at the voxels of ``grid``.
        transform: fixed world points to moving world points.
        grid: the fixed grid.
        index: which of the transform's B maps.

    Raises:
        ValueError: for another suffix, a map that :func:`to_itk` refuses, or a grid that the format cannot hold.
        OSError: when the file cannot be written.
    """
    import SimpleITK as sitk

    suffix = _suffix(path, (*TRANSFORM_SUFFIXES, *FIELD_SUFFIXES))
    write: Callable[[str], None]
    if suffix in TRANSFORM_SUFFIXES:
        write = partial(sitk.WriteTransform, to_itk(transform, grid, index=index))
    else:
        image = field_to_itk(transform, grid, index=index)
        if suffix.startswith(".nii") and image.GetSize()[-1] == 1:
            raise ValueError(
                f"transform file {path} cannot hold a grid of shape {format_shape(grid.shape)}, since NIfTI drops a "
                "last axis of 1; expected two or more voxels along it. Use .mha"
            )
        write = partial(sitk.WriteImage, image)
    with atomic_path(path) as temporary:
        write(str(temporary))


def read_transform(path: str | os.PathLike[str], frame: str) -> SpatialTransform:
    """The map of a file that :func:`write_transform`, ITK, 3D Slicer, elastix or ANTs has written.

    Args:
        path: a transform (``.h5``, ``.tfm``, ``.txt``, ANTs' affine ``.mat``), the transform parameters of elastix
            (``.txt``; an initial transform that they name is applied first), or an image of displacement vectors
            (``.nii.gz``, ``.nii``, ``.mha``, ``.mhd``, ``.nrrd``, ANTs' warp among them).
        frame: ``"index"`` or ``"RAS"``: that of the images which the map belongs to; the file does not say it.

    Raises:
        FileNotFoundError: when there is no such file, or initial transform of elastix.
        ValueError: for a damaged or foreign file, another suffix, an unknown frame, or what :func:`from_itk` and
            :func:`from_elastix` refuse.
    """
    check_choice("frame", frame, FRAMES)
    suffix = _suffix(path, READ_SUFFIXES)
    if not Path(path).is_file():
        raise FileNotFoundError(f"transform file {path} does not exist; expected a file that write_transform has made")
    is_field = suffix in (*FIELD_SUFFIXES, ".mhd")
    try:
        if is_field:
            return field_from_itk(_read_image(Path(path)), frame)
        if suffix == ".txt" and is_elastix(path):
            return read_elastix(path, frame)
        return from_itk(_read_itk(Path(path), suffix), frame)
    except (RuntimeError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        kind = "an image of vectors" if is_field else "an ITK transform or the transform parameters of elastix"
        raise ValueError(
            f"transform file {path} is damaged or foreign; expected {kind}. Write it again, or copy it anew"
        ) from error
    except ValueError as error:
        raise ValueError(f"transform file {path} cannot be used: {error}") from error


def _read_itk(path: Path, suffix: str) -> SimpleITK.Transform:
    """A transform file; of a cut text or MATLAB file, SimpleITK would make another map."""
    import SimpleITK as sitk

    if suffix == ".mat":
        _check_matlab(path)
    elif suffix != ".h5":
        _check_text(path.read_bytes())
    return sitk.ReadTransform(str(path))


def _check_text(content: bytes) -> None:
    """Whether a text ends with a whole line, and holds no more than SimpleITK reads of it.

    ITK does not say how many transforms a composite has: one that ends between two of them goes unnoticed.
    """
    if not re.search(rb"^FixedParameters:.*\n\s*\Z", content, re.MULTILINE):
        raise EOFError("the last line is not a whole line of FixedParameters")
    kinds = re.findall(rb"^Transform:\s*(\w+)", content, re.MULTILINE)
    if len(kinds) > 1 and not kinds[0].startswith(b"CompositeTransform"):
        raise ValueError(
            f"it holds {len(kinds)} transforms side by side; expected one, or a composite, which says their order. "
            "Write each to a file of its own and chain them with then()"
        )


def _check_matlab(path: Path) -> None:
    """Whether all numbers that a file of MATLAB's level 4 announces are there."""
    try:
        scipy.io.loadmat(path)
    except Exception as error:  # SciPy raises a dozen kinds for a damaged file
        raise EOFError("SciPy cannot read it") from error


def _read_image(path: Path) -> SimpleITK.Image:
    """An image file; NIfTI is unpacked and read through first, since ITK reads a cut one as if it were whole."""
    import SimpleITK as sitk

    if path.suffix not in (".gz", ".nii"):
        return sitk.ReadImage(str(path))
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "field.nii"  # of its own name: ITK prefers a .nii that lies beside a .nii.gz
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as packed, plain.open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked)
        _check_nifti(plain)
        return sitk.ReadImage(str(plain))


def _check_nifti(path: Path) -> None:
    """Whether all voxels that a NIfTI file announces are there."""
    try:
        np.asanyarray(nibabel.Nifti1Image.from_filename(path).dataobj)
    except Exception as error:  # nibabel likewise
        raise EOFError("nibabel cannot read it") from error


def _suffix(path: str | os.PathLike[str], known: tuple[str, ...]) -> str:
    for suffix in known:
        if Path(path).name.endswith(suffix):
            return suffix
    raise ValueError(
        f"transform file {path} has an unknown suffix; expected one of {', '.join(known)}. Rename or convert it"
    )
