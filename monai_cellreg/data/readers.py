"""Reading of images and labels from PNG, JPEG, TIFF and NIfTI files, always in row, column order."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any, Literal, NamedTuple

import nibabel
import numpy as np
import tifffile
import torch
from monai.data import MetaTensor, NibabelReader
from PIL import Image
from skimage.color import rgb2gray

__all__ = ["INDEX_SPACE", "RAS_SPACE", "ImageReadError", "file_suffix", "page_count", "read_image", "read_label"]

INDEX_SPACE = "index"
RAS_SPACE = "RAS"


class ImageReadError(ValueError):
    """A file that cannot be used as an image or label; the message says which file, why, and what would be accepted."""


class _Stored(NamedTuple):
    """One page as stored: `array` is (*spatial) or, with `in_colour`, (*spatial, samples)."""

    array: np.ndarray
    in_colour: bool = False
    affine: np.ndarray | None = None


def _pillow_pages(path: Path) -> int:
    with Image.open(path) as file:
        return getattr(file, "n_frames", 1)


def _read_pillow(path: Path, page: int, as_label: bool) -> _Stored:
    with Image.open(path) as file:
        if page:
            file.seek(page)
        palette = file.mode in ("P", "PA") and not as_label  # a palette's indices are labels, but no intensities
        if palette or file.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
            array = np.asarray(file.convert("RGB"))
        else:
            array = np.asarray(file.convert("L") if file.mode == "1" else file)
    return _Stored(array, in_colour=array.ndim == 3)


def _tiff_pages(path: Path) -> int:
    with tifffile.TiffFile(path) as file:
        return len(file.pages)


def _read_tiff(path: Path, page: int, as_label: bool) -> _Stored:
    with tifffile.TiffFile(path) as file:
        stored = file.pages[page]
        array, axes = stored.asarray(), stored.axes
    if "S" in axes:
        return _Stored(np.moveaxis(array, axes.index("S"), -1), in_colour=True)
    return _Stored(array)


def _without_trailing_singletons(shape: tuple[int, ...]) -> tuple[int, ...]:
    while len(shape) > 2 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _nifti_pages(path: Path) -> int:
    shape = _without_trailing_singletons(nibabel.load(path).shape)
    return shape[3] if len(shape) == 4 else 1


def _read_nifti(path: Path, page: int, as_label: bool) -> _Stored:
    reader = NibabelReader()
    array, meta = reader.get_data(reader.read(path))
    array = array.reshape(_without_trailing_singletons(array.shape))
    if array.ndim == 4:
        array = array[..., page]
    return _Stored(_without_structure(array), affine=np.asarray(meta["affine"], dtype=np.float64))


def _without_structure(array: np.ndarray) -> np.ndarray:
    if array.dtype.fields:
        raise ValueError(f"its pixels are records {array.dtype.names}; expected plain numbers")
    return array.reshape(_without_trailing_singletons(array.shape))


class _Format(NamedTuple):
    count: Callable[[Path], int]
    read: Callable[[Path, int, bool], _Stored]


_PILLOW = _Format(_pillow_pages, _read_pillow)
_TIFF = _Format(_tiff_pages, _read_tiff)
_NIFTI = _Format(_nifti_pages, _read_nifti)
_FORMATS = {
    ".png": _PILLOW,
    ".jpg": _PILLOW,
    ".jpeg": _PILLOW,
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".nii": _NIFTI,
    ".nii.gz": _NIFTI,
}


def file_suffix(path: str | PathLike[str]) -> str:
    """Gives the extension that decides the format, in lower case: ".nii.gz" and ".ome.tif" count as one extension.

    >>> file_suffix("nuclei.day1.NII.gz"), file_suffix("a.b.tif"), file_suffix("a.ome.tif")
    ('.nii.gz', '.tif', '.ome.tif')
    """
    name = Path(path).name.lower()
    for double in (".nii.gz", ".ome.tif", ".ome.tiff"):
        if name.endswith(double):
            return double
    return Path(name).suffix


def _format_of(path: Path) -> _Format:
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise ImageReadError(f"path {str(path)!r} {found}; expected an image file")
    known = _FORMATS.get(file_suffix(path).removeprefix(".ome"))
    if known is None:
        raise ImageReadError(
            f"path {str(path)!r} has the extension {file_suffix(path)!r}; expected one of {', '.join(_FORMATS)}"
        )
    return known


def _decoded(path: Path, action: Callable[[], Any]) -> Any:
    """Runs a decoder: the libraries raise a dozen unrelated types for a damaged file, so all are told as one."""
    try:
        return action()
    except Exception as error:
        raise ImageReadError(
            f"path {str(path)!r} cannot be read ({type(error).__name__}: {error}); expected a complete, undamaged "
            f"{file_suffix(path)} file: write or copy it again"
        ) from error


def page_count(path: str | PathLike[str]) -> int:
    """Counts the pages of a file: TIFF pages, animation frames, or the entries of a NIfTI file's fourth axis.

    Raises:
        ImageReadError: If the file is missing, has an unsupported extension, or is unreadable.
    """
    path = Path(path)
    known = _format_of(path)
    return _decoded(path, lambda: known.count(path))


def _read(path: Path, page: int | None, as_label: bool) -> _Stored:
    known = _format_of(path)
    count = _decoded(path, lambda: known.count(path))
    if page is None and count != 1:
        raise ImageReadError(f"path {str(path)!r} has {count} pages; choose one with page=0 to page={count - 1}")
    if page is not None and not 0 <= page < count:
        raise ImageReadError(f"page is {page} but {str(path)!r} has {count} pages; expected 0 to {count - 1}")
    stored = _decoded(path, lambda: known.read(path, page or 0, as_label))
    spatial = stored.array.shape[:-1] if stored.in_colour else stored.array.shape
    if len(spatial) not in (2, 3) or 0 in spatial:
        raise ImageReadError(f"path {str(path)!r} has the shape {spatial}; expected a non-empty 2D or 3D image")
    return stored


def _tensor(stored: _Stored, channels: np.ndarray, path: Path, page: int | None) -> MetaTensor:
    meta = {
        "space": INDEX_SPACE if stored.affine is None else RAS_SPACE,
        "filename_or_obj": str(path),
        "page": -1 if page is None else page,
        "source_dtype": str(stored.array.dtype.newbyteorder("=")),
    }
    affine = np.eye(4) if stored.affine is None else stored.affine
    return MetaTensor(torch.from_numpy(np.ascontiguousarray(channels)), affine=torch.from_numpy(affine), meta=meta)


def read_image(
    path: str | PathLike[str], *, page: int | None = None, color: Literal["grey", "keep"] = "grey"
) -> MetaTensor:
    """Gives an image as a float32 tensor with the stored intensities (exact up to 24 bits), in row, column order.

    Convention: PNG, JPEG and TIFF have world == index: an identity affine and `meta["space"] == "index"`. NIfTI keeps
    its 4 x 4 affine and has `meta["space"] == "RAS"`; a trailing axis of length 1 is dropped, so a slice stays 2D.
    `meta["source_dtype"]` names the stored type, which `write_image` gives back.

    Colour becomes grey by the luminance 0.2125 R + 0.7154 G + 0.0721 B (`skimage.color.rgb2gray`), on the stored
    scale; an alpha channel is dropped. A TIFF colour map is ignored (microscopes use it for display only).

    Args:
        path: PNG, JPEG, TIFF (also LZW, OME, multi-page) or NIfTI file.
        page: Page to read, from 0; needed where the file has several.
        color: "grey" converts colour; "keep" gives colour as three channels.

    Returns:
        MetaTensor of shape (1, *spatial), or (3, *spatial) for colour with `color="keep"`.

    Raises:
        ImageReadError: If the file is missing, unsupported, damaged, constant, or has pixels that are not finite; if
            `page` does not exist, or is not given for a file with several pages.
    """
    path = Path(path)
    if color not in ("grey", "keep"):
        raise ValueError(f"color is {color!r}; expected 'grey' or 'keep'")
    stored = _read(path, page, as_label=False)
    if np.iscomplexobj(stored.array):
        raise ImageReadError(f"path {str(path)!r} has complex pixels; expected real ones: store the magnitude")
    values = stored.array.astype(np.float32)
    if stored.in_colour:
        values = _colour(values, path, color)
    else:
        values = values[None]
    _check_intensities(values, path)
    return _tensor(stored, values, path, page)


def _colour(values: np.ndarray, path: Path, color: str) -> np.ndarray:
    """Turns (*spatial, samples) into (channels, *spatial)."""
    samples = values.shape[-1]
    if samples > 4:
        raise ImageReadError(
            f"path {str(path)!r} has {samples} samples a pixel; expected 1 (grey) to 4 (RGBA): save the channels as "
            "pages"
        )
    if samples <= 2:  # grey, grey with alpha
        return values[None, ..., 0]
    if color == "keep":
        return np.moveaxis(values[..., :3], -1, 0)
    return rgb2gray(values[..., :3])[None]


def _check_intensities(values: np.ndarray, path: Path) -> None:
    wrong = values.size - int(np.isfinite(values).sum())
    if wrong:
        raise ImageReadError(
            f"path {str(path)!r} has {wrong} of {values.size} pixels that are NaN or infinite; expected finite ones: "
            "replace them before reading"
        )
    if values.min() == values.max():
        raise ImageReadError(
            f"path {str(path)!r} is constant (every pixel is {values.flat[0]:g}); expected an image with structure: "
            "leave it out"
        )


def read_label(path: str | PathLike[str], *, page: int | None = None) -> MetaTensor:
    """Gives a label image as an int32 tensor; 0 is background. A palette PNG gives its indices.

    Args:
        path: Grey PNG, TIFF or NIfTI file whose pixels are whole numbers.
        page: Page to read, from 0; needed where the file has several.

    Returns:
        MetaTensor of shape (1, *spatial), with the affine and space that `read_image` describes.

    Raises:
        ImageReadError: As for `read_image` (constant labels are allowed); also for colour, or values that are not
            whole numbers of 32 bits.
    """
    path = Path(path)
    stored = _read(path, page, as_label=True)
    if stored.in_colour and stored.array.shape[-1] > 1:
        raise ImageReadError(
            f"path {str(path)!r} has {stored.array.shape[-1]} samples a pixel; expected a grey image of label numbers: "
            "labels are not converted from colour"
        )
    values = stored.array[..., 0] if stored.in_colour else stored.array
    limits = np.iinfo(np.int32)
    with np.errstate(invalid="ignore"):
        whole = np.isfinite(values).all() and (values == np.rint(values)).all()
    if not whole or values.min() < limits.min or values.max() > limits.max:
        raise ImageReadError(
            f"path {str(path)!r} has values that are no 32-bit whole numbers; expected label numbers, 0 for background"
        )
    return _tensor(stored, values.astype(np.int32)[None], path, page)
