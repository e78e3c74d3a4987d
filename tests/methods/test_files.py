"""Registering files writes whole files that other programs open, or none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
import torch
from PIL import Image

import monai_cellreg
from monai_cellreg.data import read_image
from monai_cellreg.data.synthetic_sequence import NucleusSequence
from monai_cellreg.geometry import AffineTransform, Pair, SpatialTransform
from monai_cellreg.methods import (
    OutputOptions,
    PairFiles,
    Registration,
    judge,
    picture,
    register,
    register_files,
    report_files,
)
from monai_cellreg.methods import files as files_module

TURNED = np.array([[0.4, -0.9, 0, 5], [0.3, 1.2, 0, -40], [0, 0, 1, 0], [0, 0, 0, 1]])
ROTATED = np.array([[0.6, -1.6, 0, 5], [0.8, 1.2, 0, -40], [0, 0, 1, 0], [0, 0, 0, 1]])


class Told:
    """A method that answers with an affine map of world points."""

    def __init__(self, matrix: list[list[float]]) -> None:
        self.matrix = np.array(matrix, dtype=float)

    def register(self, pair: Pair) -> SpatialTransform:
        return AffineTransform(self.matrix)


SHIFT = Told([[1, 0, 3], [0, 1, -5]])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def registered(folder: Path) -> Registration:
    return register_files(
        folder / "day0.tif",
        folder / "day1.tif",
        folder / "out",
        method="joint",
        known=PairFiles(fixed_label=folder / "label0.tif", moving_label=folder / "label1.tif"),
    )


def test_everything_is_written(film_files: Path) -> None:
    result = registered(film_files)
    out = film_files / "out"
    written = ["metrics.json", "overlay.png", "report.html", "transform.h5", "warped.tif", "warped_label.tif"]
    assert names(out) == written
    warped, label = (tifffile.imread(out / name) for name in ("warped.tif", "warped_label.tif"))
    assert (warped.dtype, warped.shape, label.dtype, label.shape) == (np.uint16, (64, 64), np.uint8, (64, 64))
    np.testing.assert_array_equal(warped, np.rint(np.asarray(result.warped[0])))
    fixed = tifffile.imread(film_files / "label0.tif") > 0
    iou = (fixed & (label > 0)).sum() / (fixed | (label > 0)).sum()
    told = json.loads((out / "metrics.json").read_text())
    assert told["metrics"]["iou_after"] == pytest.approx(iou, abs=1e-6)
    assert told["method"] == "joint" and told["moving"] == str(film_files / "day1.tif")
    assert told["metrics"] == result.metrics
    assert told["moving_label"] == str(film_files / "label1.tif") and "fixed_page" not in told
    assert (told["transform"], told["files"], told["account"]) == ("transform.h5", written, [])
    assert told["verdict"]["level"] == judge(result).level and told["verdict"]["reasons"]
    assert told["versions"]["monai_cellreg"] == monai_cellreg.__version__
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "day1.tif onto day0.tif" in page and str(film_files / "label1.tif") in page
    assert Image.open(out / "overlay.png").size[0] == 1200


def test_simpleitk_warps_with_the_file_as_we_do(film_files: Path) -> None:
    registered(film_files)
    fixed, moving = (sitk.ReadImage(str(film_files / f"day{t}.tif"), sitk.sitkFloat64) for t in range(2))
    transform = sitk.ReadTransform(str(film_files / "out" / "transform.h5"))
    theirs = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, transform, sitk.sitkLinear, -1.0))
    ours = tifffile.imread(film_files / "out" / "warped.tif")
    seen = theirs >= 0
    assert seen.mean() > 0.8
    assert np.abs(theirs - ours)[seen].max() <= 1.0  # ours is rounded to whole numbers
    assert np.abs(sitk.GetArrayFromImage(moving) - ours)[seen].max() > 1000


def test_simpleitk_warps_turned_nifti_as_we_do(film: NucleusSequence, tmp_path: Path) -> None:
    for t in range(2):
        image = nibabel.Nifti1Image(film.images[t, 0, :50].astype(np.float32), ROTATED)
        nibabel.save(image, tmp_path / f"day{t}.nii.gz")
    result = register_files(tmp_path / "day0.nii.gz", tmp_path / "day1.nii.gz", tmp_path / "out", method="joint")
    assert names(tmp_path / "out") == ["metrics.json", "overlay.png", "report.html", "transform.h5", "warped.nii.gz"]
    written = nibabel.load(tmp_path / "out" / "warped.nii.gz")
    np.testing.assert_allclose(written.affine[:2, [0, 1, 3]], ROTATED[:2, [0, 1, 3]], atol=1e-5)
    np.testing.assert_allclose(written.get_fdata(), np.asarray(result.warped[0]), atol=1e-6)
    fixed, moving = (sitk.ReadImage(str(tmp_path / f"day{t}.nii.gz"), sitk.sitkFloat64) for t in range(2))
    transform = sitk.ReadTransform(str(tmp_path / "out" / "transform.h5"))
    theirs = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, transform, sitk.sitkLinear, -1.0)).T
    seen = theirs >= 0
    assert seen.mean() > 0.8
    assert np.abs(theirs - written.get_fdata())[seen].max() < 1e-3


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("a.png", "uint8"), ("a.png", "uint16"), ("a.ome.tif", "int16"), ("a.tiff", "float32"), ("a.jpg", "uint8")],
)
def test_warped_has_the_extension_and_number_type_of_the_moving_file(tmp_path: Path, name: str, dtype: str) -> None:
    values = (np.add.outer(np.arange(20), 3 * np.arange(30)) % 100).astype(dtype)
    path = tmp_path / name
    tifffile.imwrite(path, values) if ".tif" in name else Image.fromarray(values).save(path)
    register_files(path, path, tmp_path / "out", method=SHIFT)
    written = tmp_path / "out" / f"warped{name[1:]}"
    assert written.is_file()
    source, warped = (read_image(file) for file in (path, written))
    assert warped.meta["source_dtype"] == dtype
    tolerance = 12 if name.endswith(".jpg") else 1e-3  # JPEG is lossy
    np.testing.assert_allclose(warped[0, :-3, 5:], source[0, 3:, :-5], rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg"])
def test_colour_stays_colour(tmp_path: Path, name: str) -> None:
    row, column = np.indices((40, 64))
    colour = np.stack([6 * row, 3 * column, 120 + row - column], -1).astype(np.uint8)
    Image.fromarray(colour).save(tmp_path / name, quality=95)
    register_files(tmp_path / name, tmp_path / name, tmp_path / "out", method=SHIFT)
    source, warped = (
        np.asarray(Image.open(path)) for path in (tmp_path / name, tmp_path / "out" / f"warped{name[1:]}")
    )
    assert (warped.shape, warped.dtype) == ((40, 64, 3), np.uint8)
    difference = np.abs(warped[:-3, 5:].astype(float) - source[3:, :-5])
    assert difference.max() <= (12 if name.endswith(".jpg") else 0)  # JPEG is lossy


def test_images_of_two_sizes_have_no_overlay(film_files: Path) -> None:
    tifffile.imwrite(film_files / "wide.tif", np.pad(tifffile.imread(film_files / "day1.tif"), ((0, 0), (6, 10))))
    register_files(film_files / "day0.tif", film_files / "wide.tif", film_files / "out", method="joint")
    assert names(film_files / "out") == ["metrics.json", "report.html", "transform.h5", "warped.tif"]
    assert tifffile.imread(film_files / "out" / "warped.tif").shape == (64, 64)


def test_volumes_are_written_by_a_method_that_takes_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        nibabel.save(
            nibabel.Nifti1Image(rng.random((9, 12, 14), dtype=np.float32), np.eye(4)), tmp_path / f"{name}.nii"
        )
    move = Told([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 2]])
    register_files(tmp_path / "a.nii", tmp_path / "b.nii", tmp_path / "out", method=move)
    assert names(tmp_path / "out") == ["metrics.json", "report.html", "transform.h5", "warped.nii"]
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["method"] == "Told"


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("write_image", OSError("disk full")),
        ("save_before_after", KeyboardInterrupt("disk full")),
        ("write_report", KeyboardInterrupt("disk full")),
        ("write_json", OSError("disk full")),
    ],
)
def test_a_failure_or_interruption_changes_nothing(
    film_files: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    """Not one file is that of the new run while another is that of the old."""

    def failing(*_: object, **__: object) -> None:
        raise error

    out = film_files / "out"
    out.mkdir()
    before = {name: name.encode() for name in ("warped.tif", "overlay.png", "transform.h5", "warped_label.tif")}
    before["metrics.json"] = json.dumps({"files": list(before)}).encode()
    for name, content in before.items():
        (out / name).write_bytes(content)
    monkeypatch.setattr(files_module, step, failing)
    with pytest.raises(type(error), match="disk full"):
        register_files(film_files / "day0.tif", film_files / "day1.tif", out, method=SHIFT)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_files_of_an_earlier_run_vanish_and_those_of_others_stay(film_files: Path) -> None:
    out = film_files / "out"
    out.mkdir()
    ours = ["warped.tif", "warped_label.nii.gz", "transform.h5", "report.html"]
    for name in (*ours, "notes.txt"):
        (out / name).write_text("old")
    (out / "metrics.json").write_text(json.dumps({"files": [*ours, "notes.txt", "..", "../day0.tif"]}))
    Image.fromarray(tifffile.imread(film_files / "day1.tif")).save(film_files / "day1.png")
    written = OutputOptions(transform_format="tfm", report=False)
    register_files(film_files / "day0.tif", film_files / "day1.png", out, method=SHIFT, written=written)
    assert names(out) == ["metrics.json", "notes.txt", "overlay.png", "transform.tfm", "warped.png"]
    assert (film_files / "day0.tif").is_file()


def test_a_folder_in_the_way_is_not_replaced(film_files: Path) -> None:
    (film_files / "out" / "warped.tif").mkdir(parents=True)
    with pytest.raises(IsADirectoryError, match=r"warped\.tif cannot be written because .*out holds a folder of that"):
        register_files(film_files / "day0.tif", film_files / "day1.tif", film_files / "out", method="joint")
    assert names(film_files / "out") == ["warped.tif"]


def test_pages_and_formats_that_cannot_be_written(film_files: Path) -> None:
    """The frames of an animation become TIFF."""
    frames = [Image.fromarray((tifffile.imread(film_files / f"day{t}.tif") // 256).astype(np.uint8)) for t in (0, 1)]
    frames[0].save(film_files / "film.gif", save_all=True, append_images=frames[1:])
    film, out = film_files / "film.gif", film_files / "out"
    known = PairFiles(fixed_page=0, moving_page=1)
    register_files(film, film, out, method=Told([[1, 0, 0], [0, 1, 0]]), known=known)
    np.testing.assert_array_equal(tifffile.imread(out / "warped.tif"), np.stack([frames[1]] * 3, -1))  # a palette
    told = json.loads((out / "metrics.json").read_text())
    assert (told["fixed_page"], told["moving_page"]) == (0, 1)


def test_the_report_of_the_files_is_that_of_the_run(film_files: Path) -> None:
    registered(film_files)
    out = film_files / "out"
    page = (out / "report.html").read_text(encoding="utf-8")
    (out / "report.html").unlink()
    assert report_files(out) == out / "report.html"
    again = (out / "report.html").read_text(encoding="utf-8")
    told = json.loads((out / "metrics.json").read_text())
    for text in (told["verdict"]["reasons"][0], "day1.tif onto day0.tif"):
        assert text in page and text in again
    assert abs(len(page) - len(again)) < 1000


def test_another_transform_format_is_refused() -> None:
    with pytest.raises(ValueError, match=r"transform_format is 'h6', expected one of 'h5', 'tfm'"):
        OutputOptions(transform_format="h6")


def test_nothing_is_written_when_the_images_cannot_be_registered(film_files: Path) -> None:
    tifffile.imwrite(film_files / "flat.tif", np.ones((64, 64), np.uint8))
    with pytest.raises(ValueError, match=r"flat\.tif' is constant"):
        register_files(film_files / "day0.tif", film_files / "flat.tif", film_files / "out")
    assert names(film_files / "out") == []


def test_folder_that_cannot_be_written_is_told_first(film_files: Path) -> None:
    with pytest.raises(NotADirectoryError, match=r"folder .*day0\.tif.x cannot be made because .*day0\.tif is not a"):
        register_files("missing.tif", "missing.tif", film_files / "day0.tif" / "x")


def test_picture_shows_overlap_only_where_labels_are_known(film: NucleusSequence) -> None:
    fixed, moving = film.images[:, 0]
    labels = {"fixed_label": film.labels[0, 0], "moving_label": film.labels[1, 0]}
    known = register(fixed, moving, method="joint", **labels)
    shown = picture(known, "nucleus")
    assert shown.name == "nucleus" and 0 <= shown.fixed.min() < shown.fixed.max() <= 1
    assert shown.iou_before == pytest.approx(known.metrics["iou_before"], abs=1e-6)
    assert shown.iou_after == pytest.approx(known.metrics["iou_after"], abs=1e-6)
    expected = known.transform.displacement(known.pair.fixed_grid)[0].numpy()
    np.testing.assert_allclose(shown.displacement_vox, expected, rtol=0, atol=1e-4)
    assert np.isnan(
        picture(register(fixed, moving, method="joint", fixed_label=film.labels[0, 0]), "no labels").iou_after
    )


@pytest.mark.parametrize("dtype", [">u2", "bool", "float16"])
def test_picture_of_any_number_type(dtype: str) -> None:
    values = (np.add.outer(np.arange(20), np.arange(30)) % 7 > 3).astype(dtype)
    shown = picture(register(values, values, method=SHIFT), "a")
    np.testing.assert_allclose(shown.warped[:-3, 5:], values[3:, :-5].astype(float), atol=1e-2)


def test_unlabelled_picture_says_nothing_of_overlap(
    film: NucleusSequence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.axes import Axes

    said: list[str] = []
    original: Callable[..., object] = Axes.set_xlabel

    def listen(self: Axes, text: str, **options: object) -> object:
        said.append(text)
        return original(self, text, **options)

    monkeypatch.setattr(Axes, "set_xlabel", listen)
    files_module.save_before_after(tmp_path / "a.png", [picture(register(*film.images[:, 0], method="joint"), "day1")])
    assert "day1" in said and not [text for text in said if "nan" in text or "IoU" in text]


def test_labels_may_be_true_and_false(film: NucleusSequence) -> None:
    masks = torch.from_numpy(film.labels[:, 0] > 0)
    metrics = register(*film.images[:, 0], method="joint", fixed_label=masks[0], moving_label=masks[1]).metrics
    overlap = (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum()
    assert metrics["iou_before"] == pytest.approx(float(overlap), abs=1e-6)
