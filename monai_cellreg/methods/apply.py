"""Moving images, labels, points and outlines by a transform that was found before."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from monai.data import MetaTensor

from ..data import write_image
from ..data.readers import ImageReadError, read_grid, read_image, read_label
from ..geometry import RegisteredTransform, SamplingGrid, SpatialTransform, read_transform, resample_image
from ..utils import check_choice
from .pixel_size import in_one_unit
from .point_files import COORDINATES, GEOJSON_SUFFIXES, TABLE_SUFFIXES, PointMap, map_geojson, map_table

logger = logging.getLogger(__name__)

PathLike = str | os.PathLike[str]
GridLike = PathLike | SamplingGrid | MetaTensor

KINDS = ("auto", "image", "labels", "points")
ORIGINS = ("moving", "fixed")
INTERPOLATIONS = ("linear", "cubic")
LABEL_SHARE = 0.6  # of neighbours in and around objects that are equal in a map of labels; in a picture far fewer are


@dataclass(frozen=True)
class ApplyOptions:
    """What is moved, and how the numbers of a point file are meant.

    Args:
        origin: image that the input belongs to. ``"moving"``: it goes with the moving image onto the fixed one, so
            images are read through the map and points go through its inverse. ``"fixed"``: the other way round.
        coordinates: of point files. ``"index"``: pixels, 0 at the centre of the first one (napari, scikit-image,
            ImageJ's results). ``"corner"``: pixels, 0 at the outer corner of the first one, whose centre is 0.5
            (QuPath). ``"world"``: world units, as of the images' grids.
        interpolation: of images: ``"linear"``, or ``"cubic"`` (B-spline of order 3).
        moving: the moving image, or its grid: where moving points lie; result grid of an image with origin "fixed".

    Raises:
        ValueError: for an unknown choice.
    """

    origin: Literal["moving", "fixed"] = "moving"
    coordinates: Literal["index", "corner", "world"] = "index"
    interpolation: Literal["linear", "cubic"] = "linear"
    moving: GridLike | None = None

    def __post_init__(self) -> None:
        check_choice("origin", self.origin, ORIGINS)
        check_choice("coordinates", self.coordinates, COORDINATES)
        check_choice("interpolation", self.interpolation, INTERPOLATIONS)


@dataclass(frozen=True)
class Applied:
    """What was done: the file written, as ``"image"``, ``"labels"`` or ``"points"``."""

    path: Path
    kind: str


def apply_transform(
    transform: SpatialTransform | PathLike,
    input: PathLike,
    out: PathLike,
    *,
    reference: GridLike | None = None,
    kind: Literal["auto", "image", "labels", "points"] = "auto",
    options: ApplyOptions | None = None,
) -> Applied:
    """Moves an image, labels, points or outlines from one image of a registration to the other, and writes the result.

    Images and labels are read once, on the grid of ``reference`` (their own without one), and written with the number
    type and metadata of the input; labels take the nearest value and stay whole numbers. CSV and TSV tables keep all
    other columns and every row; a row whose coordinates are blank or NaN stays as it is. GeoJSON keeps all properties;
    lines and outlines get further vertices where the map bends them.

    Convention: columns are ``x, y(, z)``, ``row, col``, ``axis-0, axis-1, ...`` or ``centroid-0, ...``, in any case; x
    runs along the columns of a picture and along the first axis of NIfTI, MHA, NRRD and DICOM. Pixel coordinates
    need to know where the pixels are: without ``reference`` and ``options.moving``, world is index.

    Args:
        transform: a map from fixed to moving world points, or a file of one (see
            :func:`~monai_cellreg.geometry.read_transform`); its frame is that of the images.
        input: image (any format of :func:`~monai_cellreg.data.read_image`), ``.csv``, ``.tsv``, ``.geojson`` or
            ``.json``.
        out: file to write; for an image its extension chooses the format.
        reference: the fixed image (path, ``MetaTensor`` or grid).
        kind: ``"auto"`` takes tables and GeoJSON as points, and an image as labels where it is grey, of whole numbers,
            and mostly equal among neighbours in and around its objects.
        options: direction, coordinates and interpolation.

    Raises:
        ValueError: when a file is damaged or of another kind, dimensions, frames or units differ, coordinates are not
            recognised, or the map has no inverse where one is needed.
        OSError: when a file is missing or cannot be written.

    Example:
        >>> import tempfile
        >>> from monai_cellreg.geometry import AffineTransform
        >>> folder = Path(tempfile.mkdtemp())
        >>> size = (folder / "cells.csv").write_text("cell,x,y\\n7,10,20\\n")
        >>> shift = AffineTransform.translation([5.0, -2.0])  # rows, columns; fixed to moving
        >>> applied = apply_transform(shift, folder / "cells.csv", folder / "on_fixed.csv")
        >>> (folder / "on_fixed.csv").read_text()
        'cell,x,y\\n7,12,15\\n'
    """
    check_choice("kind", kind, KINDS)
    source, target, chosen = Path(input), Path(out), options or ApplyOptions()
    is_points = source.suffix.lower() in (*TABLE_SUFFIXES, *GEOJSON_SUFFIXES)
    if kind == "points" and not is_points:
        raise ValueError(
            f"input {str(source)!r} has the extension {source.suffix!r}; points are read from "
            f"{', '.join((*TABLE_SUFFIXES, *GEOJSON_SUFFIXES))}: rename it, or choose another kind"
        )
    if is_points and kind not in ("auto", "points"):
        raise ValueError(f"kind is {kind!r} but input {str(source)!r} is a file of points; expected 'auto' or 'points'")
    if is_points:
        _check_point_files(source, target)
        move = _point_map(transform, reference, chosen)
        (map_table if source.suffix.lower() in TABLE_SUFFIXES else map_geojson)(source, target, move)
        return Applied(target, "points")
    image, found = _read(source, kind)
    grid = SamplingGrid.from_image(image)
    known = _loaded(transform, grid.frame)
    _check_dims(known, grid, "input")
    fixed, moving = _grid(reference), _grid(chosen.moving)
    result_grid, name = (fixed, "reference") if chosen.origin == "moving" else (moving, "moving")
    if result_grid is not None:
        result_grid, placed = _in_one_unit(result_grid, grid, (name, "input"))
        image = image if placed is grid else placed.to_image(image)
    warped = resample_image(
        image,
        known if chosen.origin == "moving" else known.inverse(),
        result_grid or grid,
        mode="nearest" if found == "labels" else chosen.interpolation,
    )
    write_image(target, warped)
    return Applied(target, found)


def _read(path: Path, kind: str) -> tuple[MetaTensor, str]:
    """An image or labels, and which of the two it is."""
    if kind == "labels":
        return read_label(path), "labels"
    image = read_image(path, color="keep", allow_constant=True)
    if kind == "auto" and _looks_like_labels(image):
        try:
            return read_label(path), "labels"
        except ImageReadError:  # whole numbers beyond 32 bits, or alpha beside grey
            return image, "image"
    return image, "image"


def _looks_like_labels(image: MetaTensor) -> bool:
    """Whether most neighbours in and around the objects of a grey image of whole numbers are equal."""
    values = image.as_tensor()
    if values.shape[0] != 1 or np.dtype(image.meta["source_dtype"]).kind not in "bui":
        return False
    equal = touched = 0
    for axis in range(1, values.ndim):
        first, second = (values.narrow(axis, k, values.shape[axis] - 1) for k in (0, 1))
        objects = (first != 0) | (second != 0)
        touched += int(objects.sum())
        equal += int((objects & (first == second)).sum())
    return equal >= LABEL_SHARE * touched


def _loaded(transform: SpatialTransform | PathLike, frame: str) -> SpatialTransform:
    return transform if isinstance(transform, SpatialTransform) else read_transform(transform, frame)


def _grid(image: GridLike | None) -> SamplingGrid | None:
    if image is None or isinstance(image, SamplingGrid):
        return image
    return SamplingGrid.from_image(image) if isinstance(image, torch.Tensor) else read_grid(image)


def _in_one_unit(
    first: SamplingGrid, second: SamplingGrid, names: tuple[str, str]
) -> tuple[SamplingGrid, SamplingGrid]:
    """Two grids in one unit, as :func:`~monai_cellreg.methods.register` took the images to be."""
    first, second, said = in_one_unit(first, second, names=names)
    if said:
        logger.warning(said)
    return first, second


def _check_dims(transform: SpatialTransform, grid: SamplingGrid, name: str) -> None:
    if transform.spatial_dims != grid.spatial_dims:
        raise ValueError(
            f"transform is {transform.spatial_dims}D but {name} is {grid.spatial_dims}D (shape {grid.shape}); expected "
            "the same: give the transform that was found for such images"
        )


def _check_point_files(source: Path, target: Path) -> None:
    for suffixes in (TABLE_SUFFIXES, GEOJSON_SUFFIXES):
        if source.suffix.lower() in suffixes and target.suffix.lower() not in suffixes:
            raise ValueError(
                f"out {str(target)!r} has the extension {target.suffix!r} but input {source.name!r} holds points; "
                f"expected one of {', '.join(suffixes)}"
            )
    if not source.is_file():
        raise FileNotFoundError(f"input {str(source)!r} does not exist; expected a file of points")


def _point_map(transform: SpatialTransform | PathLike, reference: GridLike | None, options: ApplyOptions) -> PointMap:
    """The map of a point file's coordinates, from the image they belong to to the other."""
    fixed, moving = _grid(reference), _grid(options.moving)
    if isinstance(transform, RegisteredTransform):
        fixed, moving = fixed or transform.fixed_grid, moving or transform.moving_grid
    either = fixed or moving
    known = _loaded(transform, either.frame if either else "index")
    if either is None and known.spatial_dims == 3 and not isinstance(transform, SpatialTransform):
        raise ValueError(
            "reference is None and transform is 3D; expected the fixed image, which tells the space of its points"
        )
    for name, grid in (("reference", fixed), ("moving", moving)):
        if grid is not None:
            _check_dims(known, grid, name)
    if fixed and moving:
        fixed, moving = _in_one_unit(fixed, moving, ("reference", "moving"))
        fixed.check_same_world("reference", moving, "moving")
    if options.coordinates != "world":
        _check_both_known(fixed, moving)
    frame = either.frame if either else "index"
    if options.origin == "moving":
        return PointMap(known.inverse(), moving, fixed, frame, options.coordinates)
    return PointMap(known, fixed, moving, frame, options.coordinates)


def _check_both_known(fixed: SamplingGrid | None, moving: SamplingGrid | None) -> None:
    """Pixel coordinates need both grids, unless world is index."""
    for grid, given, missing in ((fixed, "reference", "moving"), (moving, "moving", "reference")):
        other = moving if grid is fixed else fixed
        if grid is not None and other is None and not np.array_equal(grid.affine, np.eye(grid.spatial_dims + 1)):
            raise ValueError(
                f"{given} has pixels of {' x '.join(f'{s:g}' for s in grid.spacing)} {grid.unit} but {missing} is not "
                f"given; pixel coordinates need both images: give {missing}, or coordinates='world'"
            )
