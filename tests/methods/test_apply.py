"""Known shifts and rotations, off-centre, on anisotropic images of two grids: everything moves to the same place."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
import torch
from scipy import ndimage

from monai_cellreg.data import read_image
from monai_cellreg.geometry import AffineTransform, DenseTransform, RegisteredTransform, SamplingGrid, write_transform
from monai_cellreg.methods import ApplyOptions, apply_transform

FIXED_UM, MOVING_UM = np.array([0.5, 0.8]), np.array([1.0, 0.6])  # row, column
SPOTS = np.array([[14.0, 20.0], [30.0, 44.0], [22.0, 60.0]])  # of the moving image, in its pixels
OUTLINE = [[38, 12], [50, 12], [50, 22], [38, 22]]  # x, y of the moving image


def turn(angle_rad: float = 0.3, centre: tuple[float, float] = (9.0, 31.0)) -> np.ndarray:
    """(2, 3) rotation about an off-centre point and a shift, in micrometres; fixed to moving."""
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    linear = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([linear, np.array(centre) - linear @ centre + [3.0, -2.0]])


def on_fixed(points: np.ndarray) -> np.ndarray:
    """Pixels of the fixed image of pixels of the moving one, row and column, by hand."""
    matrix = turn()
    return (points * MOVING_UM - matrix[:, 2]) @ matrix[:, :2] / FIXED_UM


def spots(shape: tuple[int, int], centres: np.ndarray, size_um: np.ndarray) -> np.ndarray:
    index = np.moveaxis(np.indices(shape), 0, -1) * size_um
    return sum(np.exp(-((index - c * size_um) ** 2).sum(-1) / 8) * (k + 1) for k, c in enumerate(centres))


def save(path: Path, array: np.ndarray, size_um: np.ndarray) -> Path:
    metadata = {"PhysicalSizeY": float(size_um[0]), "PhysicalSizeX": float(size_um[1])}
    tifffile.imwrite(path, array, ome=True, metadata={"axes": "YX", **metadata}, photometric="minisblack")
    return path


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Fixed and moving image of unequal sizes and pixels, labels, and the transform."""
    save(tmp_path / "fixed.ome.tif", np.random.default_rng(0).random((90, 70)).astype(np.float32), FIXED_UM)
    picture = spots((48, 81), SPOTS, MOVING_UM)
    save(tmp_path / "moving.ome.tif", (10000 * picture).astype(np.uint16), MOVING_UM)
    labels = np.zeros((48, 81), np.uint8)
    row, column = np.indices(labels.shape)
    for k, (r, c) in enumerate(SPOTS):
        labels[(np.hypot((row - r) * MOVING_UM[0], (column - c) * MOVING_UM[1])) < 4] = 20 * (k + 1)
    save(tmp_path / "labels.ome.tif", labels, MOVING_UM)
    grid = SamplingGrid((90, 70), np.diag([*FIXED_UM, 1]), unit="µm")
    write_transform(tmp_path / "found.h5", AffineTransform(turn()), grid)
    return tmp_path


def both(files: Path, **options: Any) -> dict[str, Any]:
    return {"reference": files / "fixed.ome.tif", "options": ApplyOptions(moving=files / "moving.ome.tif", **options)}


def table(path: Path) -> list[list[str]]:
    return list(csv.reader(path.read_text().splitlines()))


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_spots_of_an_image_move_to_where_points_go(files: Path, interpolation: str) -> None:
    out = files / "out.ome.tif"
    applied = apply_transform(
        files / "found.h5", files / "moving.ome.tif", out, **both(files, interpolation=interpolation)
    )
    assert (applied.path, applied.kind) == (out, "image")
    warped = tifffile.imread(out)
    assert (warped.shape, warped.dtype) == ((90, 70), np.uint16)
    expected = 10000 * spots((90, 70), on_fixed(SPOTS), FIXED_UM)
    assert np.abs(warped - expected).max() < (1300 if interpolation == "linear" else 120)
    assert SamplingGrid.from_image(read_image(out)).spacing == pytest.approx(tuple(FIXED_UM))


def test_labels_stay_whole_and_move_along(files: Path) -> None:
    for kind in ("auto", "labels"):
        out = files / f"{kind}.ome.tif"
        applied = apply_transform(files / "found.h5", files / "labels.ome.tif", out, kind=kind, **both(files))
        assert applied.kind == "labels"
        warped = tifffile.imread(out)
        assert (set(np.unique(warped)), warped.dtype) == ({0, 20, 40, 60}, np.uint8)
        centres = np.array(ndimage.center_of_mass(warped > 0, warped, [20, 40, 60]))
        np.testing.assert_allclose(centres, on_fixed(SPOTS), atol=0.3)
    apply_transform(files / "found.h5", files / "labels.ome.tif", files / "i.ome.tif", kind="image", **both(files))
    assert len(np.unique(tifffile.imread(files / "i.ome.tif"))) > 10


