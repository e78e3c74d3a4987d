"""What each file format holds and how it is written; `read_image` and `write_image` are the doors to it."""

from .record import INDEX_SPACE, RAS_SPACE, ImageReadError, OpenedImage, OpenOptions, Placed, Stored
from .table import SUFFIXES, file_suffix, is_dicom, open_image, writer_for

__all__ = [
    "INDEX_SPACE",
    "RAS_SPACE",
    "SUFFIXES",
    "ImageReadError",
    "OpenOptions",
    "OpenedImage",
    "Placed",
    "Stored",
    "file_suffix",
    "is_dicom",
    "open_image",
    "writer_for",
]
