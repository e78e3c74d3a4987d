"""Which extension is which format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from .arrays import ArrayFile, write_array
from .dicom import DicomSeries, holds_dicom, write_dicom
from .medical import MedicalImage, write_medical
from .nifti import NiftiImage, write_nifti
from .pictures import PictureFile, write_picture
from .record import ImageReadError, OpenedImage, OpenOptions, Placed, Stored
from .tiff import TiffImage, write_tiff
from .video import VideoFile

Writer = Callable[[Path, Placed, Path], None]
"""Writes an image to a temporary path; the last argument is the final one, for the error texts."""


class Format(NamedTuple):
    """One file format; `write` is None where we only read."""

    open: Callable[[Path, OpenOptions], OpenedImage]
    write: Writer | None


_PICTURE = Format(PictureFile, write_picture)
_TIFF = Format(TiffImage, write_tiff)
_NIFTI = Format(NiftiImage, write_nifti)
_MEDICAL = Format(MedicalImage, write_medical)
_ARRAY = Format(ArrayFile, write_array)
_DICOM = Format(DicomSeries, write_dicom)
_VIDEO = Format(VideoFile, None)
FORMATS = {
    ".png": _PICTURE,
    ".jpg": _PICTURE,
    ".jpeg": _PICTURE,
    ".gif": Format(PictureFile, None),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".nii": _NIFTI,
    ".nii.gz": _NIFTI,
    ".mha": _MEDICAL,
    ".mhd": _MEDICAL,
    ".nrrd": _MEDICAL,
    ".dcm": _DICOM,
    ".npy": _ARRAY,
    ".npz": _ARRAY,
    ".mp4": _VIDEO,
    ".avi": _VIDEO,
    ".mov": _VIDEO,
    ".mkv": _VIDEO,
    ".webm": _VIDEO,
}
DOUBLE_SUFFIXES = (".nii.gz", ".ome.tif", ".ome.tiff")
SUFFIXES = (*FORMATS, ".ome.tif", ".ome.tiff")


def file_suffix(path: str | PathLike[str]) -> str:
    """Gives the extension that decides the format, in lower case: ".nii.gz" and ".ome.tif" count as one extension.

    >>> file_suffix("nuclei.day1.NII.gz"), file_suffix("a.b.tif"), file_suffix("a.ome.tif")
    ('.nii.gz', '.tif', '.ome.tif')
    """
    name = Path(path).name.lower()
    for double in DOUBLE_SUFFIXES:
        if name.endswith(double):
            return double
    return Path(name).suffix


def is_dicom(path: str | PathLike[str]) -> bool:
    """Says whether a path is a DICOM file, whatever its extension, or a folder that holds one."""
    return holds_dicom(Path(path))


def _format_of(path: Path) -> Format:
    known = FORMATS.get(file_suffix(path).removeprefix(".ome"))
    if path.is_file() and known is not None:
        return known
    if path.exists() and holds_dicom(path):
        return _DICOM
    if not path.is_file():
        found = "is a folder without DICOM files" if path.is_dir() else "does not exist"
        raise ImageReadError(f"path {str(path)!r} {found}; expected an image file, or the folder of a DICOM series")
    raise ImageReadError(
        f"path {str(path)!r} has the extension {file_suffix(path)!r}; expected one of {', '.join(FORMATS)}, or DICOM"
    )


def writer_for(path: Path) -> Writer:
    """The writer of the format that an extension names; no extension is the folder of a DICOM series.

    Raises:
        ValueError: If no format that we write has the extension.
    """
    suffix = file_suffix(path).removeprefix(".ome")
    known = _DICOM if suffix == "" else FORMATS.get(suffix)
    if known is None or known.write is None:
        writable = ", ".join(name for name, entry in FORMATS.items() if entry.write)
        raise ValueError(
            f"path {str(path)!r} has the extension {suffix!r}; expected one of {writable}, or none for a DICOM series"
        )
    return known.write


def _decoded(path: Path, action: Callable[[], Any]) -> Any:
    """Runs a decoder: the libraries raise a dozen unrelated types for a damaged file, so all are told as one."""
    try:
        return action()
    except ImageReadError:
        raise
    except Exception as error:
        raise ImageReadError(
            f"path {str(path)!r} cannot be read ({type(error).__name__}: {' '.join(str(error).split())}); expected a "
            f"complete, undamaged {file_suffix(path) or 'DICOM'} file: write or copy it again"
        ) from error


class _Checked:
    """An opened file whose every failure names the file."""

    def __init__(self, path: Path, opened: OpenedImage) -> None:
        self.path, self.opened, self.pages = path, opened, opened.pages

    def read(self, page: int) -> Stored:
        return _decoded(self.path, lambda: self.opened.read(page))

    def close(self) -> None:
        self.opened.close()


@contextmanager
def open_image(path: Path, options: OpenOptions) -> Iterator[OpenedImage]:
    """Opens a file of any known format, and closes it when the block ends.

    Raises:
        ImageReadError: If the file is missing, of no known format or damaged, or has no such channel.
    """
    known = _format_of(path)
    if options.channel is not None and known is not _TIFF:
        raise ImageReadError(
            f"channel is {options.channel} but {str(path)!r} has no channel axis; expected a TIFF with channels: "
            "leave channel out"
        )
    opened = _Checked(path, _decoded(path, lambda: known.open(path, options)))
    try:
        yield opened
    finally:
        opened.close()
