"""Sunnybrook Cardiac Data: cine MRI of 45 patients with outlines of the left ventricle.

Layout: DICOM files of a patient anywhere below a folder of the patient's name, numbered at their ends
(`SC-HF-I-1/IM-0004-0048.dcm`, `48.dcm`), and outlines `IM-0001-0048-icontour-manual.txt` (endocardium, at end diastole
ED and end systole ES) and `-ocontour-manual.txt` (epicardium, at ED) anywhere below a folder of the same name, where
`SC-HF-I-01` is `SC-HF-I-1`. Names `SCD0000101` are those that `scd_patientdata.csv` gives them (columns PatientID,
OriginalID). An outline belongs to the image of its number. Of several series, the one that has all outlined numbers is
the short axis, or of several such the one with the most files. A stack may hold all its time points or only those with
outlines.
Reference: Radau et al. 2009, The MIDAS Journal, hdl.handle.net/10380/3070; CC0.
"""

from __future__ import annotations

import csv
import logging
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..cine_slice import LABEL_NAMES, LV_CAVITY, LV_MYOCARDIUM, CineSlice, pixel_grid
from ..formats.dicom import PIXEL_SPACING, check_alike, read_headers, read_pixels
from ..readers import ImageReadError
from .contours import INNER, OUTER, ContourName, label_of, read_contour
from .short_axis import check_complete, phases_of, slices_of

__all__ = ["is_sunnybrook", "read_sunnybrook"]

_LABEL_NAMES = {number: LABEL_NAMES[number] for number in (LV_MYOCARDIUM, LV_CAVITY)}
_PATIENT = re.compile(r"(SC-(?:HF-I|HF-NI|HYP|N)-)0*(\d+)", re.IGNORECASE)
_DICOM = re.compile(r"(.*?)(\d+)\.dcm", re.IGNORECASE)
_NAMES = "scd_patientdata.csv"

logger = logging.getLogger(__name__)


@dataclass
class _Files:
    """The files of a patient: outlines, and DICOM files by their number in each folder and way of naming."""

    contours: dict[ContourName, Path] = field(default_factory=dict)
    series: dict[tuple[Path, str], dict[int, Path]] = field(default_factory=lambda: defaultdict(dict))

    def short_axis(self) -> dict[int, Path]:
        """The files of the series that the outlines belong to, by number."""
        numbers = {name.number for name in self.contours}
        best = max(len(numbers & files.keys()) for files in self.series.values())
        fitting = [files for files in self.series.values() if len(numbers & files.keys()) == best]
        most = max(map(len, fitting))
        largest = [files for files in fitting if len(files) == most]
        if len(largest) > 1:
            listed = ", ".join(repr(str(next(iter(files.values())))) for files in largest)
            raise ImageReadError(
                f"path {str(next(iter(largest[0].values())))!r} is of one of {len(largest)} series that could be the "
                f"short axis ({listed}); expected one with the most files: take the others out"
            )
        for name, path in self.contours.items():
            if name.number not in largest[0]:
                raise ImageReadError(
                    f"path {str(path)!r} is an outline of image {name.number}, which "
                    f"{str(next(iter(largest[0].values())).parent)!r} does not have; expected a DICOM file whose name "
                    f"ends with this number: add it, or take the outline out"
                )
        return dict(sorted(largest[0].items()))

    def label(self, number: int, shape: tuple[int, int]) -> Tensor:
        """The label (H, W) of an image by its outlines."""
        paths = (self.contours.get(ContourName(number, kind)) for kind in (INNER, OUTER))
        return label_of(shape, *(None if path is None else read_contour(path, shape) for path in paths))


