"""Points in tables and outlines in GeoJSON, moved in place: everything else in the file stays as it is."""

from __future__ import annotations

import copy
import json
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..geometry import AffineTransform, CompositeTransform, SamplingGrid, SpatialTransform, map_polygon
from ..utils import atomic_path
from .tables import read_table, write_table

TABLE_SUFFIXES = (".csv", ".tsv")
GEOJSON_SUFFIXES = (".geojson", ".json")
COORDINATES = ("index", "corner", "world")
ACCEPTED = "x, y(, z); row, col (plane, row, col); axis-0, axis-1(, axis-2); centroid-0, centroid-1(, centroid-2)"
_DEPTHS = {"Point": 0, "MultiPoint": 1, "LineString": 1, "MultiLineString": 2, "Polygon": 2, "MultiPolygon": 3}


@dataclass(frozen=True)
class PointMap:
    """From coordinates as a file gives them, through world points, to coordinates of the same kind in the other image.

    Args:
        transform: world points of the image that the points belong to, to world points of the other.
        source: grid of the first; None where world is index.
        target: grid of the second.
        frame: ``"index"`` or ``"RAS"``.
        coordinates: ``"index"``, ``"corner"`` (half a pixel more) or ``"world"``.
    """

    transform: SpatialTransform
    source: SamplingGrid | None
    target: SamplingGrid | None
    frame: str
    coordinates: str

    def axis_of(self, letter: str) -> int:
        """The tensor axis, and world component, of x, y or z."""
        position = "xyz".index(letter)
        return self.transform.spatial_dims - 1 - position if self.frame == "index" else position

    def to_world(self, points: np.ndarray) -> np.ndarray:
        """World points of a file's coordinates, both (N, D) in the order of the tensor axes."""
        if self.coordinates == "world":
            return points
        return _through(self.source, points - self._first_centre, inverse=False)

    def from_world(self, points: np.ndarray) -> np.ndarray:
        """Coordinates of world points in the other image."""
        if self.coordinates == "world":
            return points
        return _through(self.target, points, inverse=True) + self._first_centre

    @property
    def _first_centre(self) -> float:
        return 0.5 if self.coordinates == "corner" else 0.0

    @property
    def is_straight(self) -> bool:
        """Whether straight lines stay straight."""
        chain = self.transform
        parts = chain.transforms if isinstance(chain, CompositeTransform) else (chain,)
        return all(isinstance(part, AffineTransform) for part in parts)


def _through(grid: SamplingGrid | None, points: np.ndarray, *, inverse: bool) -> np.ndarray:
    if grid is None:
        return points
    affine = np.linalg.inv(grid.affine) if inverse else grid.affine
    return points @ affine[:-1, :-1].T + affine[:-1, -1]


# --- tables ---------------------------------------------------------------------------------------------------------


def map_table(source: Path, target: Path, move: PointMap) -> None:
    """Moves the coordinates of a CSV or TSV file.

    Raises:
        ValueError: when the file is no table, its header names no or several sets of coordinates, or a coordinate is no
            number.
    """
    table = read_table(source, "input")
    if not table.header:
        raise ValueError(f"input {str(source)!r} is empty; expected a header and a row for each point")
    columns = coordinate_columns(table.header, move, f"input {str(source)!r}")
    known, points = [], []
    for number, row in zip(table.lines, table.rows, strict=True):
        point = _point(row, columns, f"input {str(source)!r}, row {number}")
        if point is not None:
            known.append(row)
            points.append(point)
    if points:
        moved = move.from_world(np.asarray(move.transform.points(move.to_world(np.array(points)))))
        for row, point in zip(known, moved, strict=True):
            for column, value in zip(columns, point, strict=True):
                row[column] = f"{value:.10g}"
    write_table(target, table)


