"""Transform and displacement files: SimpleITK makes the same labels of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
import torch

pytest.importorskip("monailabel", reason="MONAI Label is not installed: make test-label")

from fastapi import HTTPException

from monai_cellreg.data import read_grid
from monai_cellreg.geometry import Pair

if TYPE_CHECKING:
    from monai_cellreg.apps.label_app.app import RegistrationApp

PAIRS = [("frame_2", "frame_0"), ("heart_es", "heart_ed"), ("cells_1", "cells_0")]


@pytest.fixture
def labelled(app: RegistrationApp, studies: Path) -> RegistrationApp:
    """The app, with a label of ``cells_0`` too."""
    label = np.zeros((60, 72), np.uint8)
    label[20:40, 15:50] = 3
    tifffile.imwrite(studies / "labels" / "final" / "cells_0.ome.tif", label, ome=True)
    app.datastore().refresh()
    return app


def answered(app: RegistrationApp, model: str, image: str, reference: str, **more: Any) -> str:
    return app.infer({"model": model, "image": image, "reference": reference, **more})["file"]


def read(app: RegistrationApp, image: str, reference: str) -> tuple[sitk.Image, sitk.Image]:
    """The image and the reference's label, as a client of SimpleITK reads them."""
    store = app.datastore()
    return sitk.ReadImage(store.get_image_uri(image)), sitk.ReadImage(store.get_label_uri(reference, "final"))


def check_same_labels(app: RegistrationApp, image: str, reference: str, **more: Any) -> None:
    """Compares the labels that the app gives with those that SimpleITK makes by the transform file."""
    transform = sitk.ReadTransform(answered(app, "transform", image, reference, **more))
    given = {key: value for key, value in more.items() if key != "result_extension"}
    labels = sitk.ReadImage(answered(app, "propagate_labels", image, reference, **given))
    fixed, moving = read(app, image, reference)
    expected = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, transform, sitk.sitkNearestNeighbor, 0))
    assert np.array_equal(sitk.GetArrayFromImage(labels), expected)
    assert (expected != sitk.GetArrayFromImage(moving)).any()


@pytest.mark.parametrize(("image", "reference"), PAIRS)
@pytest.mark.parametrize("suffix", [".h5", ".tfm", ".txt"])
def test_simpleitk_makes_the_same_labels(labelled, found_by, swirl, image: str, reference: str, suffix: str) -> None:
    found_by(swirl())
    check_same_labels(labelled, image, reference, result_extension=suffix)


@pytest.mark.parametrize(
    ("image", "reference", "method"),
    [("frame_2", "frame_0", "joint"), ("heart_es", "heart_ed", "simpleitk-affine")],
)
def test_simpleitk_makes_the_same_labels_of_real_methods(labelled, image: str, reference: str, method: str) -> None:
    check_same_labels(labelled, image, reference, method=method)


@pytest.mark.parametrize(("image", "reference"), PAIRS)
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_field_is_the_transform_at_the_voxels(
    labelled, found_by, swirl, image: str, reference: str, suffix: str
) -> None:
    found_by(swirl())
    field = sitk.ReadImage(answered(labelled, "displacement", image, reference, result_extension=suffix))
    transform = sitk.ReadTransform(answered(labelled, "transform", image, reference))
    fixed, _ = read(labelled, image, reference)
    assert field.GetSize() == fixed.GetSize()
    rng = np.random.default_rng(0)
    for _ in range(20):
        index = [int(rng.integers(n)) for n in fixed.GetSize()]
        point = np.array(fixed.TransformIndexToPhysicalPoint(index))
        np.testing.assert_allclose(point + field[index], transform.TransformPoint(point.tolist()), atol=1e-4)


def test_map_is_kept_exactly_where_itk_sees_the_images_as_we_do(labelled, found_by, shift) -> None:
    found_by(shift(2, -1, 1))
    transform = sitk.ReadTransform(answered(labelled, "transform", "heart_es", "heart_ed"))
    assert transform.IsLinear()
    fixed, _ = read(labelled, "heart_es", "heart_ed")
    start, end = (fixed.TransformIndexToPhysicalPoint(index) for index in ((10, 12, 1), (12, 11, 2)))
    np.testing.assert_allclose(transform.TransformPoint(start), end, atol=1e-4)


