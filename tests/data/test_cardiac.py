"""Which layout a folder is read as, and what a slice of the heart must hold."""

from __future__ import annotations

from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch

from monai_cellreg.data import CineSlice, ImageReadError, read_cardiac
from monai_cellreg.data.cine_slice import pixel_grid
from monai_cellreg.geometry import SamplingGrid

VOLUME = np.random.default_rng(0).integers(0, 900, (7, 5, 2)).astype(np.int16)  # columns, rows, slices
LABEL = (VOLUME % 4).astype(np.uint8)


def write_nifti(root: Path) -> None:
    folder = root / "patient003"
    folder.mkdir()
    for frame in ("frame01", "frame09"):
        nibabel.save(nibabel.Nifti1Image(VOLUME, np.diag([1.5, 1.25, 10, 1])), folder / f"patient003_{frame}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(LABEL, np.diag([1.5, 1.25, 10, 1])), folder / f"patient003_{frame}_gt.nii.gz")
    (folder / "Info.cfg").write_text("ED: 1\nES: 9\n")


def write_hdf5(root: Path) -> None:
    for frame in ("frame01", "frame09"):
        with h5py.File(root / f"patient003_{frame}.h5", "w") as file:
            file["image"], file["label"] = VOLUME.T / np.float32(900), LABEL.T


def write_sunnybrook(root: Path) -> None:
    (root / "SC-N-1").mkdir()
    for number, kinds in ((1, "io"), (2, "i")):
        plane = sitk.GetImageFromArray(VOLUME.T[number - 1 : number])
        plane.SetSpacing((1.5, 1.25, 10))
        for key, value in (("0008|0060", "MR"), ("0020|0013", str(number)), ("0018|1060", str(90 * number))):
            plane.SetMetaData(key, value)
        sitk.WriteImage(plane, str(root / "SC-N-1" / f"{number}.dcm"))
        for kind in kinds:
            path = root / "SC-N-1" / f"IM-0001-{number:04d}-{kind}contour-manual.txt"
            path.write_text("1 1\n4 1\n4 3\n1 3\n")


@pytest.mark.parametrize(
    ("write", "patient", "count", "spacing"),
    [
        (write_nifti, "patient003", 2, (1.25, 1.5)),
        (write_hdf5, "patient003", 2, (1.0, 1.0)),
        (write_sunnybrook, "SC-N-1", 1, (1.25, 1.5)),
    ],
)
def test_every_layout_is_known(tmp_path: Path, write, patient: str, count: int, spacing: tuple[float, float]) -> None:
    write(tmp_path)
    slices = read_cardiac(str(tmp_path))
    assert [(one.patient, one.slice_number) for one in slices] == [(patient, k) for k in range(count)]
    for one in slices:
        assert (one.ed, one.es) == (0, 1)
        assert one.images.shape == (2, 5, 7) and all(label.shape == (5, 7) for label in one.labels.values())
        np.testing.assert_allclose(one.grid.spacing, spacing)


def test_other_folders_are_refused_with_the_known_layouts(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none' is not an existing folder"):
        read_cardiac(tmp_path / "none")
    for name in ("patient003.txt", "1.dcm", "IM-0001-0001-icontour-manual.txt"):  # of no patient
        (tmp_path / name).write_text("")
    (tmp_path / "patient003").mkdir()
    with pytest.raises(
        ImageReadError, match=r"no known layout .* ACDC \(patient001/Info\.cfg .* HDF5 .* Sunnybrook \("
    ):
        read_cardiac(tmp_path)


def one_slice(**changes: object) -> CineSlice:
    label = torch.zeros(5, 7, dtype=torch.uint8)
    settings = {"labels": {0: label, 2: label}, "ed": 0, "es": 2, "grid": pixel_grid((5, 7), None), **changes}
    return CineSlice(patient="a", slice_number=0, images=torch.zeros(3, 5, 7), **settings)  # type: ignore[arg-type]


def test_a_slice_says_what_does_not_fit() -> None:
    assert one_slice().label_names == {1: "RV", 2: "LV myocardium", 3: "LV cavity"}
    assert one_slice(ed=None, es=None, labels={}).ed is None
    with pytest.raises(ValueError, match=r"images has shape 3x5x7 but its grid is 7x5"):
        one_slice(grid=SamplingGrid((7, 5)))
    with pytest.raises(ValueError, match="ed is of time index -1 but images has 3; expected 0 to 2"):
        one_slice(ed=-1)
    with pytest.raises(ValueError, match="es is of time index 3 but images has 3"):
        one_slice(es=3)
    with pytest.raises(ValueError, match=r"labels\[3\] is of time index 3"):
        one_slice(labels={3: torch.zeros(5, 7, dtype=torch.uint8)})
    with pytest.raises(ValueError, match=r"labels\[1\] has shape 7x5 but its image has shape 5x7"):
        one_slice(labels={1: torch.zeros(7, 5, dtype=torch.uint8)})
    with pytest.raises(ValueError, match=r"labels\[1\] is torch.int64; expected torch.uint8"):
        one_slice(labels={1: torch.zeros(5, 7, dtype=torch.int64)})
