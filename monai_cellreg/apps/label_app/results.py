"""What a model answers: one file that is sent and then deleted, and facts for the JSON part."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from monai.data import MetaTensor

from ...data import read_image, write_image
from ...data.formats import file_suffix
from ...geometry import SamplingGrid
from ...methods import Registration, judge
from ...report import Verdict
from ...report.verdict import LEVELS
from ...utils import check_choice
from .itk_files import ItkPlace

__all__ = [
    "Answer",
    "Clock",
    "asked_suffix",
    "facts",
    "finite",
    "image_suffix",
    "picture_grid",
    "temporary_file",
    "verdict_told",
    "whole_type",
    "write_scanner",
    "write_volume",
]

Answer = tuple[str, dict[str, Any]]
"""Path of the file and JSON part, as MONAI Label expects them of a model."""

SCANNER_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
PICTURE_SUFFIXES = (".png", ".tif", ".tiff", ".ome.tif", ".ome.tiff")
IMAGE_SUFFIXES = (*SCANNER_SUFFIXES, *PICTURE_SUFFIXES)
WHOLE_TYPES = ("uint8", "uint16", "uint32", "int8", "int16", "int32")
"""Number types of label maps that every reader of medical images knows."""
ENOUGH = ("uint8", "uint16", "int16", "int32")
"""Those that are taken where the one asked for is too small, smallest first."""


class Clock:
    """Seconds of the steps of an answer."""

    def __init__(self) -> None:
        self.start = self.last = time.perf_counter()
        self.steps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """Ends a step."""
        now = time.perf_counter()
        self.steps[name] = round(now - self.last, 3)
        self.last = now

    @property
    def latencies(self) -> dict[str, float]:
        """Seconds by step, and their total."""
        return {**self.steps, "total": round(self.last - self.start, 3)}


def asked_suffix(request: Mapping[str, Any], known: Sequence[str], default: str) -> str:
    """The extension that a request asks for as ``result_extension``.

    Raises:
        ValueError: when it is not among ``known``.
    """
    suffix = request.get("result_extension") or default
    check_choice("result_extension", suffix, known)
    return str(suffix)


def image_suffix(request: Mapping[str, Any], image: Path) -> str:
    """The extension of an image or label map that is sent: the one asked for, else that of the image or of its kind.

    Raises:
        ValueError: for one that cannot be written.
    """
    own = file_suffix(image)
    default = own if own in IMAGE_SUFFIXES else ".png" if own in (".jpg", ".jpeg", ".gif") else ".nii.gz"
    return asked_suffix(request, IMAGE_SUFFIXES, default)


@contextmanager
def temporary_file(suffix: str) -> Iterator[Path]:
    """A file that outlives the block, for MONAI Label to send and delete, unless the block fails."""
    handle, name = tempfile.mkstemp(suffix=suffix)
    os.close(handle)
    try:
        yield Path(name)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def whole_type(array: np.ndarray, asked: object) -> tuple[str, str]:
    """The number type of a label map, and a note where it is not the one asked for.

    Args:
        array: whole numbers.
        asked: name of a type; the smallest that holds them when empty.

    Raises:
        ValueError: for another type.
    """
    if asked:
        check_choice("result_dtype", asked, WHOLE_TYPES)
    low, high = int(array.min()), int(array.max())
    wanted = [str(asked)] if asked else []
    dtype = next(n for n in (*wanted, *ENOUGH) if np.iinfo(n).min <= low and high <= np.iinfo(n).max)
    if not asked or dtype == asked:
        return dtype, ""
    return dtype, f"result_dtype is {asked} but labels range from {low} to {high}; they are written as {dtype}."


def write_scanner(image: sitk.Image, suffix: str, *, compress: bool = True) -> Path:
    """Writes an image of ITK's to a temporary file in a format of scanners."""
    with temporary_file(suffix) as path:
        sitk.WriteImage(image, str(path), useCompression=compress)
        return path


def write_volume(image: Path, array: np.ndarray, place: ItkPlace, suffix: str, *, compress: bool = True) -> Path:
    """Writes an image on the grid of another one: formats of scanners where ITK sees it, pictures pixel on pixel.

    Args:
        image: file whose grid, pixel size and names are kept.
        array: in the order of SimpleITK's, channels last, in its final number type.
        place: of the file.
        suffix: extension of what is written.
        compress: formats of scanners are compressed.

    Returns:
        A temporary file.

    Raises:
        ValueError: when the format cannot hold the image.
    """
    if suffix in SCANNER_SUFFIXES:
        return write_scanner(place.image(array), suffix, compress=compress)
    like = read_image(image, color="keep", allow_constant=True)
    in_colour = array.ndim > like.ndim - 1
    values = np.moveaxis(array, -1, 0) if in_colour else array[None]
    values = values.astype("int32" if values.dtype.kind in "iu" else "float32")  # torch has no uint16
    meta = {"source_dtype": str(array.dtype), "header": like.meta["header"]}
    with temporary_file(suffix) as path:
        write_image(path, picture_grid(like).to_image(MetaTensor(torch.from_numpy(values), meta=meta)))
        return path


def picture_grid(image: MetaTensor) -> SamplingGrid:
    """The grid of an image as a picture has it: rows first, and no more than a pixel size."""
    grid = SamplingGrid.from_image(image)
    if grid.frame == "index":
        return grid
    return SamplingGrid(grid.shape[::-1], np.diag([*grid.spacing[::-1], 1.0]), "index", grid.unit)


def facts(registration: Registration, reference: str, clock: Clock) -> dict[str, Any]:
    """What is told of a registration, besides names of labels."""
    return {
        "reference": reference,
        "method": registration.method,
        "metrics": finite(registration.metrics),
        "verdict": verdict_told([judge(registration)]),
        "account": list(registration.account),
        "latencies": clock.latencies,
    }


def verdict_told(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """The gravest level of some verdicts with its words, and the sentences of all."""
    worst = max(verdicts, key=lambda verdict: list(LEVELS).index(verdict.level))
    reasons = dict.fromkeys(reason for verdict in verdicts for reason in verdict.reasons)
    return {"level": worst.level, "headline": worst.headline, "reasons": list(reasons)}


def finite(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Figures for JSON, which has no word for those that are not finite: None."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in figures.items()}
