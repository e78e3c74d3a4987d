"""A folder for a label server: what lies in it, and that no truth does."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile

from monai_cellreg.benchmarks.label_studies import FRAMES, NUCLEI, prepare_studies, read_pairs, truth_folder

STACK = np.random.default_rng(0).random((3, 9, 12), dtype=np.float32)  # slices, rows, columns


@pytest.fixture
def acdc(tmp_path: Path) -> Path:
    """Three patients; the labels of ED are those of ES moved by a column, and the last slice has one at ED only."""
    folder = tmp_path / "acdc"
    folder.mkdir()
    for patient in (1, 2, 3):
        for frame, column in ((1, 2), (9, 3)):
            label = np.zeros(STACK.shape, dtype=np.uint8)
            label[:, 1:8, column : column + 5] = 1 + np.arange(3)[:, None, None]
            label[2] *= frame == 1
            with h5py.File(folder / f"patient00{patient}_frame0{frame}.h5", "w") as file:
                file["image"], file["label"] = STACK + patient + frame / 10, label
    return folder


def film(folder: Path, frames: int) -> Path:
    for name in ("01", "01_label"):
        (folder / name).mkdir(parents=True)
    for t in range(frames):
        tifffile.imwrite(folder / "01" / f"t{t:03d}.tif", np.full((6, 5), 300 + t, dtype=np.uint16))
        tifffile.imwrite(folder / "01_label" / f"man_seg{t:03d}.tif", np.full((6, 5), t, dtype=np.uint16))
    return folder


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def read(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def test_hearts_are_volumes_of_the_last_patients(tmp_path: Path, acdc: Path) -> None:
    studies = tmp_path / "studies"
    pairs = prepare_studies(studies, acdc=acdc, patients=2)
    assert pairs == read_pairs(studies) and [pair.case for pair in pairs] == ["patient002", "patient003"]
    assert files(studies) == {
        f"{folder}patient00{k}_{end}.nii.gz"
        for k in (2, 3)
        for folder, end in (("", "ed"), ("", "es"), ("labels/final/", "ed"))
    }
    pair = pairs[1]
    assert (pair.image, pair.reference) == ("patient003_es", "patient003_ed")
    np.testing.assert_allclose(read(studies / pair.image_file), STACK + 3.9, rtol=1e-6)
    np.testing.assert_allclose(read(studies / pair.reference_file), STACK + 3.1, rtol=1e-6)
    label, truth = read(studies / pair.reference_label), read(truth_folder(studies) / pair.truth)
    np.testing.assert_array_equal(np.roll(label[:2], 1, axis=2), truth[:2])
    assert label[2].any() and not truth[2].any()
    assert sitk.ReadImage(str(studies / pair.image_file)).GetSpacing() == (1.5625, 1.5625, 10.0)


def test_spacing_of_a_file_is_kept(tmp_path: Path) -> None:
    """Rows are y, columns x: a NIfTI file gives x first. The folder may be there, as long as it is empty."""
    folder = tmp_path / "acdc" / "patient001"
    folder.mkdir(parents=True)
    for name in ("frame01", "frame01_gt", "frame09", "frame09_gt"):
        content = np.ones(STACK.shape, np.uint8) if name.endswith("gt") else STACK
        image = sitk.GetImageFromArray(content)
        image.SetSpacing((1.2, 1.7, 8.0))
        sitk.WriteImage(image, str(folder / f"patient001_{name}.nii.gz"))
    (folder / "Info.cfg").write_text("ED: 1\nES: 9\n")
    (tmp_path / "studies").mkdir()
    (pair,) = prepare_studies(tmp_path / "studies", acdc=tmp_path / "acdc", patients=1)
    written = sitk.ReadImage(str(tmp_path / "studies" / pair.image_file))
    np.testing.assert_allclose(written.GetSpacing(), (1.2, 1.7, 10.0), rtol=1e-6)
    np.testing.assert_allclose(sitk.GetArrayFromImage(written), STACK, rtol=1e-6)


def test_slices_are_images_of_their_own_where_both_phases_have_labels(tmp_path: Path, acdc: Path) -> None:
    studies = tmp_path / "studies"
    pairs = [pair for pair in prepare_studies(studies, acdc=acdc, patients=1, slices=True) if pair.group == "slices"]
    assert [(pair.case, pair.image) for pair in pairs] == [
        ("patient003", "patient003_slice00_es"),
        ("patient003", "patient003_slice01_es"),
    ]
    np.testing.assert_allclose(read(studies / pairs[1].image_file), STACK[1] + 3.9, rtol=1e-6)
    assert read(truth_folder(studies) / pairs[1].truth).max() == 2


def test_nuclei_are_ten_frames_around_the_labelled_one(tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    pairs = prepare_studies(studies, nuclei=film(tmp_path / "film", FRAMES + 4))
    around = [f"t{t:03d}" for t in range(2, 13)]
    assert [pair.image for pair in pairs] == [name for name in around if name != "t007"]
    assert {pair.group for pair in pairs} == {NUCLEI} and {pair.reference for pair in pairs} == {"t007"}
    assert files(studies) == {f"{name}.tif" for name in around} | {"labels/final/t007.tif"}
    assert read(studies / "labels/final/t007.tif").max() == 7 and read(studies / "t007.tif").max() == 307
    assert [int(read(truth_folder(studies) / pair.truth).max()) for pair in pairs] == [2, 3, 4, 5, 6, 8, 9, 10, 11, 12]


def test_what_cannot_be_prepared(tmp_path: Path, acdc: Path) -> None:
    with pytest.raises(ValueError, match="both None"):
        prepare_studies(tmp_path / "studies")
    with pytest.raises(ValueError, match="10 labelled frames; expected 11 or more"):
        prepare_studies(tmp_path / "studies", acdc=acdc, patients=1, nuclei=film(tmp_path / "short", FRAMES))
    with pytest.raises(ValueError, match="held_out is 4"):
        prepare_studies(tmp_path / "studies", acdc=acdc, patients=4)
    assert not (tmp_path / "studies").exists()  # nothing is written before all is known to be there
    with pytest.raises(FileNotFoundError, match="'prepare' has made"):
        read_pairs(tmp_path)
    prepare_studies(tmp_path / "studies", acdc=acdc, patients=1)
    with pytest.raises(FileExistsError, match="not empty"):
        prepare_studies(tmp_path / "studies", acdc=acdc, patients=1)
