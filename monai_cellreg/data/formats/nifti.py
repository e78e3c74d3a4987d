"""NIfTI by nibabel."""

from __future__ import annotations

import base64
import gzip
from pathlib import Path

import nibabel
import numpy as np
from nibabel.nifti1 import Nifti1Header

from .record import RAS_SPACE, ImageReadError, OpenOptions, Placed, Stored

_IN_MM = {"meter": 1e3, "mm": 1.0, "micron": 1e-3}  # ITK measures every NIfTI file in mm, so do we


class NiftiImage:
    """An opened NIfTI file; the entries of the fourth axis are its pages."""

    def __init__(self, path: Path, options: OpenOptions) -> None:
        self.path = path
        self.file = nibabel.load(path, keep_file_open=True)  # else every page decompresses the file from its beginning
        self.shape = _without_trailing_singletons(self.file.shape)
        self.pages = self.shape[3] if len(self.shape) == 4 else 1

    def read(self, page: int) -> Stored:
        if len(self.shape) == 4:
            full = (slice(None),) * 3 + (page,) + (0,) * (len(self.file.shape) - 4)
            array = np.asanyarray(self.file.dataobj[full])
        else:
            array = np.asanyarray(self.file.dataobj)
        if array.dtype.fields:
            raise ImageReadError(
                f"path {str(self.path)!r} has pixels that are records {array.dtype.names}; expected plain numbers: "
                "save the channels as files of their own"
            )
        array = array.reshape(_without_trailing_singletons(array.shape))
        header = Nifti1Header.from_header(self.file.header, check=False)
        affine = np.array(self.file.affine, dtype=np.float64)
        affine[:3] *= _unit_in_mm(header)
        kept = {"nifti": base64.b64encode(header.binaryblock).decode()}
        return Stored(array, affine=affine, space=RAS_SPACE, unit="mm", header=kept)

    def close(self) -> None:
        del self.file  # and with it the open file


def _without_trailing_singletons(shape: tuple[int, ...]) -> tuple[int, ...]:
    while len(shape) > 2 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _unit_in_mm(header: Nifti1Header) -> float:
    return _IN_MM.get(header.get_xyzt_units()[0], 1.0)


def write_nifti(temporary: Path, image: Placed, path: Path) -> None:
    """Writes a grey 2D or 3D image with the header fields of its source: description, units, codes of the affines.

    Raises:
        ValueError: For colour.
    """
    if image.array.shape[0] != 1:
        raise ValueError(f"image has the shape {image.array.shape}; NIfTI is written from (1, *spatial) in 2D or 3D")
    values = image.array[0]
    if values.dtype == np.int64:
        values = values.astype(np.int32)
    elif values.dtype in (np.bool_, np.float16):
        values = values.astype(np.uint8 if values.dtype == np.bool_ else np.float32)
    affine = image.affine_mm
    kept = image.header.get("nifti")
    header = Nifti1Header(base64.b64decode(kept), check=False) if kept else None
    if header is not None:
        affine[:3] /= _unit_in_mm(header)
        header.set_data_dtype(values.dtype)
    content = nibabel.Nifti1Image(values, affine, header)
    if header is not None and (header["sform_code"] or header["qform_code"]):
        content.set_sform(affine, int(header["sform_code"]))
        content.set_qform(affine, int(header["qform_code"]))
    plain = content.to_bytes()
    temporary.write_bytes(gzip.compress(plain, mtime=0) if path.name.lower().endswith(".gz") else plain)
