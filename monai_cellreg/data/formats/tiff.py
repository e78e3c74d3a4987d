"""TIFF, OME-TIFF and ImageJ's TIFF by tifffile.

Convention: world == index * pixel size, in micrometres, where the file says how large its pixels are: OME's
PhysicalSize, ImageJ's unit, or the resolution tags in pixels a centimetre or inch. The latter are believed only below
`FINEST_PRINT_UM` a pixel, because cameras and editors write 72 or 300 dots an inch into pictures of anything.

Axes: Y and X are rows and columns, Z is the first axis of a volume, S is colour; all others (time, channels, unnamed)
are pages, counted in the order of the file. A channel chosen on opening is taken out of that count.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from ...geometry.grid import DECIMALS
from .record import ImageReadError, OpenOptions, Placed, Stored

FINEST_PRINT_UM = 20.0  # 1270 dots an inch
_IMAGEJ_UNITS = {"micron": "µm", "microns": "µm", "\\u00b5m": "µm", "μm": "µm"}  # the last is a Greek letter
_RESOLUTION_UM = {2: 25400.0, 3: 10000.0}  # inch, centimetre
_IMAGEJ_TYPES = ("uint8", "uint16", "float32")
_KEPT_OME = ("Name", "Description", "AcquisitionDate")


class TiffImage:
    """An opened TIFF; see the module for its pages."""

    def __init__(self, path: Path, options: OpenOptions) -> None:
        self.path, self.channel = path, options.channel
        self.file = tifffile.TiffFile(path)
        _check_parts(self.file, path)
        self.size_um, self.header = _pixel_size_um(self.file), _header(self.file)
        self.series = self.file.series[0] if len(self.file.series) == 1 else None
        if self.series is None:  # pages of several sizes: each stands alone
            self._check_channel("", ())
            self.pages = len(self.file.pages)
            return
        axes, shape = self.series.axes, self.series.shape
        paged = [k for k, axis in enumerate(axes) if axis not in "ZYXS"]
        if options.as_movie and not paged and "Z" in axes:
            paged = [axes.index("Z")]
        self._check_channel(axes, shape)
        self.paged = [k for k in paged if axes[k] != "C" or self.channel is None]
        if options.as_movie and len(self.paged) > 1:
            raise ImageReadError(
                f"path {str(path)!r} has the axes {axes!r} of the sizes {shape}; expected one axis besides those of "
                "the pictures: choose a channel"
            )
        self.pages = int(np.prod([shape[k] for k in self.paged], dtype=int))

    def _check_channel(self, axes: str, shape: tuple[int, ...]) -> None:
        if self.channel is None:
            return
        count = shape[axes.index("C")] if "C" in axes else 1
        if not 0 <= self.channel < count:
            raise ImageReadError(
                f"channel is {self.channel} but {str(self.path)!r} has {count} (axes {axes!r}); expected 0 to "
                f"{count - 1}"
            )

    def read(self, page: int) -> Stored:
        if self.series is None:
            stored = self.file.pages[page]
            return self._stored(stored.asarray(), stored.axes)
        axes, shape = self.series.axes, self.series.shape
        at = np.unravel_index(page, [shape[k] for k in self.paged]) if self.paged else ()
        chosen: list[Any] = [slice(None)] * len(axes)
        for k, position in zip(self.paged, at, strict=True):
            chosen[k] = int(position)
        if self.channel is not None and "C" in axes:
            chosen[axes.index("C")] = self.channel
        left = "".join(axis for axis, part in zip(axes, chosen, strict=True) if isinstance(part, slice))
        return self._stored(self._read_part(chosen), left)

    def _read_part(self, chosen: list[Any]) -> np.ndarray:
        """The part of the series that one index or slice an axis asks for, reading no other planes where it can."""
        plane_axes = self.series.keyframe.axes
        leading = len(chosen) - len(plane_axes)
        planes = self.series.shape[:leading] if leading >= 0 else ()
        whole_planes = all(part == slice(None) for part in chosen[leading:]) if leading >= 0 else False
        if not self.series.axes.endswith(plane_axes) or not whole_planes or len(self.series.pages) != np.prod(planes):
            return np.asarray(self._everything()[tuple(chosen)])
        wanted = np.arange(len(self.series.pages)).reshape(planes)[tuple(chosen[:leading])]
        read = [self.series.pages[int(k)].asarray() for k in np.ravel(wanted)]
        return np.stack(read).reshape(*np.shape(wanted), *read[0].shape)

    def _everything(self) -> np.ndarray:
        """The whole series; ImageJ's stacks above 4 GB, which have one page only, stay on the disk."""
        if self.series.dataoffset is not None:
            return tifffile.memmap(self.path, series=0, mode="r")
        return self.series.asarray()

    def _stored(self, array: np.ndarray, axes: str) -> Stored:
        in_colour = "S" in axes
        if in_colour:
            array = np.moveaxis(array, axes.index("S"), -1)
        if array.ndim - in_colour == 3 and array.shape[0] == 1:
            array = array[0]
        if self.size_um is None:
            return Stored(array, in_colour, header=self.header)
        dims = array.ndim - in_colour
        affine = np.diag([*self.size_um[3 - dims :], *[1.0] * (4 - dims)])
        return Stored(array, in_colour, affine, unit="µm", header=self.header)

    def close(self) -> None:
        self.file.close()


