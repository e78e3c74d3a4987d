"""Cine MRI of the heart, from whichever of the known public layouts a folder has."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from .cine_slice import CineSlice
from .datasets import acdc, sunnybrook
from .readers import ImageReadError

__all__ = ["CineSlice", "read_cardiac"]

_LAYOUTS = (
    (acdc.is_acdc_nifti, acdc.read_acdc_nifti),
    (acdc.is_acdc_hdf5, acdc.read_acdc_hdf5),
    (sunnybrook.is_sunnybrook, sunnybrook.read_sunnybrook),
)


def read_cardiac(dataset_dir: str | PathLike[str]) -> list[CineSlice]:
    """Reads all slices of a cardiac data set.

    Args:
        dataset_dir: Folder of ACDC as published (NIfTI), of ACDC in HDF5, or of Sunnybrook Cardiac Data; see
            `monai_cellreg.data.datasets` for what each holds.

    Returns:
        The slices, sorted by patient, then by place in the stack.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ImageReadError: If it has none of the layouts, or a file is missing, damaged or contradicts another.
    """
    root = Path(dataset_dir)
    if not root.is_dir():
        raise FileNotFoundError(f"dataset_dir {str(root)!r} is not an existing folder; expected a cardiac data set")
    for fits, read in _LAYOUTS:
        if fits(root):
            return read(root)
    raise ImageReadError(
        f"dataset_dir {str(root)!r} has no known layout of a cardiac data set; expected ACDC (patient001/Info.cfg and "
        "patient001_frame01.nii.gz, in training/ and testing/ or directly), ACDC in HDF5 (patient001_frame01.h5 "
        "directly in it), or Sunnybrook (SC-HF-I-1/*.dcm and contours IM-0001-0048-icontour-manual.txt in a folder of "
        "the patient's name): give the folder that holds these"
    )