def test_pixel_size_that_itk_ignores_does_not_count(labelled, found_by, shift) -> None:
    found_by(shift(5, -3))  # rows, columns
    transform = sitk.ReadTransform(answered(labelled, "transform", "cells_1", "cells_0"))
    np.testing.assert_allclose(transform.TransformPoint((20, 30)), (17, 35), atol=1e-6)


def test_nifti_without_codes_is_placed_as_itk_does(labelled, found_by, shift, studies: Path) -> None:
    for name in ("heart_es.nii.gz", "heart_ed.nii.gz", "labels/final/heart_ed.nii.gz"):
        image = nib.load(studies / name)
        plain = nib.Nifti1Image(np.asarray(image.dataobj), image.affine)
        plain.set_sform(image.affine, 0)
        plain.set_qform(image.affine, 0)
        nib.save(plain, studies / name)
    found_by(shift(4, 2, 1))
    transform = sitk.ReadTransform(answered(labelled, "transform", "heart_es", "heart_ed"))
    labels = sitk.ReadImage(answered(labelled, "propagate_labels", "heart_es", "heart_ed"))
    fixed, moving = read(labelled, "heart_es", "heart_ed")
    assert np.allclose(labels.GetOrigin(), fixed.GetOrigin(), atol=1e-4)
    expected = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, transform, sitk.sitkNearestNeighbor, 0))
    assert np.array_equal(sitk.GetArrayFromImage(labels), expected)
    assert np.array_equal(expected[:-1, :-2, :-4], sitk.GetArrayFromImage(moving)[1:, 2:, 4:])


@pytest.mark.parametrize("stripped", ["heart_es", "heart_ed"])
def test_only_one_image_is_elsewhere_for_itk(labelled, found_by, swirl, studies: Path, stripped: str) -> None:
    image = nib.load(studies / f"{stripped}.nii.gz")
    image.set_sform(image.affine, 0)
    image.set_qform(image.affine, 0)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj).copy(), None, image.header), studies / f"{stripped}.nii.gz")
    found_by(swirl())
    transform = sitk.ReadTransform(answered(labelled, "transform", "heart_es", "heart_ed"))
    paths = [studies / f"{name}.nii.gz" for name in ("heart_es", "heart_ed")]
    (fixed, moving), grids = [sitk.ReadImage(str(path)) for path in paths], [read_grid(path) for path in paths]
    seen = [np.allclose(grids[k].affine[:3, 3] * [-1, -1, 1], (fixed, moving)[k].GetOrigin()) for k in (0, 1)]
    assert seen == [stripped != "heart_es", stripped != "heart_ed"]
    found = swirl().register(Pair(torch.zeros(1, *grids[0].shape), torch.zeros(1, *grids[1].shape), *grids))
    for index in ((10, 12, 1), (30, 20, 2), (51, 47, 3)):
        world = grids[0].index_to_world(torch.tensor([index], dtype=torch.float64)).numpy()
        target = grids[1].world_to_index(torch.as_tensor(found.points(world)))[0].tolist()
        point = fixed.TransformIndexToPhysicalPoint(index)
        expected = moving.TransformContinuousIndexToPhysicalPoint(target)
        np.testing.assert_allclose(transform.TransformPoint(point), expected, atol=1e-3)


@pytest.mark.parametrize(
    ("model", "suffix"), [("transform", ".nii.gz"), ("displacement", ".png"), ("transform", ".mat")]
)
def test_extension_that_cannot_be_written_is_refused(labelled, found_by, shift, model: str, suffix: str) -> None:
    found_by(shift(0, 0))
    with pytest.raises(HTTPException, match=f"result_extension is '{suffix}', expected one of") as refusal:
        answered(labelled, model, "frame_2", "frame_0", result_extension=suffix)
    assert refusal.value.status_code == 422


def test_slice_and_volume_of_one_slice_do_not_go_together(labelled, found_by, shift, studies: Path) -> None:
    values = np.random.default_rng(0).integers(0, 200, (30, 20, 1)).astype(np.uint8)
    nib.save(nib.Nifti1Image(values, np.eye(4)), studies / "volume.nii.gz")
    nib.save(nib.Nifti1Image(values[..., 0], np.eye(4)), studies / "slice.nii.gz")
    labelled.datastore().refresh()
    found_by(shift(0, 0))
    with pytest.raises(HTTPException, match="image 'slice' has 2 axes for ITK but reference 'volume' has 3"):
        answered(labelled, "transform", "slice", "volume")