def coordinate_columns(header: list[str], move: PointMap, where: str) -> list[int]:
    """The column of each tensor axis.

    Args:
        header: names of the columns.
        move: whose dimension and frame say what x, y and z are.
        where: what errors call the table.

    Raises:
        ValueError: when the header names no or several sets of coordinates.
    """
    names = [name.strip().lower() for name in header]
    dims = move.transform.spatial_dims
    wanted = ["x", "y", "z"][:dims]
    groups = [sorted(wanted, key=move.axis_of)]
    if move.frame == "index":
        groups += [["plane", "row", name][-dims:] for name in ("col", "column")]
    groups += [_numbered(names, stem, dims, move) for stem in ("axis", "centroid")]
    found = [group for group in groups if group and all(name in names for name in group)]
    doubled = [name for group in found for name in group if names.count(name) > 1]
    if len(found) != 1 or doubled:
        problem = "names no coordinates" if not found else "names several sets of coordinates"
        raise ValueError(
            f"{where} {problem} for a {dims}D transform in its header {header}; expected exactly one of "
            f"{ACCEPTED}: rename the columns"
        )
    return [names.index(name) for name in found[0]]


def _numbered(names: list[str], stem: str, dims: int, move: PointMap) -> list[str]:
    """Columns such as axis-0, axis-1; in napari, axes before those of the image are time."""
    count = sum(bool(re.fullmatch(rf"{stem}-\d+", name)) for name in names)
    first = max(count - dims, 0) if move.frame == "index" else 0
    return [f"{stem}-{first + k}" for k in range(dims)]


def _point(row: list[str], columns: list[int], where: str) -> list[float] | None:
    """Coordinates in the order of the tensor axes; None where one is blank or NaN."""
    texts = [row[column].strip() if column < len(row) else "" for column in columns]
    if "" in texts:
        return None
    try:
        numbers = [float(text) for text in texts]
    except ValueError as error:
        raise ValueError(f"{where} has the coordinates {texts}; expected numbers, or blank for none") from error
    if any(map(math.isinf, numbers)):
        raise ValueError(f"{where} has the coordinates {texts}; expected finite numbers, or blank for none")
    return None if any(map(math.isnan, numbers)) else numbers


def read_landmarks(
    path: str | os.PathLike[str], grid: SamplingGrid | None, dims: int, coordinates: str = "index"
) -> Tensor:
    """Landmarks of a table as world points.

    Args:
        path: CSV or TSV; see :func:`~monai_cellreg.methods.apply.apply_transform` for the columns.
        grid: where the image lies; none where world is index.
        dims: number of components, 2 or 3.
        coordinates: ``"index"``, ``"corner"`` or ``"world"``.

    Returns:
        (N, D) float64; NaN in rows whose coordinates are blank.

    Raises:
        ValueError: when the file is no such table.
        FileNotFoundError: when there is no such file.
    """
    source = Path(path)
    if not source.is_file():
        raise FileNotFoundError(f"landmarks {str(source)!r} do not exist; expected a CSV file with x, y or row, col")
    table = read_table(source, "landmarks")
    if not table.rows:
        raise ValueError(f"landmarks {str(source)!r} hold no points; expected a header and a row for each point")
    still = AffineTransform(np.eye(dims + 1))
    move = PointMap(still, grid, None, grid.frame if grid else "index", coordinates)
    columns = coordinate_columns(table.header, move, f"landmarks {str(source)!r}")
    points = [
        _point(row, columns, f"landmarks {str(source)!r}, row {number}")
        for number, row in zip(table.lines, table.rows, strict=True)
    ]
    known = np.array([[np.nan] * dims if point is None else point for point in points])
    return torch.from_numpy(move.to_world(known))


# --- GeoJSON --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Path:
    """A run of positions within a document: ``holder[key]`` is one position, or a list of them."""

    holder: Any
    key: Any
    shape: str  # "point", "points", "line" or "ring"


