"""Films and volumes as frames, and which annotated frame is the nearest."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
import torch

pytest.importorskip("monailabel", reason="MONAI Label is not installed: make test-label")

from monai_cellreg.apps.label_app.frames import Span, annotated, frame_labels, open_frames
from monai_cellreg.geometry import SamplingGrid


@pytest.fixture
def stack() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 200, (4, 20, 30)).astype(np.uint8)


def test_frames_of_a_film_know_their_pixel_size(tmp_path: Path, stack: np.ndarray) -> None:
    size = {"PhysicalSizeX": 0.4, "PhysicalSizeY": 0.5, "PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
    tifffile.imwrite(tmp_path / "film.ome.tif", stack, ome=True, metadata={"axes": "TYX", **size})
    with open_frames(tmp_path / "film.ome.tif") as frames:
        assert len(frames) == 4
        assert np.array_equal(frames[2][0], stack[2])
        assert SamplingGrid.from_image(frames[2]).spacing == (0.5, 0.4)


def test_slices_count_along_the_last_axis(tmp_path: Path, stack: np.ndarray, turned) -> None:
    affine = np.eye(4)
    affine[:3, :3] = turned(3, 0.4) * (1.5, 2.0, 6.0)
    nib.save(nib.Nifti1Image(stack.T, affine), tmp_path / "volume.nii.gz")
    with open_frames(tmp_path / "volume.nii.gz") as frames:
        assert len(frames) == 4
        assert np.array_equal(frames[1][0], stack[1].T)
        grid = SamplingGrid.from_image(frames[1])
        assert (grid.frame, grid.unit) == ("RAS", "mm")
        np.testing.assert_allclose(grid.affine, np.diag([1.5, 2.0, 1.0]), atol=1e-5)


def test_volumes_over_time_are_frames(tmp_path: Path, stack: np.ndarray) -> None:
    nib.save(nib.Nifti1Image(np.stack([stack, 2 * stack]).T, np.eye(4)), tmp_path / "beating.nii.gz")
    with open_frames(tmp_path / "beating.nii.gz") as frames:
        assert len(frames) == 2
        assert np.array_equal(frames[1][0], (2 * stack).T)


def test_single_picture_has_no_frames(studies: Path) -> None:
    with (
        pytest.raises(ValueError, match="is a single picture; expected several frames"),
        open_frames(studies / "frame_0.png"),
    ):
        pass


def test_part_of_a_film() -> None:
    span = Span([torch.tensor(k) for k in range(9)], 3, 6)
    assert (len(span), span[0].item(), span[-1].item(), [each.item() for each in span]) == (3, 3, 5, [3, 4, 5])
    with pytest.raises(IndexError):
        span[3]


@pytest.mark.parametrize(
    ("marked", "spans"),
    [
        ([0], {0: range(0, 8)}),
        ([7], {7: range(0, 8)}),
        ([2, 5], {2: range(0, 4), 5: range(4, 8)}),
        ([2, 6], {2: range(0, 5), 6: range(5, 8)}),
        ([3, 4, 5], {3: range(0, 4), 4: range(4, 5), 5: range(5, 8)}),
    ],
)
def test_every_frame_goes_to_the_nearest_annotated_one(marked: list[int], spans: dict[int, range]) -> None:
    labels = np.zeros((8, 2, 3), np.int32)
    labels[marked, 1, 2] = 4
    assert annotated(labels) == spans
    for reference, span in spans.items():
        for t in span:
            distances = [abs(t - other) for other in marked]
            assert abs(t - reference) == min(distances)
            assert reference == marked[distances.index(min(distances))]


def test_labels_come_in_the_order_of_the_frames(tmp_path: Path, stack: np.ndarray) -> None:
    nib.save(nib.Nifti1Image(stack.T, np.eye(4)), tmp_path / "volume.nii.gz")
    tifffile.imwrite(tmp_path / "film.ome.tif", stack, ome=True, metadata={"axes": "TYX"})
    for name in ("volume.nii.gz", "film.ome.tif"):
        with open_frames(tmp_path / name) as frames:
            for label in ("volume.nii.gz", "film.ome.tif"):  # 3D Slicer stores labels of films as volumes
                assert np.array_equal(frame_labels(tmp_path / label, frames), stack)


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        (np.zeros((4, 20, 30), np.uint8), "is 0 everywhere; expected one annotated frame or more"),
        (np.ones((3, 20, 30), np.uint8), "has shape 3x20x30 but its image has 4x20x30; expected the same"),
        (np.ones((20, 30), np.uint8), "has shape 20x30 but its image has 4x20x30"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path: Path, stack: np.ndarray, label: np.ndarray, reason: str) -> None:
    tifffile.imwrite(tmp_path / "film.tif", stack, photometric="minisblack")
    tifffile.imwrite(tmp_path / "label.tif", label, photometric="minisblack")
    with open_frames(tmp_path / "film.tif") as frames, pytest.raises(ValueError, match=reason):
        frame_labels(tmp_path / "label.tif", frames)
