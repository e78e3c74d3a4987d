"""DICOM series, made and judged by SimpleITK's GDCM."""

from __future__ import annotations

import locale
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from monai_cellreg.data import ImageReadError, read_grid, read_image, write_image
from monai_cellreg.data.readers import page_count
from monai_cellreg.geometry import SamplingGrid

VALUES = np.random.default_rng(0).integers(-1000, 2000, (4, 5, 7)).astype(np.int16)
TURN = np.reshape(sitk.Euler3DTransform((0, 0, 0), 0.3, -0.2, 0.5).GetMatrix(), (3, 3))
SPACING, ORIGIN = (0.7, 1.3, 3.1), np.array([-12.5, 33.0, 101.25])
STUDY = "1.2.826.0.1.3680043.2.1125.99"


def series(folder: Path, *, number: int = 1, heights: Sequence[float] = (0, 1, 2, 3), spacing: float = 0.7) -> Path:
    """A series whose slices lie at multiples of the distance, its files named in another order."""
    folder.mkdir(exist_ok=True)
    for k, height in enumerate(heights):
        plane = sitk.GetImageFromArray(VALUES[k : k + 1])
        plane.SetSpacing((spacing, SPACING[1], SPACING[2]))
        tags = {
            "0008|0060": "MR",
            "0008|103e": f"scan {number}",
            "0010|0010": "Doe^Jane",
            "0010|0020": "P-17",
            "0020|000d": STUDY,
            "0020|000e": f"{STUDY}.{number}",
            "0008|0018": f"{STUDY}.{number}.{k + 1}",
            "0020|0013": str(k + 1),
            "0020|0037": "\\".join(f"{x:.10f}" for x in TURN[:, :2].T.ravel()),
            "0020|0032": "\\".join(f"{x:.10f}" for x in ORIGIN + height * SPACING[2] * TURN[:, 2]),
        }
        for key, value in tags.items():
            plane.SetMetaData(key, value)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetImageIO("GDCMImageIO")
        writer.SetFileName(str(folder / f"{number}_{9 - k}.dcm"))
        writer.Execute(plane)
    return folder


def reread(folder: Path) -> sitk.Image:
    return sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))


def test_slices_lie_where_itk_says(tmp_path: Path) -> None:
    folder = series(tmp_path / "scan")
    itk = reread(folder)
    for path in (folder, folder / "1_7.dcm"):
        image = read_image(path)
        grid = SamplingGrid.from_image(image)
        assert (grid.shape, grid.frame, grid.unit) == ((7, 5, 4), "RAS", "mm")
        np.testing.assert_array_equal(image[0], VALUES.transpose(2, 1, 0))
        for index in ((0, 0, 0), (6, 4, 3), (6, 0, 0), (0, 4, 0)):
            expected = np.array(itk.TransformIndexToPhysicalPoint(index)) * [-1, -1, 1]
            np.testing.assert_allclose(grid.affine[:3, :3] @ index + grid.affine[:3, 3], expected, atol=1e-4)
            truth = ORIGIN + TURN @ (np.array(index) * SPACING)
            np.testing.assert_allclose(expected, truth * [-1, -1, 1], atol=1e-4)
        assert read_grid(path).matches(grid)


def test_a_volume_that_was_never_dicom_is_written_and_read_and_the_locale_stays(tmp_path: Path) -> None:
    """GDCM sets the locale of the process to one that knows ASCII alone."""
    grid = SamplingGrid((7, 5, 4), np.diag([0.7, 1.3, 3.1, 1.0]), "RAS")
    image = grid.to_image(torch.from_numpy(VALUES.transpose(2, 1, 0)[None].copy()))
    before = locale.setlocale(locale.LC_ALL)
    write_image(tmp_path / "scan.dcm", image)
    assert locale.setlocale(locale.LC_ALL) == before
    again = read_image(tmp_path / "scan.dcm")
    assert locale.setlocale(locale.LC_ALL) == before
    np.testing.assert_array_equal(again, image)
    assert SamplingGrid.from_image(again).matches(grid)


def test_a_file_without_extension_is_known_by_its_content(tmp_path: Path) -> None:
    folder = series(tmp_path / "scan")
    for file in sorted(folder.iterdir()):
        file.rename(file.with_suffix(""))
    np.testing.assert_array_equal(read_image(folder / "1_9")[0], VALUES.transpose(2, 1, 0))


def test_of_several_series_one_is_asked_for(tmp_path: Path) -> None:
    folder = series(tmp_path / "scan")
    series(folder, number=2, heights=(0, 2))
    with pytest.raises(ImageReadError, match=r"holds 2 DICOM series \(scan 1: 4 files.*scan 2: 2 files.*one file"):
        read_image(folder)
    assert read_image(folder / "1_9.dcm").shape == (1, 7, 5, 4)
    image = read_image(folder / "2_8.dcm")
    assert image.shape == (1, 7, 5, 2)
    assert SamplingGrid.from_image(image).spacing[2] == pytest.approx(2 * SPACING[2])