@pytest.mark.parametrize(
    ("header", "order"),
    [
        ("x,y", [1, 0]),
        ("idx,X,Y", [1, 0]),
        ("row,col", [0, 1]),
        ("Column,Row", [1, 0]),
        ("index,axis-0,axis-1", [0, 1]),
        ("label,centroid-0,centroid-1", [0, 1]),
        ("axis-0,axis-1,axis-2", [0, 1]),  # napari: time before row and column
    ],
)
def test_columns(files: Path, header: str, order: list[int]) -> None:
    lead = header.count(",") - 1
    rows = [header, *(",".join([*["7"] * lead, *(str(p[k]) for k in order)]) for p in SPOTS)]
    (files / "points.csv").write_text("\n".join(rows) + "\n")
    assert apply_transform(files / "found.h5", files / "points.csv", files / "o.csv", **both(files)).kind == "points"
    moved = table(files / "o.csv")
    assert moved[0] == header.split(",")
    np.testing.assert_allclose(np.array(moved[1:], float)[:, lead:], on_fixed(SPOTS)[:, order], atol=1e-8)
    assert {cell for row in moved[1:] for cell in row[:lead]} <= {"7"}


@pytest.mark.parametrize("coordinates", ["index", "corner", "world"])
def test_there_and_back(files: Path, coordinates: str) -> None:
    (files / "points.csv").write_text("x,y\n" + "".join(f"{c},{r}\n" for r, c in SPOTS))
    move = both(files, coordinates=coordinates)
    apply_transform(files / "found.h5", files / "points.csv", files / "o.csv", **move)
    there = np.array(table(files / "o.csv")[1:], float)[:, ::-1]
    if coordinates == "corner":
        np.testing.assert_allclose(there, on_fixed(SPOTS - 0.5) + 0.5, atol=1e-8)
    elif coordinates == "world":
        np.testing.assert_allclose(there, on_fixed(SPOTS / MOVING_UM) * FIXED_UM, atol=1e-8)
    back = both(files, coordinates=coordinates, origin="fixed")
    apply_transform(files / "found.h5", files / "o.csv", files / "b.csv", **back)
    np.testing.assert_allclose(np.array(table(files / "b.csv")[1:], float)[:, ::-1], SPOTS, atol=1e-7)


def test_an_image_of_the_fixed_side_goes_the_other_way(files: Path) -> None:
    fixed = spots((90, 70), on_fixed(SPOTS), FIXED_UM).astype(np.float32)
    save(files / "f.ome.tif", fixed, FIXED_UM)
    apply_transform(files / "found.h5", files / "f.ome.tif", files / "o.ome.tif", **both(files, origin="fixed"))
    back = tifffile.imread(files / "o.ome.tif")
    assert np.abs(back - spots((48, 81), SPOTS, MOVING_UM)).max() < 0.05 * back.max()


def test_other_columns_and_unknown_points_stay(files: Path) -> None:
    text = 'name;x;y;note\n"a;b";20;14;ü\nlost;;14;\nnan;NaN;3;\nshort\nc;44;30;"say ""hi"""\n'
    (files / "points.csv").write_text("\ufeff" + text, encoding="utf-8")
    apply_transform(files / "found.h5", files / "points.csv", files / "o.csv", **both(files))
    rows = list(csv.reader((files / "o.csv").read_text(encoding="utf-8").splitlines(), delimiter=";"))
    assert [row[0] for row in rows] == ["name", "a;b", "lost", "nan", "short", "c"]
    assert rows[2:5] == [["lost", "", "14", ""], ["nan", "NaN", "3", ""], ["short"]]
    assert (rows[1][3], rows[5][3]) == ("ü", 'say "hi"')
    np.testing.assert_allclose([float(x) for x in rows[5][1:3]], on_fixed(SPOTS[1:2])[0, ::-1], atol=1e-8)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "1,2\n3,4\n",
            r"names no coordinates for a 2D transform in its header \['1', '2'\]; expected exactly one of x, y",
        ),
        ("x,y,row,col\n1,2,3,4\n", "names several sets of coordinates"),
        ("x,X,y\n1,2,3\n", "several sets"),
        ("x,z\n1,2\n", "names no coordinates"),
        ("x,y\n1,two\n", r"row 2 has the coordinates \['two', '1'\]; expected numbers"),
        ("x,y\n1,inf\n", "expected finite numbers"),
        ("", "is empty; expected a header"),
    ],
)
def test_tables_that_cannot_be_used(files: Path, text: str, problem: str) -> None:
    (files / "points.csv").write_text(text)
    with pytest.raises(ValueError, match=problem):
        apply_transform(files / "found.h5", files / "points.csv", files / "o.csv", **both(files))
    assert not (files / "o.csv").exists()


