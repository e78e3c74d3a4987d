"""Reading of images and labels from any file that microscopes and scanners leave, in one order of axes."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from monai.data import MetaTensor
from skimage.color import rgb2gray

from ..geometry import SamplingGrid
from ..utils import check_choice
from .formats import (
    INDEX_SPACE,
    RAS_SPACE,
    ImageReadError,
    OpenedImage,
    OpenOptions,
    Stored,
    file_suffix,
    open_image,
)

__all__ = [
    "INDEX_SPACE",
    "RAS_SPACE",
    "ImageReadError",
    "file_suffix",
    "page_count",
    "read_grid",
    "read_image",
    "read_label",
    "read_page",
]

Color = Literal["grey", "keep"]


def page_count(path: str | PathLike[str]) -> int:
    """Counts the pages of a file: TIFF time points, channels and pages, frames of an animation, a fourth axis.

    Raises:
        ImageReadError: If the file is missing, has an unsupported extension, or is unreadable.
    """
    with open_image(Path(path), OpenOptions()) as file:
        return file.pages


def read_grid(path: str | PathLike[str], *, page: int | None = None) -> SamplingGrid:
    """Gives where a file's image lies, whatever its pixels hold.

    Args:
        path: As for `read_image`.
        page: Page, from 0; the first when omitted.

    Raises:
        ImageReadError: If the file is missing, unsupported or damaged, or `page` does not exist.
    """
    path = Path(path)
    stored = _read(path, page or 0, OpenOptions())
    spatial = stored.array.shape[:-1] if stored.in_colour else stored.array.shape
    return SamplingGrid.from_image(_tensor(stored, np.broadcast_to(np.float32(0), (1, *spatial)), path, page))


def read_image(
    path: str | PathLike[str],
    *,
    page: int | None = None,
    channel: int | None = None,
    color: Color = "grey",
    allow_constant: bool = False,
) -> MetaTensor:
    """Gives an image as a float32 tensor with the stored intensities (exact up to 24 bits) and its place in the world.

    Convention: PNG, JPEG, GIF, TIFF, NumPy and films come in row, column order, volumes as plane, row, column; world is
    index times pixel size and `meta["space"] == "index"`. The pixel size is that of OME, ImageJ or a TIFF's resolution
    in micrometres (`meta["unit"]` is "µm"), else 1 ("px"). NIfTI, MHA, MHD, NRRD and DICOM come in the file's order
    i, j, k (x, y, z) with an affine to RAS in millimetres; the same image gives the same tensor from each of them. A
    last axis of one slice is dropped, so a slice is 2D.

    Pages are time points (also of DICOM), unnamed pages, animation frames or a fourth axis; channels of a TIFF count as
    pages as well, unless `channel` chooses one. A stack along Z is a volume. `meta["source_dtype"]` names the stored
    type and `meta["header"]` holds the file's other facts, which `write_image` gives back.

    Colour becomes grey by the luminance 0.2125 R + 0.7154 G + 0.0721 B (`skimage.color.rgb2gray`), on the stored
    scale; an alpha channel is dropped. A TIFF colour map is ignored (microscopes use it for display only).

    Args:
        path: PNG, JPEG, GIF, TIFF (also LZW, OME, ImageJ, multi-page), NIfTI, MHA, MHD, NRRD, .npy, .npz with one
            array, a film, or DICOM: the folder of one series, or one file of it.
        page: Page to read, from 0; needed where the file has several.
        channel: Channel of a TIFF with a channel axis, from 0.
        color: "grey" converts colour; "keep" gives colour as three channels.
        allow_constant: Takes an image without any structure too.

    Returns:
        MetaTensor of shape (1, *spatial), or (3, *spatial) for colour with `color="keep"`.

    Raises:
        ImageReadError: If the file is missing, unsupported, damaged, constant, or has pixels that are not finite; if
            `page` does not exist, or is not given for a file with several pages; if a folder holds several DICOM
            series, or a series whose slices are not equally spaced.
    """
    path = Path(path)
    check_choice("color", color, ("grey", "keep"))
    stored = _read(path, page, OpenOptions(channel=channel))
    return _image(stored, path, page, color=color, allow_constant=allow_constant)


def read_page(file: OpenedImage, path: Path, page: int, *, color: Color = "grey") -> MetaTensor:
    """Gives one page of an open file as `read_image` would; a constant one as well.

    Raises:
        ImageReadError: If the page is damaged or has pixels that are not finite.
    """
    return _image(_checked(file.read(page), path), path, page, color=color, allow_constant=True)


def _read(path: Path, page: int | None, options: OpenOptions) -> Stored:
    with open_image(path, options) as file:
        if page is None and file.pages != 1:
            raise ImageReadError(
                f"path {str(path)!r} has {file.pages} pages; choose one with page=0 to page={file.pages - 1}"
            )
        if page is not None and not 0 <= page < file.pages:
            raise ImageReadError(
                f"page is {page} but {str(path)!r} has {file.pages} pages; expected 0 to {file.pages - 1}"
            )
        return _checked(file.read(page or 0), path)


def _checked(stored: Stored, path: Path) -> Stored:
    spatial = stored.array.shape[:-1] if stored.in_colour else stored.array.shape
    if len(spatial) not in (2, 3) or 0 in spatial:
        raise ImageReadError(f"path {str(path)!r} has the shape {spatial}; expected a non-empty 2D or 3D image")
    return stored


def _tensor(stored: Stored, channels: np.ndarray, path: Path, page: int | None) -> MetaTensor:
    meta = {
        "space": stored.space,
        "unit": stored.unit,
        "filename_or_obj": str(path),
        "page": -1 if page is None else page,
        "source_dtype": str(stored.array.dtype.newbyteorder("=")),
        "header": stored.header_text(),
    }
    affine = np.eye(4) if stored.affine is None else stored.affine
    return MetaTensor(torch.from_numpy(np.ascontiguousarray(channels)), affine=torch.from_numpy(affine), meta=meta)


def _image(stored: Stored, path: Path, page: int | None, *, color: Color, allow_constant: bool) -> MetaTensor:
    """A page as intensities, checked."""
    if np.iscomplexobj(stored.array):
        raise ImageReadError(f"path {str(path)!r} has complex pixels; expected real ones: store the magnitude")
    values = stored.array.astype(np.float32)
    values = _colour(values, path, color) if stored.in_colour else values[None]
    _check_intensities(values, path, allow_constant=allow_constant)
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


def _check_intensities(values: np.ndarray, path: Path, *, allow_constant: bool) -> None:
    wrong = values.size - int(np.isfinite(values).sum())
    if wrong:
        raise ImageReadError(
            f"path {str(path)!r} has {wrong} of {values.size} pixels that are NaN or infinite; expected finite ones: "
            "replace them before reading"
        )
    if values.min() == values.max() and not allow_constant:
        raise ImageReadError(
            f"path {str(path)!r} is constant (every pixel is {values.flat[0]:g}); expected an image with structure: "
            "leave it out"
        )


def read_label(path: str | PathLike[str], *, page: int | None = None, channel: int | None = None) -> MetaTensor:
    """Gives a label image as an int32 tensor; 0 is background. A palette PNG gives its indices.

    Args:
        path: Grey file of whole numbers, in any format of `read_image`.
        page: Page to read, from 0; needed where the file has several.
        channel: Channel of a TIFF with a channel axis, from 0.

    Returns:
        MetaTensor of shape (1, *spatial), with the affine and space that `read_image` describes.

    Raises:
        ImageReadError: As for `read_image` (constant labels are allowed); also for colour, or values that are not
            whole numbers of 32 bits.
    """
    path = Path(path)
    stored = _read(path, page, OpenOptions(as_label=True, channel=channel))
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
