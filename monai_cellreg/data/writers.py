"""Writing of images as PNG, JPEG, TIFF and NIfTI, each file complete or not there at all."""

from __future__ import annotations

import gzip
import io
from os import PathLike
from pathlib import Path

import nibabel
import numpy as np
import tifffile
import torch
from monai.data import MetaTensor
from monai.data.utils import to_affine_nd
from PIL import Image

from ..utils import atomic_path
from .readers import file_suffix

__all__ = ["write_image"]

_PILLOW_FORMATS = {".png": ("PNG", ("uint8", "uint16")), ".jpg": ("JPEG", ("uint8",)), ".jpeg": ("JPEG", ("uint8",))}


def write_image(path: str | PathLike[str], image: torch.Tensor | np.ndarray, *, like: MetaTensor | None = None) -> None:
    """Writes an image in the format that the extension names, with the number type and affine of its source.

    Convention: the source is `like`, else `image` itself. Its `meta["source_dtype"]` (set by `read_image`) is the type
    written; without one it is the tensor's own. Whole-number types are rounded and clipped to their range. NIfTI keeps
    the affine; the other formats have none.

    Args:
        path: File to write or replace; its folder is made where it is missing.
        image: (1, *spatial), or (3, height, width) colour for PNG, JPEG and TIFF.
        like: Image whose number type and affine are used.

    Raises:
        ValueError: If the extension is unknown, or the format cannot hold the shape or number type.
        OSError: If the file cannot be written.
    """
    path, source = Path(path), image if like is None else like
    array = np.asarray(torch.as_tensor(image).detach().cpu())
    meta = source.meta if isinstance(source, MetaTensor) else {}
    array = _as_type(array, np.dtype(meta.get("source_dtype", array.dtype)))
    suffix = file_suffix(path).removeprefix(".ome")
    if suffix in (".nii", ".nii.gz"):
        affine = source.affine if isinstance(source, MetaTensor) else torch.eye(4)
        content = _nifti(array, to_affine_nd(3, affine.double().cpu().numpy()), compressed=suffix == ".nii.gz")
    elif suffix in (".tif", ".tiff"):
        content = _tiff(_plane(array, path))
    elif suffix in _PILLOW_FORMATS:
        content = _pillow(_plane(array, path), path, *_PILLOW_FORMATS[suffix])
    else:
        expected = ", ".join((*_PILLOW_FORMATS, ".tif", ".tiff", ".nii", ".nii.gz"))
        raise ValueError(f"path {str(path)!r} has the extension {suffix!r}; expected one of {expected}")
    with atomic_path(path) as temporary:
        Path(temporary).write_bytes(content)


def _as_type(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if np.issubdtype(dtype, np.integer) and not np.issubdtype(array.dtype, np.integer):
        array = np.rint(array.astype(np.float64))
    if np.issubdtype(dtype, np.integer):
        array = np.clip(array, np.iinfo(dtype).min, np.iinfo(dtype).max)
    return array.astype(dtype)


def _plane(array: np.ndarray, path: Path) -> np.ndarray:
    """Turns (1, height, width) into (height, width) and (3, height, width) into (height, width, 3)."""
    if array.ndim != 3 or array.shape[0] not in (1, 3):
        raise ValueError(
            f"image has the shape {array.shape}; {path.suffix} holds (1, height, width) or (3, height, width): "
            "write volumes as .nii.gz"
        )
    return array[0] if array.shape[0] == 1 else np.moveaxis(array, 0, -1)


def _pillow(plane: np.ndarray, path: Path, name: str, types: tuple[str, ...]) -> bytes:
    types = types if plane.ndim == 2 else ("uint8",)
    if plane.dtype.name not in types:
        raise ValueError(
            f"image would be written as {plane.dtype.name} to {path.name!r}; {name} holds {' or '.join(types)}: give "
            "`like` an image of that type, or write .tif"
        )
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(plane)).save(buffer, format=name)
    return buffer.getvalue()


def _tiff(plane: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    photometric = "minisblack" if plane.ndim == 2 else "rgb"
    tifffile.imwrite(buffer, plane, photometric=photometric, compression="zlib", metadata=None)
    return buffer.getvalue()


def _nifti(array: np.ndarray, affine: np.ndarray, *, compressed: bool) -> bytes:
    if array.ndim not in (3, 4) or array.shape[0] != 1:
        raise ValueError(f"image has the shape {array.shape}; NIfTI is written from (1, *spatial) in 2D or 3D")
    values = array[0].astype(np.int32) if array.dtype == np.int64 else array[0]
    content = nibabel.Nifti1Image(values, affine).to_bytes()
    return gzip.compress(content, mtime=0) if compressed else content