def map_geojson(source: Path, target: Path, move: PointMap) -> None:
    """Moves all geometries of a GeoJSON file: a FeatureCollection, a list of features, a feature or a bare geometry.

    QuPath's ``nucleusGeometry`` is moved with its cell; a ``bbox`` is left out, since it no longer holds.

    Raises:
        ValueError: when the file is no JSON, holds no geometry, or a position has too few components.
    """
    try:
        document = copy.deepcopy(json.loads(source.read_text(encoding="utf-8-sig")))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"input {str(source)!r} is no JSON ({error}); expected GeoJSON") from error
    holder = {"document": document}
    paths = [path for geometry in _geometries(document) for path in _paths(geometry, source)]
    if not paths:
        raise ValueError(f"input {str(source)!r} holds no geometry; expected GeoJSON with points, lines or polygons")
    worlds = [_outline(path, move, source) for path in paths]
    ends = np.cumsum([len(world) for world in worlds])[:-1]
    moved = move.from_world(np.asarray(move.transform.points(np.concatenate(worlds))))
    for path, points in zip(paths, np.split(moved, ends), strict=True):
        _put(path, points, move)
    with atomic_path(target) as temporary:
        Path(temporary).write_text(json.dumps(holder["document"], ensure_ascii=False) + "\n", encoding="utf-8")


def _geometries(node: Any) -> Iterator[dict[str, Any]]:
    """Every geometry of a document."""
    if isinstance(node, list):
        for entry in node:
            yield from _geometries(entry)
    elif isinstance(node, dict):
        node.pop("bbox", None)
        if node.get("type") in _DEPTHS:
            yield node
        for key in ("features", "geometry", "nucleusGeometry", "geometries"):
            yield from _geometries(node.get(key))


def _paths(geometry: dict[str, Any], source: Path) -> Iterator[_Path]:
    kind, positions = geometry["type"], geometry.get("coordinates")
    if not isinstance(positions, list):
        raise ValueError(f"input {str(source)!r} has a {kind} without coordinates; expected a list of them")
    holders: list[tuple[Any, Any]] = [(geometry, "coordinates")]
    for _ in range(_DEPTHS[kind] - 1):
        holders = [(holder[key], k) for holder, key in holders for k in range(len(holder[key]))]
    shape = {"Point": "point", "MultiPoint": "points"}.get(kind, "ring" if "Polygon" in kind else "line")
    yield from (_Path(holder, key, shape) for holder, key in holders if holder[key])


def _outline(path: _Path, move: PointMap, source: Path) -> np.ndarray:
    """World points (N, D) of a run of positions, with further ones where the map may bend it."""
    positions = path.holder[path.key]
    positions = [positions] if path.shape == "point" else positions
    dims = move.transform.spatial_dims
    try:
        points = np.array([position[:dims] for position in positions], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"input {str(source)!r} has the positions {positions[:3]} ...; expected numbers") from error
    if points.ndim != 2 or points.shape[1] != dims or not np.isfinite(points).all():
        raise ValueError(
            f"input {str(source)!r} has the positions {positions[:3]} ...; expected {dims} finite numbers each"
        )
    world = move.to_world(points[:, [move.axis_of(letter) for letter in "xyz"[:dims]]])
    if path.shape == "ring" and len(world) > 1 and np.array_equal(world[0], world[-1]):
        world = world[:-1]
    if path.shape in ("line", "ring") and len(world) > 1 and not move.is_straight:
        same = AffineTransform(np.eye(dims + 1)[:dims])
        return np.asarray(map_polygon(same, world, closed=path.shape == "ring"))
    return world


def _put(path: _Path, points: np.ndarray, move: PointMap) -> None:
    """Replaces a run of positions; components beyond those of the map are those of its first position."""
    old = path.holder[path.key]
    first = old if path.shape == "point" else old[0]
    extra = first[move.transform.spatial_dims :]
    ordered = points[:, [move.axis_of(letter) for letter in "xyz"[: points.shape[1]]]]
    positions = [[*(float(f"{value:.10g}") for value in point), *extra] for point in ordered]
    if path.shape == "ring":
        positions.append(list(positions[0]))
    path.holder[path.key] = positions[0] if path.shape == "point" else positions