def _check_parts(file: tifffile.TiffFile, path: Path) -> None:
    """Checks that an OME-TIFF names no files of other folders as its parts: whoever sends one could read them by it."""
    named = re.findall(r"FileName\s*=\s*[\"']([^\"']*)", file.ome_metadata or "") if file.is_ome else []
    elsewhere = [name for name in named if re.search(r"[/\\&]", name)]  # & may stand for either
    if elsewhere:
        file.close()
        raise ImageReadError(
            f"path {str(path)!r} names {elsewhere[0]!r} as a part of it; expected parts in its own folder. Save the "
            "image as one file"
        )


def _pixel_size_um(file: tifffile.TiffFile) -> tuple[float, float, float] | None:
    """Size of a voxel along z, y and x; z is that of x where the file does not say it. None where it says nothing."""
    sizes: tuple[float, ...] | None
    if file.is_ome:
        sizes = _ome_size_um(_ome_image(file).get("Pixels", {}))
    elif file.is_imagej:
        sizes = _imagej_size_um(file)
    else:
        sizes = _print_size_um(file)
    if sizes is None or not all(np.isfinite(s) and s > 0 for s in sizes):
        return None
    return (float(sizes[0]), float(sizes[1]), float(sizes[2]))


def _ome_image(file: tifffile.TiffFile) -> dict[str, Any]:
    """The description of the first image of an OME-TIFF."""
    images = tifffile.xml2dict(file.ome_metadata).get("OME", {}).get("Image", {})
    return images[0] if isinstance(images, list | tuple) else images


