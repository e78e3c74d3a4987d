"""DICOM series by SimpleITK's GDCM, read as one volume and written as a derived series.

Convention: as :mod:`.medical`: tensor axes are x (columns), y (rows), z (slices, along the normal), the affine leads to
RAS in millimetres.
"""

from __future__ import annotations

import locale
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from .medical import image_to_itk, itk_affine, stored_from_itk
from .record import RAS_SPACE, ImageReadError, OpenOptions, Placed, Stored

POSITION, ORIENTATION, PIXEL_SPACING = "0020|0032", "0020|0037", "0028|0030"
STUDY, SERIES, SERIES_DESCRIPTION, INSTANCE = "0020|000d", "0020|000e", "0008|103e", "0020|0013"
TOLERANCE = 0.01  # of the distance of slices
_ROOT_UID = "2.25."  # UIDs made of a UUID, DICOM PS3.5 B.2
TRIGGER_TIME, MODALITY = "0018|1060", "0008|0060"
LARGEST_STORED = 32000  # of fractions, which are stored as signed 16-bit numbers and a scale
STORED_AS = {"0028|0100": "16", "0028|0101": "16", "0028|0102": "15", "0028|0103": "1"}
KEPT_GROUPS = ("0010|",)  # the patient
KEPT = (  # the study, and what tells a reader how the pixels came about
    "0008|0020 0008|0021 0008|0030 0008|0050 0008|0060 0008|0070 0008|0090 0008|1030 0008|103e 0018|0015 0018|0050 "
    "0020|000d 0020|0010 0020|0011 0020|0052 0028|1050 0028|1051"
).split()


@contextmanager
def _kept_locale() -> Iterator[None]:
    """Takes back the locale that GDCM sets for the whole process, and with which Python reads text as ASCII."""
    before = locale.setlocale(locale.LC_ALL)
    try:
        yield
    finally:
        locale.setlocale(locale.LC_ALL, before)