# --- GeoJSON --------------------------------------------------------------------------------------------------------


def geojson(kind: str, coordinates: Any) -> dict[str, Any]:
    properties = {"name": "Zelle", "class": {"color": [1, 2, 3]}}
    return {
        "type": "Feature",
        "id": "q",
        "geometry": {"type": kind, "coordinates": coordinates},
        "properties": properties,
    }


def closed(ring: list[list[float]]) -> list[list[float]]:
    return [*ring, ring[0]]


HOLE = [[42, 15], [46, 15], [46, 19]]
GEOMETRIES = {
    "Point": OUTLINE[0],
    "MultiPoint": OUTLINE,
    "LineString": OUTLINE,
    "MultiLineString": [OUTLINE, HOLE],
    "Polygon": [closed(OUTLINE), closed(HOLE)],
    "MultiPolygon": [[closed(OUTLINE), closed(HOLE)], [closed(HOLE)]],
}


def flat(coordinates: Any) -> np.ndarray:
    array = coordinates
    while array and isinstance(array[0], list) and isinstance(array[0][0], list):
        array = [position for part in array for position in part]
    return np.atleast_2d(np.array(array, dtype=float))


@pytest.mark.parametrize("kind", GEOMETRIES)
def test_geometries_move_as_points_do(files: Path, kind: str) -> None:
    document = {"type": "FeatureCollection", "bbox": [0, 0, 1, 1], "features": [geojson(kind, GEOMETRIES[kind])]}
    (files / "a.geojson").write_text(json.dumps(document))
    apply_transform(files / "found.h5", files / "a.geojson", files / "o.geojson", **both(files))
    moved = json.loads((files / "o.geojson").read_text())
    (feature,) = moved["features"]
    assert "bbox" not in moved
    assert {k: feature[k] for k in ("id", "properties")} == {
        k: document["features"][0][k] for k in ("id", "properties")
    }
    assert feature["geometry"]["type"] == kind
    expected = on_fixed(flat(GEOMETRIES[kind])[:, ::-1])[:, ::-1]
    np.testing.assert_allclose(flat(feature["geometry"]["coordinates"]), expected, atol=1e-7)
    if "Polygon" in kind:
        rings = feature["geometry"]["coordinates"][0] if kind == "MultiPolygon" else feature["geometry"]["coordinates"]
        assert [ring[0] == ring[-1] for ring in rings] == [True, True]


def test_qupath_cells_lists_and_collections(files: Path) -> None:
    cell = {**geojson("Polygon", [closed(OUTLINE)]), "nucleusGeometry": {"type": "Point", "coordinates": [40, 15, 7]}}
    nested = {"type": "GeometryCollection", "geometries": [{"type": "Point", "coordinates": [38, 12]}]}
    empty = {"type": "Feature", "geometry": None, "properties": {}}
    (files / "a.json").write_text(json.dumps([cell, nested, empty]))
    move = both(files, coordinates="corner")
    apply_transform(files / "found.h5", files / "a.json", files / "o.json", **move)
    moved = json.loads((files / "o.json").read_text())
    nucleus = moved[0]["nucleusGeometry"]["coordinates"]
    np.testing.assert_allclose(nucleus[:2], on_fixed(np.array([14.5, 39.5]))[::-1] + 0.5, atol=1e-7)
    assert nucleus[2] == 7
    np.testing.assert_allclose(moved[1]["geometries"][0]["coordinates"], moved[0]["geometry"]["coordinates"][0][0])
    assert moved[2] == empty


