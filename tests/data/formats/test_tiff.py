"""TIFF, OME-TIFF and ImageJ's TIFF: pixel sizes, axes, and what is written back; the oracle is tifffile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

from monai_cellreg.data import ImageReadError, read_image, read_label, write_image
from monai_cellreg.data.readers import page_count
from monai_cellreg.geometry import SamplingGrid

RNG = np.random.default_rng(0)
PLANE = RNG.integers(0, 60000, (7, 11)).astype(np.uint16)
STACK = RNG.integers(0, 60000, (2, 3, 7, 11)).astype(np.uint16)  # two unlike leading axes


def saved(path: Path, array: np.ndarray, *, axes: str = "", **options: Any) -> Path:
    metadata = {"axes": axes, **options.pop("metadata", {})} if axes else options.pop("metadata", None)
    tifffile.imwrite(path, array, photometric=options.pop("photometric", "minisblack"), metadata=metadata, **options)
    return path


def spacing(path: Path, **options: Any) -> tuple[float, ...]:
    image = read_image(path, **options)
    assert image.meta["space"] == "index"
    grid = SamplingGrid.from_image(image)
    assert grid.unit == "µm"
    assert not grid.affine[:-1, -1].any()
    return grid.spacing


@pytest.mark.parametrize(("unit", "factor"), [(None, 1), ("µm", 1), ("nm", 1e-3), ("mm", 1e3)])
def test_ome_pixel_size_in_micrometres(tmp_path: Path, unit: str | None, factor: float) -> None:
    sizes = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.75, "PhysicalSizeZ": 3.0}
    units = {f"PhysicalSize{axis}Unit": unit for axis in "XYZ"} if unit else {}
    path = saved(tmp_path / "a.ome.tif", STACK[0], axes="ZYX", ome=True, metadata={**sizes, **units})
    np.testing.assert_allclose(spacing(path), np.array([3, 0.75, 0.5]) * factor, rtol=1e-12)
    np.testing.assert_array_equal(read_image(path)[0], STACK[0].astype(np.float32))
    assert page_count(path) == 1


@pytest.mark.parametrize(("unit", "factor"), [("micron", 1), ("um", 1), ("\\u00B5m", 1), ("nm", 1e-3), ("cm", 1e4)])
def test_imagej_pixel_size(tmp_path: Path, unit: str, factor: float) -> None:
    options = {"imagej": True, "resolution": (4, 2), "metadata": {"unit": unit, "spacing": 1.5}}
    path = saved(tmp_path / "a.tif", STACK[0], axes="ZYX", **options)
    np.testing.assert_allclose(spacing(path), np.array([1.5, 0.5, 0.25]) * factor, rtol=1e-12)


@pytest.mark.parametrize(("unit", "x", "y"), [("CENTIMETER", 20000, 10000), ("INCH", 50800, 25400)])
def test_resolution_of_a_microscope(tmp_path: Path, unit: str, x: float, y: float) -> None:
    path = saved(tmp_path / "a.tif", PLANE, resolution=(x, y), resolutionunit=unit)
    np.testing.assert_allclose(spacing(path), [1.0, 0.5], rtol=1e-9)


@pytest.mark.parametrize(
    "options",
    [
        {"resolution": (300, 300), "resolutionunit": "INCH"},
        {"resolution": (400, 400), "resolutionunit": "CENTIMETER"},  # 25 µm
        {"resolution": (20000, 20000), "resolutionunit": "NONE"},
        {"imagej": True, "resolution": (4, 4), "metadata": {"unit": "pixel"}},
        {"ome": True, "metadata": {"PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "pixel"}},
        {},
    ],
)
def test_no_or_no_believable_pixel_size_is_pixels(tmp_path: Path, options: dict[str, Any]) -> None:
    image = read_image(saved(tmp_path / "a.tif", PLANE, **options))
    np.testing.assert_array_equal(image.affine, np.eye(4))
    assert SamplingGrid.from_image(image).unit == image.meta["unit"] == "px"


@pytest.mark.parametrize("kind", [{"imagej": True}, {"ome": True}, {}])
def test_time_is_pages_and_z_a_volume(tmp_path: Path, kind: dict[str, Any]) -> None:
    path = saved(tmp_path / "a.tif", STACK, axes="TZYX", **kind)
    assert page_count(path) == 2
    for page in range(2):
        np.testing.assert_array_equal(read_image(path, page=page)[0], STACK[page].astype(np.float32))
    single = saved(tmp_path / "b.tif", STACK[:1, :1], axes="TZYX", **kind)
    np.testing.assert_array_equal(read_image(single)[0], STACK[0, 0].astype(np.float32))


def test_time_within_z_is_sorted_out(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.tif", STACK, axes="ZTYX")
    assert page_count(path) == 3
    np.testing.assert_array_equal(read_label(path, page=1)[0], STACK[:, 1])


def test_channels_are_pages_unless_one_is_chosen(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.ome.tif", STACK, axes="TCYX", ome=True)
    assert page_count(path) == 6
    np.testing.assert_array_equal(read_label(path, page=4)[0], STACK[1, 1])
    np.testing.assert_array_equal(read_label(path, page=1, channel=2)[0], STACK[1, 2])
    with pytest.raises(ImageReadError, match=r"channel is 3 but .* has 3 \(axes 'TCYX'\); expected 0 to 2"):
        read_image(path, page=0, channel=3)
    with pytest.raises(ImageReadError, match=r"channel is 1 but .*a\.npy' has no channel axis"):
        np.save(tmp_path / "a.npy", PLANE)
        read_image(tmp_path / "a.npy", channel=1)


def test_pages_of_several_sizes_stand_alone(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(PLANE, metadata=None)
        file.write(PLANE[:5, :4], metadata=None)
    assert page_count(tmp_path / "a.tif") == 2
    np.testing.assert_array_equal(read_label(tmp_path / "a.tif", page=1)[0], PLANE[:5, :4])


def test_imagej_stack_in_one_page_as_above_four_gigabytes(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.tif", STACK[0], axes="TYX", imagej=True, truncate=True)
    with tifffile.TiffFile(path) as file:
        assert len(file.pages) == 1
    np.testing.assert_array_equal(read_label(path, page=2)[0], STACK[0, 2])


# --- writing --------------------------------------------------------------------------------------------------------


def moved(image: torch.Tensor) -> torch.Tensor:
    """The same picture, half as large again, as a registration would hand it on: float, with the input's metadata."""
    return image * 0.5