def _patients(root: Path) -> dict[str, _Files]:
    """The files of every patient, by name."""
    original = _original_names(root)
    found: dict[str, _Files] = defaultdict(_Files)
    for path in sorted(root.rglob("*")):
        contour, image = ContourName.of(path), _DICOM.fullmatch(path.name)
        patient = _patient_of(path, root, original) if contour or image else None
        if patient is None or path.name.startswith("."):
            continue
        if contour:
            other = found[patient].contours.setdefault(contour, path)
        elif image:
            other = found[patient].series[path.parent, image[1]].setdefault(int(image[2]), path)
        if other != path:
            raise ImageReadError(
                f"path {str(path)!r} is of the same image of {patient} as {str(other)!r}; expected one file: take one "
                "of them out"
            )
    return dict(sorted(found.items()))


def _original_names(root: Path) -> dict[str, str]:
    table = next(iter(sorted(root.rglob(_NAMES))), None)
    if table is None:
        return {}
    with table.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"PatientID", "OriginalID"} <= rows[0].keys():
        raise ImageReadError(f"path {str(table)!r} has not the columns PatientID and OriginalID; copy it again")
    return {(row["PatientID"] or "").strip().upper(): (row["OriginalID"] or "").strip() for row in rows}


def _patient_of(path: Path, root: Path, original: Mapping[str, str]) -> str | None:
    """The name of the innermost folder that is a patient's."""
    for folder in reversed((root.resolve().name, *path.relative_to(root).parts[:-1])):
        match = _PATIENT.fullmatch(original.get(folder.upper(), folder))
        if match:
            return match[1].upper() + match[2]
    return None


def is_sunnybrook(root: Path) -> bool:
    """Says whether a folder holds DICOM files or outlines below a folder with a patient's name."""
    return bool(_patients(root))


def read_sunnybrook(root: Path) -> list[CineSlice]:
    """Reads Sunnybrook Cardiac Data. Patients without outlines are read; those without DICOM are left out.

    Convention: the time points of a slice are in the order of their trigger times; `phases_of` says which of them are
    ED and ES. A slice without outlines of a phase has None for it.

    Args:
        root: Folder as the module describes it.

    Returns:
        The slices, sorted by patient, then by number of their files; labels as the outlines enclose them, 2 and 3 where
        both were drawn.

    Raises:
        ImageReadError: If an outline has no image or is no outline, a slice lacks time points, the files of a patient
            differ in size, spacing or direction, or their numbers contradict their places.
    """
    found = []
    for patient, files in _patients(root).items():
        if files.series:
            found += _read_patient(patient, files)
        else:
            logger.warning("%s has outlines in %r but no DICOM files; left out", patient, str(root))
    if not found:
        raise ImageReadError(
            f"dataset_dir {str(root)!r} has outlines but no DICOM file below a folder of a patient's name; expected "
            f"SC-HF-I-1/IM-0004-0048.dcm, or SCD0000101/ with {_NAMES} beside it: add the images"
        )
    return found


def _read_patient(patient: str, files: _Files) -> list[CineSlice]:
    paths = files.short_axis()
    headers = dict(zip(paths, read_headers(list(paths.values())), strict=True))
    check_alike(list(headers.values()))
    stacks = slices_of(headers)
    outlined = {name.number: ContourName(name.number, OUTER) in files.contours for name in files.contours}
    check_complete(stacks, headers, set(outlined))
    folder = next(iter(files.contours.values())).parent if outlined else Path()
    phases = phases_of(stacks, headers, outlined, folder)
    row_spacing, column_spacing = headers[stacks[0][0]].numbers(PIXEL_SPACING)
    slices = []
    for k, (numbers, (ed, es)) in enumerate(zip(stacks, phases, strict=True)):
        images = torch.from_numpy(np.stack([read_pixels(headers[number]) for number in numbers]))
        shape = (images.shape[1], images.shape[2])
        slices.append(
            CineSlice(
                patient=patient,
                slice_number=k,
                images=images,
                labels={t: files.label(number, shape) for t, number in enumerate(numbers) if number in outlined},
                ed=ed,
                es=es,
                grid=pixel_grid(shape, (float(row_spacing), float(column_spacing))),
                label_names=_LABEL_NAMES,
            )
        )
    return slices
