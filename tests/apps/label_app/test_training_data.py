"""The folder that the bundles read shows the datastore's images, with labels voxel on voxel."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

pytest.importorskip("monailabel", reason="MONAI Label is not installed: make test-label")

from monai_cellreg.apps.label_app.training_data import collect, fingerprint, stage
from monai_cellreg.data import list_items, load_item, read_image, read_label

if TYPE_CHECKING:
    from monai_cellreg.apps.label_app.app import RegistrationApp


def staged(app: RegistrationApp, folder: Path, dims: int) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    """Images and labels as a bundle reads them, by the start of the file's name."""
    stage(collect(app.datastore(), dims=dims, with_labels=True).images, folder)
    items = {}
    for item in list_items(folder):
        image, label = load_item(item)
        items[Path(item["image"]).name.rsplit("_", 1)[0]] = (
            np.asarray(image),
            None if label is None else np.asarray(label),
        )
    return items


def test_images_of_the_wanted_dimension_take_part(app) -> None:
    plane = collect(app.datastore(), dims=2, with_labels=True)
    assert [each.image_id for each in plane.images] == [
        "cells_0",
        "cells_1",
        "frame_0",
        "frame_1",
        "frame_2",
        "frame_3",
    ]
    assert plane.left_out == dict.fromkeys(("heart_ed", "heart_es"), "3D, and the training is of 2D images")
    assert plane.labels == 1
    volumes = collect(app.datastore(), dims=3, with_labels=False)
    assert [each.image_id for each in volumes.images] == ["heart_ed", "heart_es"]
    assert volumes.labels == 0
    assert collect(app.datastore(), dims=None, with_labels=False).images[0].grid.spatial_dims == 2


def test_most_images_decide_the_dimension(app, studies: Path) -> None:
    for path in studies.glob("*.png"):
        path.unlink()
    app.datastore().refresh()
    assert collect(app.datastore(), dims=None, with_labels=False).images[0].grid.spatial_dims == 2  # as many of both
    (studies / "cells_0.ome.tif").unlink()
    app.datastore().refresh()
    assert collect(app.datastore(), dims=None, with_labels=False).images[0].grid.spatial_dims == 3


def test_images_that_cannot_train_are_told_with_the_reason(app, studies: Path) -> None:
    (studies / "frame_3.png").write_bytes(b"no picture")
    found = collect(app.datastore(), dims=2, with_labels=True, with_unlabelled=False)
    assert [each.image_id for each in found.images] == ["frame_0"]
    assert found.left_out["frame_1"] == "no label with the tag 'final'"
    unlabelled = collect(app.datastore(), dims=2, with_labels=True)
    assert str(studies) not in unlabelled.left_out["frame_3"] and "frame_3" in unlabelled.left_out["frame_3"]
    with pytest.raises(ValueError, match="has 1 images that can train; expected 2 or more. Left out: .*Label more$"):
        found.check_count(2, "Label more")
    found.check_count(1, "")


def test_bundles_read_what_the_datastore_holds(app, studies: Path, tmp_path: Path) -> None:
    items = staged(app, tmp_path / "data", dims=2)
    assert sorted(items) == ["cells_0", "cells_1", "frame_0", "frame_1", "frame_2", "frame_3"]
    np.testing.assert_array_equal(items["frame_2"][0], read_image(studies / "frame_2.png"))
    np.testing.assert_array_equal(items["frame_0"][1], read_label(studies / "labels" / "final" / "frame_0.png"))
    assert items["frame_1"][1] is None
    volumes = staged(app, tmp_path / "volumes", dims=3)
    label = read_label(studies / "labels" / "final" / "heart_ed.nii.gz")
    np.testing.assert_array_equal(volumes["heart_ed"][1], label)
    assert not any(path.is_symlink() and not path.resolve().is_relative_to(studies) for path in tmp_path.rglob("*"))


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_labels_of_pictures_in_formats_of_volumes_lie_pixel_on_pixel(app, studies, tmp_path, suffix: str) -> None:
    expected = np.zeros((80, 96), np.uint8)  # rows, columns
    expected[10:30, 60:65] = 3
    sitk.WriteImage(sitk.GetImageFromArray(expected[None]), tmp_path / f"sent{suffix}")  # as 3D Slicer: one slice
    app.datastore().save_label("frame_2", str(tmp_path / f"sent{suffix}"), "final", {})
    found = staged(app, tmp_path / "data", dims=2)["frame_2"][1]
    np.testing.assert_array_equal(found[0], expected)


def test_formats_that_bundles_do_not_read_are_converted(app, studies: Path, tmp_path: Path) -> None:
    volume = sitk.ReadImage(studies / "heart_ed.nii.gz")
    label = sitk.ReadImage(studies / "labels" / "final" / "heart_ed.nii.gz")
    sitk.WriteImage(volume, studies / "other.nrrd")
    sitk.WriteImage(label, studies / "labels" / "final" / "other.nrrd")
    app.datastore().refresh()
    items = staged(app, tmp_path / "data", dims=3)
    for found, expected in zip(items["other"], items["heart_ed"], strict=True):
        np.testing.assert_array_equal(found, expected)


def test_labels_stored_in_another_order_of_voxels_are_turned(app, studies: Path, tmp_path: Path) -> None:
    label = sitk.ReadImage(studies / "labels" / "final" / "heart_ed.nii.gz")
    sitk.WriteImage(sitk.Flip(label, [True, False, False], False), tmp_path / "sent.nii.gz")
    app.datastore().save_label("heart_es", str(tmp_path / "sent.nii.gz"), "final", {})
    items = staged(app, tmp_path / "data", dims=3)
    np.testing.assert_array_equal(items["heart_es"][1], items["heart_ed"][1])


def test_names_keep_image_and_label_together(app, studies: Path, tmp_path: Path) -> None:
    values = np.arange(600, dtype=np.uint8).reshape(20, 30)
    for name, extra in (("day.1", 0), ("day_1", 1), ("day 1.ome", 2)):
        Image.fromarray(values + extra).save(studies / f"{name}.png")
        Image.fromarray((values > 7 + extra).astype(np.uint8)).save(studies / "labels" / "final" / f"{name}.png")
    app.datastore().refresh()
    stage(collect(app.datastore(), dims=2, with_labels=True, with_unlabelled=False).images, tmp_path / "data")
    pairs = [load_item(item) for item in list_items(tmp_path / "data") if "day" in item["image"]]
    assert len(pairs) == 3 and len({item["group"] for item in list_items(tmp_path / "data")}) == 4
    for image, label in pairs:
        assert label is not None
        extra = int(image[0, 0, 0])
        np.testing.assert_array_equal(np.asarray(label)[0], values > 7 + extra)


def test_fingerprint_follows_the_files(app, studies: Path) -> None:
    def now(*, with_labels: bool = True) -> str:
        app.datastore().refresh()
        return fingerprint(collect(app.datastore(), dims=2, with_labels=with_labels).images)

    before, images_alone = now(), now(with_labels=False)
    assert before == now() != images_alone
    label = studies / "labels" / "final" / "frame_0.png"
    os.utime(label, ns=(1, 1))
    changed = now()
    assert changed != before and now(with_labels=False) == images_alone
    (studies / "frame_3.png").unlink()
    assert now() != changed and now(with_labels=False) != images_alone