@pytest.mark.parametrize(
    ("heights", "name"),
    [((0, 1, 2, 3.5), "1_6"), ((0, 1, 3, 4), "1_7"), ((0, 1, 1, 2), "1_7"), ((0, 1.05, 2, 3), "1_[78]")],
)
def test_unequal_distances_name_the_file(tmp_path: Path, heights: Sequence[float], name: str) -> None:
    with pytest.raises(ImageReadError, match=rf"{name}\.dcm' lies .* mm apart .*equally spaced"):
        read_image(series(tmp_path / "scan", heights=heights))


def test_a_film_has_its_time_points_as_pages(tmp_path: Path) -> None:
    folder = series(tmp_path / "scan", heights=(1, 1, 0, 0))  # instances 1 and 2 at the upper place
    assert page_count(folder) == 2
    for page in range(2):
        image = read_image(folder, page=page)
        np.testing.assert_array_equal(image[0], VALUES[[2 + page, page]].transpose(2, 1, 0))
        assert SamplingGrid.from_image(image).spacing[2] == pytest.approx(SPACING[2])
    with pytest.raises(ImageReadError, match="has 2 pages; choose one"):
        read_image(folder)


def test_another_pixel_spacing_names_the_file(tmp_path: Path) -> None:
    folder = series(tmp_path / "scan")
    other = series(tmp_path / "other", spacing=0.8)
    (other / "1_8.dcm").replace(folder / "1_8.dcm")
    with pytest.raises(ImageReadError, match=r"1_8\.dcm' has the pixel spacing \[1\.3, 0\.8\]"):
        read_image(folder)


def test_a_damaged_file_and_an_empty_folder(tmp_path: Path) -> None:
    folder = series(tmp_path / "scan")
    content = (folder / "1_9.dcm").read_bytes()
    (folder / "1_9.dcm").write_bytes(content[:300])
    with pytest.raises(ImageReadError, match="1_9.dcm' cannot be read"):
        read_image(folder / "1_9.dcm")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageReadError, match="is a folder without DICOM files"):
        read_image(tmp_path / "empty")


def test_a_derived_series_is_written(tmp_path: Path) -> None:
    image = read_image(series(tmp_path / "scan"))
    for _ in range(2):  # the second replaces the first
        write_image(tmp_path / "warped", image * 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scan", "warped"]
    itk, source = reread(tmp_path / "warped"), reread(tmp_path / "scan")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(itk), 2 * VALUES)
    for get in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(itk, get)(), getattr(source, get)(), atol=1e-5)
    read = [sitk.ImageFileReader() for _ in range(5)]
    files = [*sorted((tmp_path / "warped").iterdir()), tmp_path / "scan" / "1_9.dcm"]
    for reader, file in zip(read, files, strict=True):
        reader.SetFileName(str(file))
        reader.ReadImageInformation()
    tags = [{key: reader.GetMetaData(key).strip() for key in reader.GetMetaDataKeys()} for reader in read]
    for key, value in (("0010|0010", "Doe^Jane"), ("0010|0020", "P-17"), ("0008|0060", "MR"), ("0020|000d", STUDY)):
        assert {own[key] for own in tags} == {value}
    assert len({own["0020|000e"] for own in tags[:4]}) == 1 and tags[0]["0020|000e"] != tags[4]["0020|000e"]
    assert len({own["0008|0018"] for own in tags}) == 5
    assert {own["0008|0008"] for own in tags[:4]} == {"DERIVED\\SECONDARY"}


def test_fractions_and_single_slices(tmp_path: Path) -> None:
    image = read_image(series(tmp_path / "scan"))
    image.meta["source_dtype"] = "float32"
    write_image(tmp_path / "warped", image / 7)
    back = read_image(tmp_path / "warped")
    np.testing.assert_allclose(back, image / 7, atol=2 * float(abs(image).max()) / 7 / 32000)
    one = series(tmp_path / "one", heights=(0,))
    flat = read_image(one)
    assert flat.shape == (1, 7, 5)
    write_image(tmp_path / "one.dcm", flat)
    itk, source = (sitk.ReadImage(str(path)) for path in (tmp_path / "one.dcm", one / "1_9.dcm"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(itk), sitk.GetArrayFromImage(source))
    np.testing.assert_allclose(itk.GetOrigin(), source.GetOrigin(), atol=1e-5)
    np.testing.assert_allclose(itk.GetDirection(), source.GetDirection(), atol=1e-5)


def test_what_is_not_written_as_dicom(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 channels in the space 'index'; DICOM is written from"):
        write_image(tmp_path / "warped", VALUES[:1])
    image = read_image(series(tmp_path / "scan"))
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("x" * 200)
    with pytest.raises(FileExistsError, match="folder with other files"):
        write_image(tmp_path / "notes", image)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes", "scan"]
