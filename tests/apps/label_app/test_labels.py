"""Labels of the datastore: which there are, what their values are called, where they lie."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from PIL import Image

pytest.importorskip("monailabel", reason="MONAI Label is not installed: make test-label")

from monailabel.datastore.local import LocalDatastore

from monai_cellreg.apps.label_app.labels import label_array, label_file, label_names, label_on, labelled
from monai_cellreg.data import read_grid

if TYPE_CHECKING:
    from monai_cellreg.apps.label_app.app import RegistrationApp


def test_labelled_images_are_listed_finished_ones_first(app, studies: Path) -> None:
    assert list(labelled(app.datastore())) == ["frame_0", "heart_ed"]
    for name in ("cells_0.ome.tif", "frame_0.png"):
        app.datastore().save_label(name.partition(".")[0], str(studies / name), "original", {})
    assert labelled(app.datastore()) == {"frame_0": "final", "heart_ed": "final", "cells_0": "original"}
    assert list(labelled(app.datastore())) == ["frame_0", "heart_ed", "cells_0"]
    app.datastore().save_label("cells_0", str(studies / "cells_1.ome.tif"), "draft", {})
    assert label_file(app.datastore(), "cells_0") == (studies / "labels" / "original" / "cells_0.ome.tif", "original")
    assert label_file(app.datastore(), "frame_1") is None


@pytest.mark.parametrize(
    ("info", "names"),
    [
        ({}, {"label 1": 1, "label 2": 2, "label 3": 3}),
        (
            {"label_info": [{"name": "right", "idx": 1}, {"name": "wall", "idx": 2}]},
            {"right": 1, "wall": 2, "label 3": 3},
        ),
        (
            {"label_info": [{"name": "wall", "id": 2}, {"name": "blood", "id": 3}]},
            {"label 1": 1, "wall": 2, "blood": 3},
        ),
        ({"label_info": [{"name": "a"}, {"name": "b"}]}, {"a": 1, "b": 2, "label 3": 3}),
        ({"params": {"label_names": {"wall": 2}}}, {"label 1": 1, "wall": 2, "label 3": 3}),
        ({"params": {"label_names": ["a", "b"]}}, {"a": 1, "b": 2, "label 3": 3}),
        ({"label_info": [{"name": "cell", "idx": k} for k in (1, 2, 3)]}, {"cell": 1, "cell 2": 2, "cell 3": 3}),
        (
            {"label_info": ["a", None, {"name": 7, "idx": None}], "params": 3},
            {"label 1": 1, "label 2": 2, "label 3": 3},
        ),
    ],
)
def test_names_are_those_that_the_info_tells(app: RegistrationApp, info: dict[str, Any], names: dict[str, int]) -> None:
    LocalDatastore.update_label_info(app.datastore(), "heart_ed", "final", info)  # unchecked, as in an older folder
    assert list(label_names(app.datastore(), "heart_ed", "final").items()) == list(names.items())


def test_names_follow_a_changed_label(app, studies: Path) -> None:
    assert label_names(app.datastore(), "frame_0", "final") == {"label 1": 1}
    Image.fromarray(np.full((80, 96), 6, np.uint8)).save(studies / "labels" / "final" / "frame_0.png")
    assert label_names(app.datastore(), "frame_0", "final") == {"label 6": 6}


@pytest.fixture
def values() -> np.ndarray:
    """A label map (rows, columns) of 80 x 96 pixels that no flip leaves as it is."""
    row, column = np.indices((80, 96))
    return ((row < 20) + 2 * (column < 30) + 3 * (row + 2 * column > 150)).astype(np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".nii.gz", ".nrrd", ".mha"])
def test_label_of_a_picture_lies_pixel_on_pixel(studies: Path, tmp_path: Path, values: np.ndarray, suffix: str) -> None:
    path = tmp_path / f"label{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(values), str(path))
    for image in (values, values[None]):  # 3D Slicer stores a picture as a volume of one slice
        if image.ndim == 2 or suffix in (".nii.gz", ".nrrd", ".mha"):
            sitk.WriteImage(sitk.GetImageFromArray(image), str(path))
        label = label_on(path, read_grid(studies / "frame_0.png"))
        assert np.array_equal(label[0].numpy(), values)
        assert label.meta["space"] == "index"


def test_label_of_a_volume_lies_where_its_file_says(studies: Path, tmp_path: Path) -> None:
    source = nib.load(studies / "labels" / "final" / "heart_ed.nii.gz")
    array, grid = np.asarray(source.dataobj), read_grid(studies / "heart_ed.nii.gz")
    assert np.array_equal(label_on(studies / "labels" / "final" / "heart_ed.nii.gz", grid)[0].numpy(), array)
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = array.shape[0] - 1
    flipped = nib.Nifti1Image(array[::-1].copy(), source.affine @ flip)
    nib.save(flipped, tmp_path / "flipped.nii.gz")
    assert np.array_equal(label_on(tmp_path / "flipped.nii.gz", grid)[0].numpy(), array)
    nib.save(
        nib.Nifti1Image(array[5:].copy(), source.affine @ np.array([[1, 0, 0, 5], *np.eye(4)[1:]])),
        tmp_path / "cropped.nii.gz",
    )
    cropped = label_on(tmp_path / "cropped.nii.gz", grid)[0].numpy()
    assert np.array_equal(cropped[5:], array[5:]) and not cropped[:5].any()


def test_label_of_another_size_is_refused(studies: Path, tmp_path: Path, values: np.ndarray) -> None:
    Image.fromarray(values.T.copy()).save(tmp_path / "turned.png")
    with pytest.raises(ValueError, match="has shape 96x80 but its image has 80x96; expected the same"):
        label_on(tmp_path / "turned.png", read_grid(studies / "frame_0.png"))


def test_pages_are_stacked_as_itk_does(tmp_path: Path) -> None:
    stack = np.random.default_rng(0).integers(0, 9, (3, 5, 7)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "film.ome.tif", stack, ome=True, metadata={"axes": "TYX"})
    tifffile.imwrite(tmp_path / "stack.tif", stack, imagej=True, metadata={"axes": "ZYX"})
    sitk.WriteImage(sitk.GetImageFromArray(stack), str(tmp_path / "film.nrrd"))
    nib.save(nib.Nifti1Image(np.stack([stack, stack[::-1]]).T, np.eye(4)), tmp_path / "film.nii.gz")
    for name in ("film.ome.tif", "stack.tif", "film.nrrd", "film.nii.gz"):
        path = tmp_path / name
        assert np.array_equal(label_array(path), sitk.GetArrayFromImage(sitk.ReadImage(str(path)))), name