def test_bent_outlines_follow_the_map(files: Path) -> None:
    grid = SamplingGrid((90, 70), np.diag([*FIXED_UM, 1]), unit="µm")
    world = grid.world()
    bend = torch.stack([1.5 * torch.sin(world[..., 1] / 6), 0 * world[..., 1]])[None]
    bent = RegisteredTransform(DenseTransform(bend, grid), grid, grid)
    (files / "a.geojson").write_text(json.dumps(geojson("LineString", [[5, 40], [60, 40]])))
    apply_transform(bent, files / "a.geojson", files / "o.geojson", options=ApplyOptions(origin="fixed"))
    line = np.array(json.loads((files / "o.geojson").read_text())["geometry"]["coordinates"])
    assert len(line) > 50
    expected = 40 + 1.5 * np.sin(line[:, 0] * FIXED_UM[1] / 6) / FIXED_UM[0]
    np.testing.assert_allclose(line[:, 1], expected, atol=0.02)
    np.testing.assert_allclose(line[[0, -1], 0], [5, 60], atol=1e-7)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "is no JSON"),
        ('{"type": "FeatureCollection", "features": []}', "holds no geometry"),
        ('{"type": "Point"}', "has a Point without coordinates"),
        ('{"type": "Point", "coordinates": [1]}', "expected 2 finite numbers each"),
        ('{"type": "LineString", "coordinates": [[1, "a"]]}', "expected numbers"),
    ],
)
def test_geojson_that_cannot_be_used(files: Path, text: str, problem: str) -> None:
    (files / "a.geojson").write_text(text)
    with pytest.raises(ValueError, match=problem):
        apply_transform(files / "found.h5", files / "a.geojson", files / "o.geojson", **both(files))


# --- volumes, frames and errors -------------------------------------------------------------------------------------


def test_volume_in_ras_agrees_with_simpleitk(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    volume = ndimage.gaussian_filter(rng.random((20, 22, 14)), 2).astype(np.float32)
    fixed, moving = (
        np.diag([1.5, 1, 2, 1.0]),
        np.array([[0, -1.2, 0, 24], [0.9, 0, 0, 1], [0, 0, 1.8, 4], [0, 0, 0, 1.0]]),
    )
    nibabel.save(nibabel.Nifti1Image(volume, moving), tmp_path / "moving.nii.gz")
    nibabel.save(nibabel.Nifti1Image(volume[:15], fixed), tmp_path / "fixed.nii.gz")
    found = sitk.Euler3DTransform((-10.0, -10.0, 14.0), 0.1, -0.2, 0.15, (-1.5, 12.0, -1.0))
    sitk.WriteTransform(found, str(tmp_path / "found.tfm"))
    move = {"reference": tmp_path / "fixed.nii.gz", "options": ApplyOptions(moving=tmp_path / "moving.nii.gz")}
    apply_transform(tmp_path / "found.tfm", tmp_path / "moving.nii.gz", tmp_path / "o.nii.gz", **move)
    images = [sitk.ReadImage(str(tmp_path / f"{name}.nii.gz"), sitk.sitkFloat64) for name in ("moving", "fixed", "o")]
    theirs = sitk.GetArrayFromImage(sitk.Resample(images[0], images[1], found, sitk.sitkLinear, -1.0))
    seen = theirs >= 0
    assert seen.mean() > 0.2
    assert np.abs(theirs - sitk.GetArrayFromImage(images[2]))[seen].max() < 1e-5
    index = (4.0, 9.0, 3.0)  # of the fixed image
    (tmp_path / "p.csv").write_text("x,y,z\n4,9,3\n")
    move["options"] = ApplyOptions(moving=tmp_path / "moving.nii.gz", origin="fixed")
    apply_transform(tmp_path / "found.tfm", tmp_path / "p.csv", tmp_path / "q.csv", **move)
    physical = found.TransformPoint(images[1].TransformContinuousIndexToPhysicalPoint(index))
    expected = images[0].TransformPhysicalPointToContinuousIndex(physical)
    np.testing.assert_allclose(np.array(table(tmp_path / "q.csv")[1], float), expected, atol=1e-5)
    with pytest.raises(ValueError, match="reference is None and transform is 3D"):
        apply_transform(tmp_path / "found.tfm", tmp_path / "p.csv", tmp_path / "q.csv")


def test_without_images_world_is_index(tmp_path: Path) -> None:
    write_transform(tmp_path / "t.tfm", AffineTransform.translation([5.0, -2.0]), SamplingGrid((8, 9)))
    (tmp_path / "p.csv").write_text("x,y\n10,20\n")
    apply_transform(tmp_path / "t.tfm", tmp_path / "p.csv", tmp_path / "q.csv")
    assert (tmp_path / "q.csv").read_text() == "x,y\n12,15\n"
    tifffile.imwrite(tmp_path / "a.tif", np.arange(72, dtype=np.float32).reshape(8, 9))
    apply_transform(tmp_path / "t.tfm", tmp_path / "a.tif", tmp_path / "b.tif")
    expected = ndimage.shift(tifffile.imread(tmp_path / "a.tif"), (-5, 2), order=1, mode="nearest")
    np.testing.assert_allclose(tifffile.imread(tmp_path / "b.tif"), expected, atol=1e-4)


def test_colour_and_constant_images_are_moved(tmp_path: Path) -> None:
    from PIL import Image

    colour = np.random.default_rng(0).integers(0, 255, (8, 9, 3), dtype=np.uint8)
    Image.fromarray(colour).save(tmp_path / "a.png")
    Image.fromarray(colour[..., 0] * 0 + 7).save(tmp_path / "flat.png")
    shift = AffineTransform.translation([2.0, 1.0])
    assert apply_transform(shift, tmp_path / "a.png", tmp_path / "b.png").kind == "image"
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "b.png"))[:-2, :-1], colour[2:, 1:])
    apply_transform(shift, tmp_path / "flat.png", tmp_path / "c.png")
    assert (np.asarray(Image.open(tmp_path / "c.png")) == 7).all()