@pytest.mark.parametrize("volume", [False, True])
def test_ome_keeps_size_type_and_names(tmp_path: Path, volume: bool) -> None:
    known = {"PhysicalSizeX": 500.0, "PhysicalSizeY": 750.0, "PhysicalSizeZ": 3000.0, "Channel": {"Name": ["DAPI"]}}
    units = {f"PhysicalSize{axis}Unit": "nm" for axis in "XYZ"}
    metadata = {**known, **units, "Name": "well B2", "Description": "day 3", "AcquisitionDate": "2024-05-06T07:08:09"}
    array, axes = (STACK[0], "ZYX") if volume else (PLANE, "YX")
    path = saved(tmp_path / "a.ome.tif", array, axes=axes, ome=True, metadata=metadata)
    write_image(tmp_path / "b.ome.tif", moved(read_image(path)))
    with tifffile.TiffFile(tmp_path / "b.ome.tif") as file:
        image = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]
        assert file.series[0].axes == axes
        np.testing.assert_array_equal(file.asarray(), np.rint(array / 2).astype(np.uint16))
    pixels = image["Pixels"]
    assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeY"]) == (0.5, 0.75)
    assert pixels.get("PhysicalSizeZ") == (3.0 if volume else None)
    assert pixels["Channel"]["Name"] == "DAPI"
    assert (image["Name"], image["Description"]) == ("well B2", "day 3")
    assert image["AcquisitionDate"] == "2024-05-06T07:08:09"


