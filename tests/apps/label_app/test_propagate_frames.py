"""Labels of some frames of a film, or slices of a volume, on all of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from skimage.registration import phase_cross_correlation

pytest.importorskip("monailabel", reason="MONAI Label is not installed: make test-label")

from fastapi import HTTPException

from monai_cellreg.data import read_grid
from monai_cellreg.geometry import AffineTransform, Pair, SpatialTransform

if TYPE_CHECKING:
    from monai_cellreg.apps.label_app.app import RegistrationApp

STEP = (2, -1)  # rows and columns that everything moves from frame to frame
PIXELS = {"PhysicalSizeX": 0.4, "PhysicalSizeY": 0.5, "PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}


class Phase:
    """A method that finds whole voxels of translation by scikit-image."""

    def register(self, pair: Pair) -> SpatialTransform:
        fixed, moving = (np.asarray(each[0]) for each in (pair.fixed, pair.moving))
        voxels = -phase_cross_correlation(fixed, moving, normalization=None)[0]
        return AffineTransform.translation((pair.fixed_grid.affine[:-1, :-1] @ voxels).tolist())


def moving(plane: np.ndarray, count: int) -> np.ndarray:
    """A plane as it moves on, (count, rows, columns)."""
    return np.stack([np.roll(plane, (t * STEP[0], t * STEP[1]), (0, 1)) for t in range(count)])


@pytest.fixture
def film() -> np.ndarray:
    """Six frames of a few lights on black."""
    row, column = np.indices((44, 52))
    lights = [((15, 22), 60, 9), ((20, 30), 110, 14), ((26, 21), 40, 20)]
    plane = sum(a * np.exp(-((row - r) ** 2 + (column - c) ** 2) / s) for (r, c), a, s in lights)
    return np.rint(moving(plane, 6)).astype(np.uint8)


@pytest.fixture
def truth() -> np.ndarray:
    """Labels of all six frames."""
    plane = np.zeros((44, 52), np.uint8)
    plane[11:19, 17:27], plane[17:24, 27:35] = 1, 5
    return moving(plane, 6)


def marked(truth: np.ndarray, *frames: int) -> np.ndarray:
    """The truth of some frames, 0 in the others."""
    return truth * np.isin(np.arange(len(truth)), frames)[:, None, None].astype(truth.dtype)


def asked(app: RegistrationApp, image: str, **more: Any) -> tuple[Path, dict[str, Any]]:
    app.datastore().refresh()
    answer = app.infer({"model": "propagate_frames", "image": image, **more})
    json.dumps(answer, allow_nan=False)
    return Path(answer["file"]), answer["params"]


@pytest.fixture
def write_film(studies: Path, film: np.ndarray) -> Any:
    def written(label: np.ndarray) -> None:
        metadata = {"axes": "TYX", **PIXELS}
        tifffile.imwrite(studies / "film.ome.tif", film, ome=True, metadata=metadata)
        tifffile.imwrite(studies / "labels" / "final" / "film.ome.tif", label, ome=True, metadata=metadata)

    return written


@pytest.mark.parametrize("frames", [(0,), (3,), (1, 4), (0, 1, 2, 3, 4, 5)])
def test_labels_follow_the_film(app, found_by, write_film, truth, studies: Path, frames: tuple[int, ...]) -> None:
    found_by(Phase())
    write_film(marked(truth, *frames))
    path, told = asked(app, "film")
    assert path.name.endswith(".ome.tif")
    assert np.array_equal(tifffile.imread(path), truth)
    assert read_grid(path, page=0).matches(read_grid(studies / "film.ome.tif", page=0))
    assert told["reference"] == list(frames)
    assert told["label_names"] == {f"label {k}": k for k in (1, 2, 3, 4, 5)}
    assert told["verdict"]["level"] in ("good", "check") and told["method"] == "auto"
    rows = told["metrics"]["per_frame"]
    assert [row["frame"] for row in rows] == (list(range(6)) if len(frames) < 6 else [])
    assert all(abs(row["frame"] - row["reference"]) == min(abs(row["frame"] - t) for t in frames) for row in rows)


def test_each_frame_takes_the_labels_of_the_nearest(app, found_by, write_film, truth) -> None:
    found_by(Phase())
    label = marked(truth, 0, 5)
    label[5][label[5] > 0] = 9
    write_film(label)
    carried = tifffile.imread(asked(app, "film")[0])
    assert [np.unique(page).tolist() for page in carried] == [[0, 1, 5]] * 3 + [[0, 9]] * 3


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz"])
def test_film_for_slicer_lies_where_itk_sees_it(app, found_by, write_film, truth, studies: Path, suffix: str) -> None:
    found_by(Phase())
    write_film(marked(truth, 2))
    path, told = asked(app, "film", result_extension=suffix, result_dtype="uint8", result_compress=False)
    label, seen = sitk.ReadImage(str(path)), sitk.ReadImage(str(studies / "film.ome.tif"))
    assert label.GetSize() == seen.GetSize() == (52, 44, 6)
    assert label.GetSpacing() == seen.GetSpacing()
    assert np.array_equal(sitk.GetArrayFromImage(label), truth)
    assert "note" not in told


def test_slices_of_an_oblique_volume(app, found_by, film, truth, studies: Path, turned) -> None:
    found_by(Phase())
    affine = np.eye(4)
    affine[:3, :3] = turned(3, 0.3) * (1.5, 2.0, 6.0)
    affine[:3, 3] = (5, -6, 7)
    nib.save(nib.Nifti1Image(film.T, affine), studies / "volume.nii.gz")
    nib.save(nib.Nifti1Image(marked(truth, 1, 4).T, affine), studies / "labels" / "final" / "volume.nii.gz")
    path, _ = asked(app, "volume")
    assert np.array_equal(np.asarray(nib.load(path).dataobj), truth.T)
    label, seen = sitk.ReadImage(str(path)), sitk.ReadImage(str(studies / "volume.nii.gz"))
    for one, other in zip(
        (label.GetSpacing(), label.GetOrigin(), label.GetDirection()),
        (seen.GetSpacing(), seen.GetOrigin(), seen.GetDirection()),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_volumes_over_time(app, found_by, film, truth, studies: Path) -> None:
    found_by(Phase())
    affine = np.diag([1.5, 2.0, 6.0, 1.0])
    volumes, labels = (np.stack([stack[:, None], stack[:, None]], axis=2)[:, 0] for stack in (film[:3], truth[:3]))
    labels[1:] = 0
    nib.save(nib.Nifti1Image(volumes.T.copy(), affine), studies / "beating.nii.gz")
    nib.save(nib.Nifti1Image(labels.T.copy(), affine), studies / "labels" / "final" / "beating.nii.gz")
    path, _ = asked(app, "beating")
    result = sitk.ReadImage(str(path))
    assert result.GetSize() == (52, 44, 2, 3)
    assert result.GetSpacing() == sitk.ReadImage(str(studies / "beating.nii.gz")).GetSpacing()
    carried = sitk.GetArrayFromImage(result)
    assert all(np.array_equal(carried[t, z], truth[t]) for t in range(3) for z in range(2))


def test_frame_that_cannot_be_registered_is_told(app, found_by, write_film, film, truth) -> None:
    found_by(Phase())
    film[4] = 7
    write_film(marked(truth, 0))
    _, told = asked(app, "film")
    assert told["account"] == ["Frame 4 could not be registered (constant); its labels are those of its neighbour."]


@pytest.mark.parametrize(
    ("request_", "status", "reason"),
    [
        ({"image": "frame_0"}, 422, "image 'frame_0' is a single picture"),
        ({"image": "frame_1"}, 404, "image 'frame_1' has no label with the tag final or original"),
        ({"image": "frame_0", "reference_tag": "draft"}, 404, "has no label with the tag draft"),
        ({"image": "gone"}, 404, "image is 'gone'"),
        ({"image": "film", "method": "none"}, 422, "method is 'none'"),
        ({"image": "film", "result_extension": ".png"}, 422, "result_extension is '.png'"),
        ({"image": "film", "result_dtype": "float32"}, 422, "result_dtype is 'float32'"),
    ],
)
def test_wrong_request_is_refused(
    app, found_by, write_film, truth, request_: dict[str, Any], status: int, reason: str
) -> None:
    found_by(Phase())
    write_film(truth)
    with pytest.raises(HTTPException, match=reason) as refusal:
        asked(app, **request_)
    assert refusal.value.status_code == status