def test_wrong_input_is_told(files: Path) -> None:
    found, points = files / "found.h5", files / "points.csv"
    points.write_text("x,y\n1,2\n")
    np.save(files / "volume.npy", np.random.default_rng(0).random((5, 6, 7)))
    (files / "cut.tif").write_bytes((files / "moving.ome.tif").read_bytes()[:900])
    (files / "file").write_text("")
    image = files / "moving.ome.tif"
    cases: list[tuple[tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
        ((found, files / "none.tif", "o.tif"), {}, ValueError, "does not exist"),
        ((found, files / "none.csv", "o.csv"), {}, FileNotFoundError, "does not exist"),
        ((files / "none.h5", image, "o.tif"), {}, FileNotFoundError, "transform file .* does not exist"),
        ((found, files / "cut.tif", "o.tif"), {}, ValueError, "cut.tif' cannot be read"),
        ((found, files / "volume.npy", "o.npy"), {}, ValueError, "transform is 2D but input is 3D"),
        ((found, image, "o.tif"), {"reference": files / "volume.npy"}, ValueError, "3D"),
        ((found, points, "o.csv"), {"reference": files / "volume.npy"}, ValueError, "2D but reference is 3D"),
        ((found, image, "o.tif"), {"kind": "points"}, ValueError, "points are read from .csv"),
        ((found, points, "o.csv"), {"kind": "labels"}, ValueError, "kind is 'labels' but input"),
        ((found, points, "o.csv"), {"kind": "spots"}, ValueError, "kind is 'spots', expected one of 'auto'"),
        ((found, points, "o.tif"), {}, ValueError, r"expected one of \.csv"),
        ((found, points, "o.csv"), {"reference": image}, ValueError, "pixels of 1 x 0.6 µm but moving is not given"),
        ((found, image, files / "file" / "o.tif"), {}, NotADirectoryError, "is not a folder"),
        ((found, image, "o.xyz"), {}, ValueError, r"extension '\.xyz'"),
    ]
    before = sorted(files.iterdir())
    for (transform, source, out), options, error, text in cases:
        with pytest.raises(error, match=text):
            apply_transform(transform, source, files / out, **options)
    assert sorted(files.iterdir()) == before
    for options in ({"origin": "left"}, {"coordinates": "mm"}, {"interpolation": "nearest"}):
        with pytest.raises(ValueError, match=f"{next(iter(options))} is .* expected one of"):
            ApplyOptions(**options)


def test_an_input_without_pixel_size_has_that_of_the_reference(files: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As registration takes it to be; far larger ones are refused."""
    tifffile.imwrite(files / "plain.tif", tifffile.imread(files / "moving.ome.tif"))
    write_transform(files / "still.h5", AffineTransform(np.eye(3)), SamplingGrid((90, 70)))
    apply_transform(files / "still.h5", files / "plain.tif", files / "out.tif", reference=files / "fixed.ome.tif")
    expected = tifffile.imread(files / "plain.tif")
    np.testing.assert_array_equal(tifffile.imread(files / "out.tif")[:48, :70], expected[:, :70])
    assert "input image has no pixel size; it is taken to be that of the reference image, 0.5 x 0.8 µm" in caplog.text
    tifffile.imwrite(files / "large.tif", np.kron(expected, np.ones((4, 4), np.uint16)))
    with pytest.raises(ValueError, match="input has no pixel size .* but reference has pixels of 0.5 x 0.8 µm"):
        apply_transform(files / "still.h5", files / "large.tif", files / "b.tif", reference=files / "fixed.ome.tif")