def test_imagej_stays_imagej(tmp_path: Path) -> None:
    metadata = {"unit": "micron", "spacing": 1.5}
    path = saved(tmp_path / "a.tif", STACK[0], axes="ZYX", imagej=True, resolution=(4, 2), metadata=metadata)
    image = read_image(path)
    write_image(tmp_path / "b.tif", image)
    np.testing.assert_allclose(spacing(tmp_path / "b.tif"), [1.5, 0.5, 0.25], rtol=1e-9)
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert file.is_imagej and file.series[0].axes == "ZYX"
        np.testing.assert_array_equal(file.asarray(), STACK[0])


def test_plain_keeps_resolution_and_description(tmp_path: Path) -> None:
    path = saved(
        tmp_path / "a.tif", PLANE, resolution=(30000, 10000), resolutionunit=3, description="Zoë, 37 °C".encode()
    )
    write_image(tmp_path / "b.tif", read_image(path))
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert file.pages[0].description == "Zoë, 37 °C"
        assert file.pages[0].resolution == pytest.approx((30000, 10000))
        assert file.pages[0].resolutionunit == 3
    np.testing.assert_allclose(spacing(tmp_path / "b.tif"), [1.0, 1 / 3], rtol=1e-9)


@pytest.mark.parametrize("name", ["b.tif", "b.ome.tif"])
def test_colour_is_kept(tmp_path: Path, name: str) -> None:
    colour = RNG.integers(0, 255, (7, 11, 3)).astype(np.uint8)
    path = saved(tmp_path / "a.tif", colour, photometric="rgb", resolution=(20000, 10000), resolutionunit=3)
    write_image(tmp_path / name, read_image(path, color="keep"))
    np.testing.assert_array_equal(tifffile.imread(tmp_path / name), colour)
    np.testing.assert_allclose(spacing(tmp_path / name, color="keep"), [1.0, 0.5], rtol=1e-9)


def test_volumes_and_types_that_do_not_fit(tmp_path: Path) -> None:
    volume = torch.arange(24).reshape(1, 2, 3, 4)
    with pytest.raises(ValueError, match=r"\(1, 2, 3, 4\) and the type int64; \.tif holds volumes of uint8, uint16"):
        write_image(tmp_path / "a.tif", volume)
    with pytest.raises(ValueError, match=r"image has the shape \(2, 3, 4\); TIFF is written from"):
        write_image(tmp_path / "a.ome.tif", volume[0])
    assert list(tmp_path.iterdir()) == []
    write_image(tmp_path / "a.tif", volume.to(torch.uint8))
    np.testing.assert_array_equal(read_label(tmp_path / "a.tif"), volume)


OME = """<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:0">
<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="6" SizeY="5" SizeZ="1" SizeC="1"
SizeT="2"><TiffData FirstT="0" IFD="0"><UUID FileName="image.ome.tif">urn:uuid:0</UUID></TiffData>
<TiffData FirstT="1" IFD="0"><UUID FileName="PART">urn:uuid:1</UUID></TiffData></Pixels></Image></OME>"""


def two_parts(folder: Path, part: str) -> Path:
    """An OME-TIFF whose second frame is in another file."""
    path = folder / "image.ome.tif"
    tifffile.imwrite(path, np.zeros((5, 6), np.uint8), description=OME.replace("PART", part), metadata=None)
    return path


def test_parts_in_the_same_folder_are_read(tmp_path: Path) -> None:
    secret = np.arange(30, dtype=np.uint8).reshape(5, 6)
    description = OME.replace('UUID="urn:uuid:0"', 'UUID="urn:uuid:1"').replace("PART", "part.ome.tif")
    tifffile.imwrite(tmp_path / "part.ome.tif", secret, description=description, metadata=None)
    path = two_parts(tmp_path, "part.ome.tif")
    assert page_count(path) == 2
    np.testing.assert_array_equal(read_image(path, page=1)[0], secret)


@pytest.mark.parametrize("part", ["../part.tif", "..\\part.tif", "&#46;&#46;&#47;part.tif"])
def test_parts_in_other_folders_are_refused(tmp_path: Path, part: str) -> None:
    with pytest.raises(ImageReadError, match="parts in its own folder"):
        read_image(two_parts(tmp_path, part))