def _ome_size_um(pixels: dict[str, Any]) -> tuple[float, ...] | None:
    sizes = []
    for axis in "XYZ":
        unit = str(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        if f"PhysicalSize{axis}" in pixels and unit in DECIMALS:
            sizes.append(float(pixels[f"PhysicalSize{axis}"]) * 10.0 ** (DECIMALS[unit] + 6))
        elif sizes:
            sizes.append(sizes[0])
        else:
            return None
    return tuple(sizes[::-1])


def _imagej_size_um(file: tifffile.TiffFile) -> tuple[float, ...] | None:
    known = file.imagej_metadata or {}
    unit = str(known.get("unit", ""))
    unit = _IMAGEJ_UNITS.get(unit.lower(), unit)
    resolution = _resolution(file)
    if unit not in DECIMALS or resolution is None:
        return None
    y, x = (10.0 ** (DECIMALS[unit] + 6) / r for r in resolution)
    z = abs(float(known.get("spacing", 0))) * 10.0 ** (DECIMALS[unit] + 6)
    return (z or x, y, x)


def _print_size_um(file: tifffile.TiffFile) -> tuple[float, ...] | None:
    tag, resolution = file.pages[0].tags.get("ResolutionUnit"), _resolution(file)
    unit = _RESOLUTION_UM.get(int(tag.value)) if tag is not None else None
    if unit is None or resolution is None:
        return None
    y, x = (unit / r for r in resolution)
    return (x, y, x) if max(x, y) <= FINEST_PRINT_UM else None


def _resolution(file: tifffile.TiffFile) -> tuple[float, float] | None:
    """Pixels a unit along y and x."""
    found = []
    for name in ("YResolution", "XResolution"):
        tag = file.pages[0].tags.get(name)
        if tag is None or not tag.value[0] or not tag.value[1]:
            return None
        found.append(tag.value[0] / tag.value[1])
    return (found[0], found[1])


def _header(file: tifffile.TiffFile) -> dict[str, Any]:
    """What the writer gives back: the kind of file, names and descriptions, and the time between frames."""
    if file.is_ome:
        image = _ome_image(file)
        pixels = image.get("Pixels", {})
        header = {"kind": "ome", "ome": {key: str(image[key]) for key in _KEPT_OME if key in image}}
        channels = pixels.get("Channel", [])
        names = [c.get("Name") for c in (channels if isinstance(channels, list | tuple) else [channels])]
        if len(names) == 1 and names[0]:
            header["ome"]["Channel"] = {"Name": str(names[0])}
        step, unit = pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit", "s")
        seconds = float(step) * {"s": 1.0, "ms": 1e-3, "min": 60.0, "h": 3600.0}.get(unit, np.nan) if step else np.nan
    elif file.is_imagej:
        header, seconds = {"kind": "imagej"}, float((file.imagej_metadata or {}).get("finterval", np.nan))
    else:
        header, seconds = {"kind": "plain"}, np.nan
        description = file.pages[0].description
        if description and not file.is_shaped:
            header["description"] = description
    return {**header, "seconds_per_frame": seconds} if np.isfinite(seconds) and seconds > 0 else header


def ome_metadata(image: Placed) -> dict[str, Any]:
    """What OME-XML says of a picture: its axes, its pixel size and the names that its source had."""
    known = dict(image.header.get("ome", {}))
    known["axes"] = "ZYX"[-image.spatial_dims :] + ("S" if image.array.shape[0] > 1 else "")
    for axis, size in zip("XYZ", (image.spacing_um or ())[::-1], strict=False):
        known |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": "µm"}
    return known


def write_tiff(temporary: Path, image: Placed, path: Path) -> None:
    """Writes OME-TIFF where the name says so, else ImageJ's TIFF for volumes and where the source was one, else plain.

    Raises:
        ValueError: If the format cannot hold the shape or the number type.
    """
    array, volume = image.samples_last, image.spatial_dims == 3
    if image.array.shape[0] not in (1, 3) or (volume and image.array.shape[0] == 3):
        raise ValueError(
            f"image has the shape {image.array.shape}; TIFF is written from (1, *spatial), or (3, height, width) in "
            "colour: write one file a channel"
        )
    options: dict[str, Any] = {"photometric": "rgb" if image.array.shape[0] == 3 else "minisblack"}
    if path.name.lower().endswith((".ome.tif", ".ome.tiff")):
        tifffile.imwrite(temporary, array, ome=True, metadata=ome_metadata(image), compression="zlib", **options)
        return
    spacing = image.spacing_um
    if volume or image.header.get("kind") == "imagej":
        if array.dtype.name in _IMAGEJ_TYPES:
            _write_imagej(temporary, array, spacing, options)
            return
        if volume:
            raise ValueError(
                f"image has the shape {image.array.shape} and the type {array.dtype}; .tif holds volumes of "
                f"{', '.join(_IMAGEJ_TYPES)}: write .ome.tif or .nii.gz"
            )
    if spacing is not None:
        options |= {"resolution": tuple(1e4 / s for s in spacing[::-1]), "resolutionunit": "CENTIMETER"}
    if "description" in image.header:
        options["description"] = image.header["description"].encode()
    tifffile.imwrite(temporary, array, compression="zlib", metadata=None, **options)


def _write_imagej(
    temporary: Path, array: np.ndarray, spacing: tuple[float, ...] | None, options: dict[str, Any]
) -> None:
    colour = options["photometric"] == "rgb"
    metadata: dict[str, Any] = {"axes": "ZYX"[-(array.ndim - colour) :] + ("S" if colour else "")}
    if spacing is not None:
        metadata["unit"] = "micron"
        options["resolution"] = tuple(1 / s for s in spacing[:-3:-1])
        if len(spacing) == 3:
            metadata["spacing"] = spacing[0]
    tifffile.imwrite(temporary, array, imagej=True, metadata=metadata, **options)