def _information(path: Path) -> sitk.ImageFileReader:
    """A reader that has read a file's header."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return reader


def _tag(reader: sitk.ImageFileReader, key: str) -> str:
    return reader.GetMetaData(key).strip() if reader.HasMetaDataKey(key) else ""


def _has_preamble(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(128)
        return file.read(4) == b"DICM"


def holds_dicom(path: Path) -> bool:
    """Whether a path is a DICOM file, or a folder with one directly in it."""
    if path.is_dir():
        return any(_has_preamble(file) for file in path.iterdir() if file.is_file())
    return path.is_file() and _has_preamble(path)


class Slice(NamedTuple):
    """One file of a series, with its header."""

    path: Path
    header: sitk.ImageFileReader

    def numbers(self, key: str) -> np.ndarray:
        """The numbers of a tag."""
        return np.array([float(x) for x in _tag(self.header, key).split("\\") if x])

    def moment(self) -> tuple[float, ...]:
        """Sorts slices at one place by time."""
        return tuple(float(_tag(self.header, key) or 0) for key in (TRIGGER_TIME, INSTANCE))


class DicomSeries:
    """An opened series: a folder of one, or the series that one file belongs to.

    Where every place has the same number of slices, as in a film of the heart, its time points are pages.
    """

    @_kept_locale()
    def __init__(self, path: Path, options: OpenOptions) -> None:
        self.path = path
        self.stacks = _stacks([Slice(file, _information(file)) for file in _files_of(path)])
        self.pages = len(self.stacks)

    @_kept_locale()
    def read(self, page: int) -> Stored:
        slices = self.stacks[page]
        _check_slices(slices)
        first = slices[0].header
        if len(slices) == 1:
            image = first.Execute()
        else:
            series = sitk.ImageSeriesReader()
            series.SetFileNames([str(one.path) for one in slices])
            image = series.Execute()
        known = {key: first.GetMetaData(key).strip() for key in first.GetMetaDataKeys()}
        header = {"dicom": {k: v for k, v in known.items() if k in KEPT or k.startswith(KEPT_GROUPS)}}
        affine = itk_affine(image.GetSpacing(), image.GetDirection(), image.GetOrigin())
        return stored_from_itk(image, affine, self.path, header)

    def close(self) -> None:
        self.stacks = []


def _stacks(slices: list[Slice]) -> list[list[Slice]]:
    """The slices of each time point, along their normal; all in one stack where places are visited unequally often."""
    orientation = slices[0].numbers(ORIENTATION)
    positions = [one.numbers(POSITION) for one in slices]
    if len(orientation) != 6 or any(len(position) != 3 for position in positions):
        return [slices]
    heights = np.round(np.array(positions) @ np.cross(orientation[:3], orientation[3:]), 2)
    places = [[one for one, h in zip(slices, heights, strict=True) if h == height] for height in np.unique(heights)]
    if len(places) == len(slices) or len({len(place) for place in places}) > 1:
        return [slices]
    return [list(stack) for stack in zip(*(sorted(place, key=Slice.moment) for place in places), strict=True)]


def _files_of(path: Path) -> list[Path]:
    """The files of a series in the order of its slices."""
    folder = path if path.is_dir() else path.parent
    if path.is_dir():
        found = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
        if len(found) != 1:
            names = [sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series) for series in found]
            listed = "; ".join(
                f"{_tag(_information(Path(files[0])), SERIES_DESCRIPTION) or 'without description'}: {len(files)} "
                f"files, the first {Path(files[0]).name!r}"
                for files in names
            )
            raise ImageReadError(
                f"path {str(path)!r} holds {len(found)} DICOM series ({listed}); expected one: give the path of one "
                "file of the series that is meant"
            )
        series = found[0]
    else:
        series = _tag(_information(path), SERIES)
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series) if series else ()
    return [Path(file) for file in files] or [path]


@_kept_locale()
def read_headers(paths: Sequence[Path]) -> list[Slice]:
    """Reads the headers of files, one slice each.

    Raises:
        ImageReadError: If a file is damaged or no DICOM.
    """
    found = []
    for path in paths:
        try:
            found.append(Slice(path, _information(path)))
        except RuntimeError as error:
            raise _damaged(path, error) from error
    return found


@_kept_locale()
def read_pixels(one: Slice) -> np.ndarray:
    """The pixels (rows, columns) of a slice, float32.

    Raises:
        ImageReadError: If the file is damaged, or holds several slices or colour.
    """
    try:
        pixels = sitk.GetArrayFromImage(one.header.Execute())
    except RuntimeError as error:
        raise _damaged(one.path, error) from error
    if pixels.ndim != 3 or len(pixels) != 1:
        raise ImageReadError(f"path {str(one.path)!r} has pixels of the shape {pixels.shape}; expected one grey slice")
    return pixels[0].astype(np.float32)


def _damaged(path: Path, error: RuntimeError) -> ImageReadError:
    return ImageReadError(
        f"path {str(path)!r} cannot be read ({' '.join(str(error).split())}); expected a complete, undamaged DICOM "
        "file: write or copy it again"
    )


def _check_slices(slices: list[Slice]) -> None:
    """Whether the slices of a volume are parallel, of one size and equally spaced along their normal."""
    if len(slices) < 2:
        return
    check_alike(slices)
    _check_distances(slices)


def check_alike(slices: Sequence[Slice]) -> None:
    """Checks that slices are parallel, of one size and one pixel spacing, and have a position each.

    Raises:
        ImageReadError: If one differs from the first.
    """
    for key, what in ((ORIENTATION, "orientation"), (PIXEL_SPACING, "pixel spacing"), (POSITION, "position")):
        first = slices[0].numbers(key)
        for one in slices:
            value = one.numbers(key)
            same = len(value) == len(first) > 0 and (key == POSITION or np.allclose(value, first, rtol=1e-3, atol=1e-4))
            if not same:
                raise ImageReadError(
                    f"path {str(one.path)!r} has the {what} {value.tolist()}, but the first slice of its series, "
                    f"{slices[0].path.name!r}, {first.tolist()}; expected parallel slices of one pixel spacing with a "
                    "position each: take the file out of the series"
                )
    for one in slices:
        if one.header.GetSize()[:2] != slices[0].header.GetSize()[:2]:
            raise ImageReadError(
                f"path {str(one.path)!r} has the size {one.header.GetSize()[:2]} but the first slice of its series, "
                f"{slices[0].path.name!r}, {slices[0].header.GetSize()[:2]}; expected slices of one size: take the "
                "file out of the series"
            )


def _check_distances(slices: list[Slice]) -> None:
    """Whether slices are equally spaced along their normal."""
    orientation = slices[0].numbers(ORIENTATION)
    normal = np.cross(orientation[:3], orientation[3:])
    steps = np.diff([one.numbers(POSITION) for one in slices], axis=0)
    distance = float(np.median(steps @ normal))
    wrong = np.abs(steps - distance * normal).max(axis=1) > TOLERANCE * abs(distance)
    if distance == 0 or wrong.any():
        worst = int(np.argmax(wrong)) if wrong.any() else 0
        raise ImageReadError(
            f"path {str(slices[worst + 1].path)!r} lies {steps[worst].round(4).tolist()} mm from the slice before it, "
            f"the others {abs(distance):.4g} mm apart along their normal; expected equally spaced slices: find the "
            "missing or doubled slice, or resample the series first"
        )


@_kept_locale()
def write_dicom(temporary: Path, image: Placed, path: Path) -> None:
    """Writes a derived series: new UIDs, ImageType DERIVED, patient and study as in its source.

    A 2D image is one file; a volume is a folder of slices, which may replace a folder of nothing but such slices.
    Fractions are stored with the scale that DICOM calls rescale slope.

    Raises:
        ValueError: If the image has no anatomical space, or is colour.
        FileExistsError: If a folder with other files has the volume's name.
    """
    if image.space != RAS_SPACE or image.array.shape[0] != 1:
        raise ValueError(
            f"image has {image.array.shape[0]} channels in the space {image.space!r}; DICOM is written from a grey "
            "image in the space 'RAS': write .tif or .mha"
        )
    made = image_to_itk(image, as_volume=True)
    known = image.header.get("dicom", {})
    # without a modality GDCM writes the pixel spacing to a tag that no reader of volumes expects
    tags = {
        MODALITY: "OT",
        **known,
        SERIES: _uid(),
        STUDY: known.get(STUDY) or _uid(),
        "0008|0008": "DERIVED\\SECONDARY",
    }
    if image.array.dtype.kind == "f":
        largest = float(np.abs(image.array).max()) or 1.0
        made = sitk.Cast(made, sitk.sitkFloat64)
        tags |= {"0028|1052": "0", "0028|1053": f"{largest / LARGEST_STORED:.8g}", **STORED_AS}
    if image.spatial_dims == 2:
        _write_slice(made, 0, tags, temporary)
        return
    if path.exists() and any(not holds_dicom(file) for file in path.iterdir()):
        raise FileExistsError(f"path {str(path)!r} is a folder with other files in it; expected a name that is free")
    temporary.mkdir()
    for k in range(made.GetDepth()):
        _write_slice(made, k, tags, temporary / f"slice{k:04d}.dcm")


def _write_slice(volume: sitk.Image, k: int, tags: dict[str, str], path: Path) -> None:
    size = volume.GetSize()
    plane = sitk.Extract(volume, [size[0], size[1], 1], [0, 0, k])
    direction = np.reshape(volume.GetDirection(), (3, 3))
    position = volume.TransformIndexToPhysicalPoint((0, 0, k))
    own = {
        "0008|0018": _uid(),
        INSTANCE: str(k + 1),
        POSITION: "\\".join(f"{x:.8g}" for x in position),
        ORIENTATION: "\\".join(f"{x:.8g}" for x in direction[:, :2].T.ravel()),
        "0018|0088": f"{volume.GetSpacing()[2]:.8g}",
    }
    for key, value in {**tags, **own}.items():
        plane.SetMetaData(key, value)
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(path))
    writer.Execute(plane)


def _uid() -> str:
    return f"{_ROOT_UID}{uuid.uuid4().int}"
