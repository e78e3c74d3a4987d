"""Writing of images in the format of their source, each file complete or not there at all."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from monai.data.utils import to_affine_nd

from ..geometry.grid import FRAMES, SamplingGrid
from ..utils import atomic_path, ensure_writable_dir
from .formats import Placed, file_suffix, writer_for

__all__ = ["as_type", "placed", "write_image"]


def write_image(path: str | PathLike[str], image: torch.Tensor | np.ndarray, *, like: MetaTensor | None = None) -> None:
    """Writes an image in the format that the extension names, with the number type and metadata of its source.

    Convention: the source is `like`, else `image` itself. Its `meta["source_dtype"]` (set by `read_image`) is the type
    written; without one it is the tensor's own. Whole-number types are rounded and clipped to their range. The place in
    the world is that of `image` where it says one (a `MetaTensor` with `meta["space"]`), else that of the source.

    Kept are: TIFF, the pixel size (OME's PhysicalSize, ImageJ's unit or resolution tags), OME's names and dates, a
    plain description; NIfTI, the affine and all header fields; MHA, MHD and NRRD, the affine and the metadata; DICOM,
    patient and study, in a derived series with new UIDs; PNG and JPEG, resolution and colour profile. A rotation or an
    origin has no place in TIFF, PNG, JPEG and NumPy files.

    Args:
        path: File to write or replace; its folder is made where it is missing. Without extension, or with ".dcm", a
            volume is written as the folder of a DICOM series, a 2D image as one DICOM file.
        image: (1, *spatial), or (3, height, width) colour.
        like: Image whose number type, metadata and, for a plain `image`, place are used.

    Raises:
        ValueError: If the extension is unknown, or the format cannot hold the shape or number type.
        OSError: If the file cannot be written.
    """
    path = Path(path)
    write = writer_for(path)
    content = placed(image, like)
    is_series = file_suffix(path) in ("", ".dcm") and content.spatial_dims == 3
    with _atomic_folder(path) if is_series else atomic_path(path) as temporary:
        write(Path(temporary), content, path)


def placed(image: torch.Tensor | np.ndarray, like: MetaTensor | None = None) -> Placed:
    """An image in the number type, with the header and at the place in which it is to be written; see `write_image`.

    Raises:
        ValueError: If the shape is not (C, *spatial) in 2D or 3D.
    """
    source = image if like is None else like
    array = np.asarray(torch.as_tensor(image).detach().cpu())
    if array.ndim not in (3, 4):
        raise ValueError(f"image has the shape {array.shape}; expected (C, *spatial) in 2D or 3D: add the channel axis")
    meta = source.meta if isinstance(source, MetaTensor) else {}
    array = as_type(array, np.dtype(meta.get("source_dtype", array.dtype)))
    says_where = isinstance(image, MetaTensor) and (like is None or "space" in image.meta)
    where = image if says_where else source
    affine, space, unit = np.eye(4), "index", "px"
    if isinstance(where, MetaTensor):
        affine, space = where.affine.double().cpu().numpy(), str(where.meta.get("space") or "index")
        if space not in FRAMES:  # another anatomical space, of which the grid knows the way to RAS
            affine, space = SamplingGrid.from_image(where).affine, "RAS"
        affine, unit = to_affine_nd(3, affine), str(where.meta.get("unit") or FRAMES[space])
    return Placed(array, affine, space, unit, json.loads(meta.get("header") or "{}"))


def as_type(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """An array in another number type; whole-number types are rounded and clipped to their range."""
    if dtype == np.bool_:
        return array >= 0.5
    if np.issubdtype(dtype, np.integer) and not np.issubdtype(array.dtype, np.integer):
        array = np.rint(array.astype(np.float64))
    if np.issubdtype(dtype, np.integer):
        array = np.clip(array, np.iinfo(dtype).min, np.iinfo(dtype).max)
    return array.astype(dtype)


@contextmanager
def _atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes `path` when the block ends well and vanishes when it does not."""
    parent = ensure_writable_dir(path.parent)
    temporary, old = (parent / f".tmp-{uuid.uuid4().hex[:8]}-{path.name}" for _ in range(2))
    try:
        yield temporary
        if path.exists():
            os.replace(path, old)
        os.replace(temporary, path)
    finally:
        for left in (temporary, old):
            shutil.rmtree(left, ignore_errors=True)
