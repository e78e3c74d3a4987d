"""Labels of a reference on an image: where they lie, what they are called, and in which file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from PIL import Image

pytest.importorskip("monailabel", reason="MONAI Label is not installed: make test-label")

from monai_cellreg.data import read_grid, read_label

if TYPE_CHECKING:
    from monai_cellreg.apps.label_app.app import RegistrationApp

PAIRS = [("frame_2", "frame_0"), ("heart_es", "heart_ed"), ("cells_1", "cells_0")]


@pytest.fixture
def labelled(app: RegistrationApp, studies: Path) -> RegistrationApp:
    """The app, with a label of ``cells_0`` whose values need 16 bits."""
    label = np.zeros((60, 72), np.uint16)
    label[20:40, 15:50], label[25:30, 20:30] = 7, 300
    tifffile.imwrite(studies / "labels" / "final" / "cells_0.ome.tif", label, ome=True)
    app.datastore().refresh()
    return app


def asked(app: RegistrationApp, image: str, reference: str, **more: Any) -> tuple[Path, dict[str, Any]]:
    answer = app.infer({"model": "propagate_labels", "image": image, "reference": reference, **more})
    json.dumps(answer, allow_nan=False)
    return Path(answer["file"]), answer["params"]


def moved(label: np.ndarray, *voxels: int) -> np.ndarray:
    """A label map read some voxels further, 0 outside: written out with slices, along the axes of the array."""
    padded = np.pad(label, 10)
    return padded[tuple(slice(10 + v, 10 + v + n) for v, n in zip(voxels, label.shape, strict=True))]


@pytest.mark.parametrize(("image", "reference"), PAIRS)
def test_label_is_read_in_the_direction_of_the_map(labelled, found_by, shift, image: str, reference: str) -> None:
    voxels = (4, -3, 1)[: 3 if "heart" in image else 2]
    found_by(shift(*voxels))
    path, _ = asked(labelled, image, reference)
    label = read_label(labelled.datastore().get_label_uri(reference, "final"))[0].numpy()
    assert np.array_equal(read_label(path)[0].numpy(), moved(label, *voxels))


@pytest.mark.parametrize(("image", "reference"), PAIRS)
@pytest.mark.parametrize("suffix", ["", ".nrrd", ".nii.gz", ".mha"])
def test_label_lies_where_itk_sees_the_image(
    labelled, found_by, swirl, image: str, reference: str, suffix: str
) -> None:
    found_by(swirl())
    path, _ = asked(labelled, image, reference, result_extension=suffix)
    source = labelled.datastore().get_image_uri(image)
    assert path.name.endswith(suffix or "".join(Path(source).suffixes))
    seen, label = sitk.ReadImage(source), sitk.ReadImage(str(path))
    assert label.GetSize() == seen.GetSize()
    for one, other in (
        (label.GetSpacing(), seen.GetSpacing()),
        (label.GetOrigin(), seen.GetOrigin()),
        (label.GetDirection(), seen.GetDirection()),
    ):
        np.testing.assert_allclose(one, other, atol=1e-5)
    if not suffix:
        assert read_grid(path).matches(read_grid(source))
        assert read_grid(path).unit == read_grid(source).unit


def test_picture_of_a_slice_has_its_rows_where_itk_has_them(labelled, found_by, shift, studies: Path) -> None:
    values = np.random.default_rng(0).integers(0, 200, (30, 20)).astype(np.uint8)
    affine = np.diag([1.5, 2.0, 4.0, 1.0])
    for name in ("slice_0", "slice_1"):
        nib.save(nib.Nifti1Image(values, affine), studies / f"{name}.nii.gz")
    label = (np.indices((30, 20))[0] < 12).astype(np.uint8)
    nib.save(nib.Nifti1Image(label, affine), studies / "labels" / "final" / "slice_0.nii.gz")
    labelled.datastore().refresh()
    found_by(shift(0, 0))
    path, _ = asked(labelled, "slice_1", "slice_0", result_extension=".png")
    assert np.array_equal(np.asarray(Image.open(path)), label.T)
    path, _ = asked(labelled, "slice_1", "slice_0", result_extension=".ome.tif")
    assert np.array_equal(tifffile.imread(path), label.T)
    np.testing.assert_allclose(read_grid(path).in_unit("mm").spacing, (2.0, 1.5), rtol=1e-4)


@pytest.mark.parametrize("last", [(1,), ()], ids=["volume of one slice", "slice"])
def test_slice_of_nifti_keeps_its_axes(labelled, found_by, swirl, studies: Path, last: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    affine = np.diag([1.5, -2.0, 4.0, 1.0])
    affine[:3, 3] = (5, 6, 7)
    nearby = affine + 0.9 * np.eye(4)[:, [3, 3, 3, 0]]  # the reference starts elsewhere
    for name, place in (("slice_0", affine), ("slice_1", nearby)):
        image = rng.integers(0, 200, (30, 20, *last)).astype(np.uint8)
        nib.save(nib.Nifti1Image(image, place), studies / f"{name}.nii.gz")
    label = np.zeros((30, 20, *last), np.uint8)
    label[8:22, 5:12] = 4
    nib.save(nib.Nifti1Image(label, affine), studies / "labels" / "final" / "slice_0.nii.gz")
    labelled.datastore().refresh()
    found_by(swirl())
    path, _ = asked(labelled, "slice_1", "slice_0")
    transform = labelled.infer({"model": "transform", "image": "slice_1", "reference": "slice_0"})["file"]
    fixed, moving = (
        sitk.ReadImage(str(file)) for file in (studies / "slice_1.nii.gz", studies / "labels/final/slice_0.nii.gz")
    )
    result = sitk.ReadImage(str(path))
    expected = sitk.Resample(moving, fixed, sitk.ReadTransform(transform), sitk.sitkNearestNeighbor)
    assert result.GetSize() == fixed.GetSize() == (30, 20, *last)
    np.testing.assert_allclose(result.GetOrigin(), fixed.GetOrigin(), atol=1e-5)
    assert np.array_equal(sitk.GetArrayFromImage(result), sitk.GetArrayFromImage(expected))
    assert 0 < (sitk.GetArrayFromImage(result) != sitk.GetArrayFromImage(moving)).mean() < 0.5


@pytest.mark.parametrize(
    ("dtype", "written", "noted"), [("", "uint16", False), ("uint8", "uint16", True), ("int32", "int32", False)]
)
def test_labels_never_overflow(labelled, found_by, shift, dtype: str, written: str, noted: bool) -> None:
    found_by(shift(0, 0))
    path, told = asked(labelled, "cells_1", "cells_0", result_extension=".nrrd", result_dtype=dtype)
    array = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    assert array.dtype == written
    assert np.unique(array).tolist() == [0, 7, 300]
    assert ("note" in told) == noted
    assert not noted or "range from 0 to 300; they are written as uint16" in told["note"]


def test_names_between_are_told_too(labelled, found_by, shift) -> None:
    """3D Slicer gives the n-th name to label n."""
    found_by(shift(0, 0))
    names = asked(labelled, "cells_1", "cells_0")[1]["label_names"]
    assert list(names.items()) == [(f"label {k}", k) for k in (*range(1, 256), 300)]


def test_names_are_those_of_labels_that_are_left(labelled, found_by, shift) -> None:
    info = {"label_info": [{"name": "left", "idx": 1}, {"name": "wall", "idx": 2}, {"name": "blood", "idx": 3}]}
    labelled.datastore().update_label_info("heart_ed", "final", info)
    found_by(shift(0, 0, 0))
    assert asked(labelled, "heart_es", "heart_ed")[1]["label_names"] == {"left": 1, "wall": 2, "blood": 3}
    found_by(shift(500, 0, 0))
    assert asked(labelled, "heart_es", "heart_ed")[1]["label_names"] == {}
    labels = labelled.info()["models"]["propagate_labels"]["labels"]
    assert labels == {"left": 1, "wall": 2, "blood": 3, "label 1": 1, "label 7": 7, "label 300": 300}


def test_answer_tells_how_good_it_is(labelled) -> None:
    path, told = asked(labelled, "frame_2", "frame_0", method="joint")
    assert told["reference"] == "frame_0" and told["method"] == "joint"
    assert told["metrics"]["ncc_after"] > told["metrics"]["ncc_before"]
    assert told["verdict"]["level"] == "good"
    assert any("correlation" in reason for reason in told["verdict"]["reasons"])
    assert set(told["latencies"]) == {"pre", "infer", "write", "total"}
    label = read_label(path)
    assert label.shape == (1, 80, 96) and set(label.unique().tolist()) == {0, 1}


def test_finished_label_of_the_image_is_measured_against(labelled, found_by, shift, studies: Path) -> None:
    label = np.asarray(Image.open(studies / "labels/final/frame_0.png"))
    Image.fromarray(moved(label, 2, 0)).save(studies / "labels" / "final" / "frame_1.png")
    labelled.datastore().refresh()
    found_by(shift(2, 0))
    assert asked(labelled, "frame_1", "frame_0")[1]["metrics"]["iou_after"] == 1
    assert asked(labelled, "frame_1", "frame_0")[1]["metrics"]["iou_before"] < 0.99


def test_one_that_fails_leaves_no_file(labelled, found_by, shift, tmp_path: Path) -> None:
    from fastapi import HTTPException

    found_by(shift(0, 0, 0))
    with pytest.raises(HTTPException, match="holds \\(1, height, width\\)"):
        asked(labelled, "heart_es", "heart_ed", result_extension=".png")
    assert list((tmp_path / "temporary").iterdir()) == []
