"""ACDC's two layouts, written here by nibabel and h5py."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import torch

from monai_cellreg.data import CineSlice, ImageReadError
from monai_cellreg.data.datasets.acdc import is_acdc_hdf5, is_acdc_nifti, read_acdc_hdf5, read_acdc_nifti

REAL = Path(__file__).parents[4] / "shared" / "data" / "cardiac_acdc"
SIZE, TIMES = (14, 11, 3), 5  # i, j, k of the files: columns, rows, slices
ED, ES = 2, 4  # numbers of frames, from 1
AFFINE = np.array([[0, -1.7, 0, 20.5], [1.4, 0, 0, -7], [0, 0, 9, 1], [0, 0, 0, 1.0]])
SPACING = (1.7, 1.4)  # row, column


def film(seed: int = 0) -> np.ndarray:
    """(i, j, k, T) int16: slices that differ, time points that look alike."""
    generator = np.random.default_rng(seed)
    return (generator.integers(0, 900, (*SIZE, 1)) + generator.integers(0, 99, (*SIZE, TIMES))).astype(np.int16)


def label(frame: int) -> np.ndarray:
    return np.random.default_rng(frame).integers(0, 4, SIZE).astype(np.uint8)


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)


def write_patient(root: Path, name: str, *, whole: bool = True, end: str = ".nii.gz") -> None:
    values, folder = film(), root / name
    for frame in (ED, ES):
        save(folder / f"{name}_frame{frame:02d}{end}", values[..., frame - 1])
        save(folder / f"{name}_frame{frame:02d}_gt{end}", label(frame))
    if whole:
        save(folder / f"{name}_4d{end}", values)
    (folder / "Info.cfg").write_text(f"ED: {ED}\nES: {ES}\nGroup: DCM\nNbFrame: {TIMES}\n")


def stack(volume: np.ndarray) -> np.ndarray:
    """(slices, rows, columns) of an array of a file."""
    return np.stack([volume[:, :, k].T for k in range(volume.shape[2])])


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("acdc")
    write_patient(root / "training", "patient007")
    write_patient(root / "testing", "patient101", whole=False, end=".nii")
    return root


def test_published_patients_have_all_time_points_where_there_is_a_film(published: Path) -> None:
    assert is_acdc_nifti(published) and not is_acdc_hdf5(published)
    slices = read_acdc_nifti(published)
    names = [(name, k) for name in ("patient007", "patient101") for k in range(SIZE[2])]
    assert [(one.patient, one.slice_number) for one in slices] == names
    whole, pair = slices[1], slices[4]
    np.testing.assert_array_equal(whole.images, np.stack([stack(film()[..., t])[1] for t in range(TIMES)]))
    np.testing.assert_array_equal(pair.images, whole.images[[ED - 1, ES - 1]])
    assert (whole.ed, whole.es, pair.ed, pair.es) == (ED - 1, ES - 1, 0, 1)
    for one in (whole, pair):
        assert one.images.dtype == torch.float32
        assert one.grid.shape == (SIZE[1], SIZE[0])
        np.testing.assert_allclose(one.grid.spacing, SPACING, rtol=1e-6)
        assert one.grid.unit == "mm"
        assert one.label_names == {1: "RV", 2: "LV myocardium", 3: "LV cavity"}
        assert sorted(one.labels) == [one.ed, one.es]
        for time, frame in ((one.ed, ED), (one.es, ES)):
            np.testing.assert_array_equal(one.labels[time], stack(label(frame))[1])


def test_patients_may_lie_directly_in_the_root_and_have_one_slice(tmp_path: Path) -> None:
    write_patient(tmp_path, "patient001", whole=False)
    for path in tmp_path.rglob("*.nii.gz"):
        save(path, np.asarray(nibabel.load(path).dataobj)[:, :, :1])
    (one,) = read_acdc_nifti(tmp_path)
    np.testing.assert_array_equal(one.images[1], film()[:, :, 0, ES - 1].T)


def file(root: Path, end: str) -> Path:
    return root / "training" / "patient007" / f"patient007_{end}"


def drop(end: str) -> Callable[[Path], None]:
    return lambda root: file(root, end).unlink()


def replace(end: str, array: np.ndarray, affine: np.ndarray = AFFINE) -> Callable[[Path], None]:
    return lambda root: save(file(root, end), array, affine)


def flipped(affine: np.ndarray) -> np.ndarray:
    """The affine of the array turned over along k: the same voxels in the world."""
    return affine @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, SIZE[2] - 1], [0, 0, 0, 1.0]])


def info(content: str | None) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        path = root / "training" / "patient007" / "Info.cfg"
        path.write_text(content) if content is not None else path.unlink()

    return spoil


def cut(end: str) -> Callable[[Path], None]:
    return lambda root: file(root, end).write_bytes(file(root, end).read_bytes()[:-700])


ES_IMAGE = film()[..., ES - 1]
SCALED = AFFINE @ np.diag([1.0, 1.1, 1, 1])


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (drop("frame04.nii.gz"), r"patient007_frame04\.nii\.gz' does not exist; expected the image of ES"),
        (drop("frame04_gt.nii.gz"), r"patient007_frame04_gt\.nii\.gz' does not exist; expected the labels of ES"),
        (drop("frame02_gt.nii.gz"), r"patient007_frame02_gt\.nii\.gz' does not exist; expected the labels of ED"),
        (info(None), r"patient007/Info\.cfg' does not exist"),
        (info("ED: 2\n"), r"Info\.cfg' names the phases \{'ED': 2\}"),
        (info("ED: 2\nES: 2\n"), r"Info\.cfg' names the phases \{'ED': 2, 'ES': 2\}"),
        (info("ED: 0\nES: 2\n"), r"Info\.cfg' names the phases \{'ED': 0, 'ES': 2\}"),
        (
            replace("4d.nii.gz", film()[..., : ES - 1]),
            r"_4d\.nii\.gz' has 3 time points but .*Info\.cfg' names frame 4",
        ),
        (replace("4d.nii.gz", film()[:, 1:]), r"_4d\.nii\.gz' has 3 slices of 10 rows and 14 columns but .*frame02"),
        (
            replace("frame04.nii.gz", ES_IMAGE[:, :, 1:]),
            r"frame04\.nii\.gz' has 2 slices .* 3 slices of 11 rows and 14",
        ),
        (replace("frame04_gt.nii.gz", label(4)[1:]), r"frame04_gt\.nii\.gz' has 3 slices of 11 rows and 13 columns"),
        (
            replace("frame04_gt.nii.gz", label(4), SCALED),
            r"frame04_gt\.nii\.gz' lies elsewhere than .*frame02\.nii\.gz':",
        ),
        (
            replace("frame04.nii.gz", ES_IMAGE[:, :, ::-1], flipped(AFFINE)),
            r"frame04\.nii\.gz' lies elsewhere than .*frame02\.nii\.gz', its slices in reverse order",
        ),
        (replace("frame04.nii.gz", ES_IMAGE[:, :, ::-1]), r"frame04\.nii\.gz' has its slices in another order than"),
        (replace("frame02_gt.nii.gz", label(2) + 2), r"frame02_gt\.nii\.gz' has the labels \[4, 5\]"),
        (cut("frame04.nii.gz"), r"frame04\.nii\.gz' cannot be read"),
        (cut("4d.nii.gz"), r"_4d\.nii\.gz' cannot be read"),
    ],
)
def test_a_bad_patient_is_told_with_its_file(
    published: Path, tmp_path: Path, spoil: Callable[[Path], None], match: str
) -> None:
    root = Path(shutil.copytree(published, tmp_path / "acdc"))
    spoil(root)
    with pytest.raises(ImageReadError, match=match):
        read_acdc_nifti(root)


def write_hdf5(path: Path, frame: int, **changes: np.ndarray) -> None:
    arrays = {"image": (stack(film()[..., frame - 1]) / 1000).astype(np.float32), "label": stack(label(frame))}
    with h5py.File(path, "w") as target:
        for name, array in {**arrays, **changes}.items():
            target[name] = array


@pytest.fixture
def hdf5(tmp_path: Path) -> Path:
    for name, es in (("patient009", 3), ("patient002", 5)):
        write_hdf5(tmp_path / f"{name}_frame01.h5", 1)
        write_hdf5(tmp_path / f"{name}_frame{es:02d}.h5", es)
    return tmp_path


def test_hdf5_frames_are_pairs_in_pixels(hdf5: Path) -> None:
    assert is_acdc_hdf5(hdf5) and not is_acdc_nifti(hdf5)
    slices = read_acdc_hdf5(hdf5)
    assert [(one.patient, one.slice_number) for one in slices] == [
        (name, k) for name in ("patient002", "patient009") for k in range(3)
    ]
    one = slices[2]
    assert (one.ed, one.es, one.grid.unit, one.grid.spacing) == (0, 1, "px", (1.0, 1.0))
    expected = [(stack(film()[..., frame - 1])[2] / 1000).astype(np.float32) for frame in (1, 5)]
    np.testing.assert_array_equal(one.images, np.stack(expected))
    np.testing.assert_array_equal(one.labels[1], stack(label(5))[2])
    assert one.labels[0].dtype == torch.uint8


@pytest.mark.parametrize(("narrow_frame", "ed_cavity"), [(1, 1), (3, 3)])
def test_the_first_frame_is_end_diastole_and_without_one_the_wider_cavity(
    tmp_path: Path, narrow_frame: int, ed_cavity: int
) -> None:
    narrow, wide = np.zeros((2, *stack(label(1)).shape), dtype=np.uint8)
    narrow[:, 4, 4], wide[:, 3:6, 4] = 3, 3
    write_hdf5(tmp_path / f"patient090_frame{narrow_frame:02d}.h5", narrow_frame, label=narrow)
    write_hdf5(tmp_path / "patient090_frame05.h5", 5, label=wide)
    assert int((read_acdc_hdf5(tmp_path)[0].labels[0] == 3).sum()) == ed_cavity


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"image": stack(film()[..., 4])[::-1]}, r"frame05\.h5' has its slices in another order than .*frame01\.h5'"),
        ({"image": stack(film()[..., 4])[1:]}, r"frame05\.h5' has 2 slices of 11 rows and 14 columns but .*frame01"),
        ({"label": stack(label(5))[:, 1:]}, r"frame05\.h5' has 3 slices of 10 rows and 14 columns but"),
        ({"label": stack(label(5)) + 1}, r"frame05\.h5' has the labels \[4\]"),
        ({"label": stack(label(5)) + 0.5}, r"frame05\.h5' has pixels .* labels that are not whole"),
        ({"label": stack(label(5))[0]}, r"frame05\.h5' holds image, label \(.*label of uint8 \(11, 14\)\)"),
        ({"image": np.full((3, 11, 14), np.nan)}, r"frame05\.h5' has pixels that are not finite"),
    ],
)
def test_a_bad_frame_is_told_with_its_file(hdf5: Path, changes: Mapping[str, np.ndarray], match: str) -> None:
    write_hdf5(hdf5 / "patient002_frame05.h5", 5, **changes)
    with pytest.raises(ImageReadError, match=match):
        read_acdc_hdf5(hdf5)


def test_a_missing_phase_and_a_damaged_file_are_told(hdf5: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = hdf5 / "patient002_frame05.h5"
    with h5py.File(path, "w") as target:
        target["images"] = np.zeros(3)
    with pytest.raises(ImageReadError, match=r"frame05\.h5' holds images \(neither\)"):
        read_acdc_hdf5(hdf5)
    path.write_bytes(b"no HDF5")
    with pytest.raises(ImageReadError, match=r"frame05\.h5' cannot be read"):
        read_acdc_hdf5(hdf5)
    path.unlink()
    with pytest.raises(ImageReadError, match=r"has 1 frames of patient002 \(patient002_frame01\.h5\); expected two"):
        read_acdc_hdf5(hdf5)
    monkeypatch.setitem(sys.modules, "h5py", None)
    path.write_bytes(b"")
    with pytest.raises(ImportError, match=r"pip install 'monai-cellreg\[io\]'"):
        read_acdc_hdf5(hdf5)


def dice(slices: list[CineSlice], number: int) -> float:
    pairs = [(one.labels[0] == number, one.labels[1] == number) for one in slices]
    return float(2 * sum((a & b).sum() for a, b in pairs) / sum(a.sum() + b.sum() for a, b in pairs))


@pytest.mark.skipif(not REAL.is_dir(), reason="needs patients of ACDC as HDF5")
def test_real_frames_overlap_as_their_readme_says() -> None:
    slices = read_acdc_hdf5(REAL)
    patients = {name: [one for one in slices if one.patient == name] for name in {one.patient for one in slices}}
    assert len(patients) == 20
    for number, known in ((1, 0.63), (2, 0.55), (3, 0.66)):
        assert np.mean([dice(one, number) for one in patients.values()]) == pytest.approx(known, abs=0.005)
    assert min(float(one.images.min()) for one in slices) == 0 and max(float(one.images.max()) for one in slices) == 1
