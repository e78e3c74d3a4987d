"""Overlap of label maps against MONAI's metrics, and a transform's direction in SimpleITK."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.metrics import compute_dice, compute_iou

from monai_cellreg.benchmarks.label_overlap import Overlap, carried_by_itk, count_overlap

RNG = np.random.default_rng(3)
FIRST, SECOND = RNG.integers(0, 4, (2, 7, 9)).astype(np.uint16)


def test_dice_and_iou_are_those_of_monai() -> None:
    found = count_overlap(FIRST, SECOND)
    masks = [torch.from_numpy(np.stack([x == k for k in (1, 2, 3)]))[None] for x in (FIRST, SECOND)]
    labels = np.array([1, 2, 3])
    assert found.dice(labels) == pytest.approx(float(compute_dice(*masks).mean()))
    assert found.iou(labels) == pytest.approx(float(compute_iou(*masks).mean()))
    assert found.dice(labels[1:2]) == pytest.approx(float(compute_dice(*masks)[0, 1]))
    assert found.common.tolist() == [int(((FIRST == k) & (SECOND == k)).sum()) for k in labels]


def test_images_of_a_case_are_counted_together() -> None:
    apart = [count_overlap(FIRST[:3], SECOND[:3]), count_overlap(FIRST[3:], SECOND[3:] % 2)]
    together = count_overlap(FIRST, np.concatenate([SECOND[:3], SECOND[3:] % 2]))
    total = Overlap.total([*apart, count_overlap(np.zeros((2, 2), int), np.zeros((2, 2), int))])
    for name in Overlap._fields:
        np.testing.assert_array_equal(getattr(total, name), getattr(together, name))


def test_shared_labels_are_in_both() -> None:
    assert count_overlap(np.array([1, 2, 4, 0]), np.array([0, 2, 1, 3])).shared.tolist() == [1, 2]


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"first has the shape \(2, 7, 9\)|first has the shape \(7, 9\)"):
        count_overlap(FIRST, SECOND[:4])


def test_a_transform_leads_from_the_image_to_the_reference(tmp_path: Path) -> None:
    """The reference's label at column 2 comes to column 5 when the map adds -3 columns to points of the image."""
    label, image = sitk.Image(8, 6, sitk.sitkUInt8), sitk.Image(10, 5, sitk.sitkFloat32)
    label[2, 4] = 7
    for content, name in ((label, "label.nii.gz"), (image, "image.nii.gz")):
        content.SetSpacing((0.5, 2.0))
        sitk.WriteImage(content, str(tmp_path / name))
    sitk.WriteTransform(sitk.TranslationTransform(2, (-1.5, 0.0)), str(tmp_path / "map.h5"))
    found = carried_by_itk(tmp_path / "map.h5", tmp_path / "label.nii.gz", tmp_path / "image.nii.gz")
    assert found.shape == (5, 10) and np.argwhere(found).tolist() == [[4, 5]] and found.max() == 7
