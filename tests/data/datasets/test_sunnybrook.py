"""Sunnybrook's layout, on DICOM files and outlines written here; the oracles are discs and rasterised outlines."""

from __future__ import annotations

import locale
import logging
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from monai_cellreg.data import CineSlice, ImageReadError
from monai_cellreg.data.datasets.sunnybrook import is_sunnybrook, read_sunnybrook

REAL = Path(__file__).parents[4] / "shared" / "data" / "cardiac_scd"
ROWS, COLUMNS, TIMES = 24, 30, 4
SPACING = (1.3, 0.7)  # row, column
TURN = np.reshape(sitk.Euler3DTransform((0, 0, 0), 0.3, -0.2, 0.5).GetMatrix(), (3, 3))
ORIGIN = np.array([-12.5, 33.0, 101.25])
CENTRE = (10.0, 17.0)  # row, column
TRIGGER = (120.0, 180.0, 0.0, 60.0)  # of the files of a slice in the order of their numbers
ED_FILE, ES_FILE = 2, 4  # of the files of a slice, from 1: time indices 3 and 1
INNER_ED, OUTER_ED, INNER_ES = 5.3, 8.3, 3.3  # radii; no pixel lies on these circles


def pixels(k: int, file: int) -> np.ndarray:
    """Pixels that tell their slice and file."""
    return np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) % 97 + 1000 * k + 100 * file


def write_dicom(path: Path, k: int, file: int, **changes: str) -> None:
    """Writes one file; `changes` are tags such as "g0020_0013"."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plane = sitk.GetImageFromArray(pixels(k, file)[None].astype(np.int16))
    plane.SetSpacing((SPACING[1], SPACING[0], 8.0))
    tags = {
        "0008|0060": "MR",
        "0020|000e": "1.2.826.0.1.3680043.2.1125.7",
        "0020|0013": str(k * TIMES + file),
        "0020|0037": "\\".join(f"{x:.10f}" for x in TURN[:, :2].T.ravel()),
        "0020|0032": "\\".join(f"{x:.8f}" for x in ORIGIN - 8.0 * k * TURN[:, 2]),
        "0018|1060": f"{TRIGGER[file - 1] + k}",
        **{key[1:].replace("_", "|"): value for key, value in changes.items()},
    }
    for key, value in tags.items():
        plane.SetMetaData(key, value)
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(path))
    before = locale.setlocale(locale.LC_ALL)
    writer.Execute(plane)
    locale.setlocale(locale.LC_ALL, before)  # GDCM sets one for the whole process that knows ASCII alone


def write_outline(folder: Path, number: int, kind: str, radius: float) -> Path:
    angles = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    points = np.stack([CENTRE[1] + radius * np.cos(angles), CENTRE[0] + radius * np.sin(angles)], axis=1)  # x, y
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"IM-0001-{number:04d}-{kind}contour-manual.txt"
    np.savetxt(path, points, fmt="%.4f")
    return path


def write_stack(root: Path, slices: int = 3, files: Iterable[int] = range(1, TIMES + 1), name: str = "SC-N-3") -> None:
    for k in range(slices):
        for file in files:
            write_dicom(root / name / f"IM-0004-{k * TIMES + file:04d}.dcm", k, file)


def write_outlines(root: Path, slices: Iterable[int] = (0, 1), name: str = "SC-N-03") -> Path:
    folder = root / "contours" / name / "contours-manual" / "IRCCI-expert"
    for k in slices:
        write_outline(folder, k * TIMES + ED_FILE, "i", INNER_ED)
        write_outline(folder, k * TIMES + ED_FILE, "o", OUTER_ED)
        write_outline(folder, k * TIMES + ES_FILE, "i", INNER_ES)
    return folder


def outline_of(root: Path, number: int, kind: str = "i") -> Path:
    (path,) = root.rglob(f"*-{number:04d}-{kind}contour-manual.txt")
    return path


def image_of(root: Path, number: int) -> Path:
    return root / "SC-N-3" / f"IM-0004-{number:04d}.dcm"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scd")
    write_stack(root)
    write_outlines(root)
    return root


@pytest.fixture
def root(published: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(published, tmp_path / "scd"))


def disc(radius: float) -> np.ndarray:
    row, column = np.mgrid[:ROWS, :COLUMNS]
    return np.hypot(row - CENTRE[0], column - CENTRE[1]) < radius


def phases(slices: list[CineSlice]) -> list[tuple[int | None, int | None]]:
    return [(one.ed, one.es) for one in slices]


def test_a_film_comes_in_the_order_of_time_with_its_labels(published: Path) -> None:
    assert is_sunnybrook(published)
    slices = read_sunnybrook(published)
    assert [(one.patient, one.slice_number) for one in slices] == [("SC-N-3", 0), ("SC-N-3", 1), ("SC-N-3", 2)]
    for k, one in enumerate(slices):
        expected = np.stack([pixels(k, file) for file in (3, 4, 1, 2)])
        np.testing.assert_array_equal(one.images, expected)
        assert one.images.dtype == torch.float32
        np.testing.assert_allclose(one.grid.spacing, SPACING, rtol=1e-6)
        assert one.grid.unit == "mm"
        assert one.label_names == {2: "LV myocardium", 3: "LV cavity"}
    assert phases(slices) == [(3, 1), (3, 1), (None, None)]
    ed = 2 * disc(OUTER_ED) + disc(INNER_ED)
    assert [sorted(one.labels) for one in slices] == [[1, 3], [1, 3], []]
    np.testing.assert_array_equal(slices[0].labels[3], ed)
    np.testing.assert_array_equal(slices[1].labels[1], 3 * disc(INNER_ES))


def test_the_outlined_images_alone_will_do(tmp_path: Path) -> None:
    write_stack(tmp_path, files=(ED_FILE, ES_FILE))
    write_outlines(tmp_path / "SC-N-3", slices=(0, 1, 2))
    outline_of(tmp_path, 2 * TIMES + ES_FILE).unlink()
    image_of(tmp_path, 2 * TIMES + ES_FILE).unlink()
    slices = read_sunnybrook(tmp_path / "SC-N-3")
    assert [len(one.images) for one in slices] == [2, 2, 1]
    assert phases(slices) == [(1, 0), (1, 0), (0, None)]
    np.testing.assert_array_equal(slices[1].images[0], pixels(1, ES_FILE))


def test_names_without_patients_follow_the_table_and_the_long_axis_is_left_out(tmp_path: Path) -> None:
    write_stack(tmp_path / "SCD_IMAGES_01", slices=2, name="SCD0000101/CINESAX_300")
    for number in range(1, 7):
        write_dicom(tmp_path / f"SCD_IMAGES_01/SCD0000101/CINELAX_300/IM-0002-{number:04d}.dcm", 5, 1)
    write_outlines(tmp_path, slices=[0], name="SC-HF-NI-07")
    (tmp_path / "scd_patientdata.csv").write_text("PatientID,OriginalID,Age\nSCD0000101,SC-HF-NI-7,61\n")
    slices = read_sunnybrook(tmp_path)
    assert [one.patient for one in slices] == ["SC-HF-NI-7"] * 2
    np.testing.assert_array_equal(slices[1].images[0], pixels(1, 3))
    (tmp_path / "scd_patientdata.csv").write_text("PatientID;OriginalID\nSCD0000101;SC-HF-NI-7\n")
    with pytest.raises(ImageReadError, match=r"scd_patientdata\.csv' has not the columns PatientID and OriginalID"):
        read_sunnybrook(tmp_path)


def test_trigger_times_decide_where_slices_disagree(root: Path) -> None:
    folder = write_outlines(root, slices=(0, 1, 2))
    outline_of(root, ED_FILE, "o").unlink()  # an inner outline alone at ED
    write_outline(folder, TIMES + 1, "i", INNER_ES)  # two images of one phase: time indices 1 and 2 of slice 1
    first, second, third = read_sunnybrook(root)
    assert phases([first, second, third]) == [(3, 1)] * 3
    np.testing.assert_array_equal(first.labels[3], 3 * disc(INNER_ED))
    assert sorted(second.labels) == [1, 2, 3]


@pytest.mark.parametrize("same", [False, True])
def test_without_trigger_times_instances_or_names_give_the_order(tmp_path: Path, same: bool) -> None:
    for k in range(2):
        for file in range(1, TIMES + 1):
            number = 1 if same else k * TIMES + file
            write_dicom(image_of(tmp_path, k * TIMES + file), k, file, g0018_1060="", g0020_0013=str(number))
    write_outlines(tmp_path)
    slices = read_sunnybrook(tmp_path)
    np.testing.assert_array_equal(slices[1].images, np.stack([pixels(1, file) for file in (1, 2, 3, 4)]))
    assert phases(slices) == [(ED_FILE - 1, ES_FILE - 1)] * 2


def test_an_outer_outline_alone_is_an_apex_without_cavity(root: Path) -> None:
    outline_of(root, ED_FILE).unlink()
    first = read_sunnybrook(root)[0]
    assert first.ed == 3
    np.testing.assert_array_equal(first.labels[3], 2 * disc(OUTER_ED))


def test_patients_need_images_but_no_outlines(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_dicom(root / "SC-HYP-1" / "7.dcm", 0, 3)
    write_outlines(root, name="SC-HF-I-02")
    with caplog.at_level(logging.WARNING):
        slices = read_sunnybrook(root)
    assert [one.patient for one in slices] == ["SC-HYP-1", "SC-N-3", "SC-N-3", "SC-N-3"]
    assert (slices[0].ed, slices[0].labels) == (None, {})
    assert "SC-HF-I-2 has outlines" in caplog.text
    shutil.rmtree(root / "SC-HYP-1")
    shutil.rmtree(root / "SC-N-3")
    with pytest.raises(ImageReadError, match="has outlines but no DICOM file below"):
        read_sunnybrook(root)


def renamed(root: Path, first: int, second: int) -> None:
    a, b = image_of(root, first), image_of(root, second)
    a.rename(root / "kept")
    b.rename(a)
    (root / "kept").rename(b)


def outline_without_image(root: Path) -> None:
    image_of(root, TIMES + ED_FILE).unlink()


def outlined_slice_without_a_phase(root: Path) -> None:
    image_of(root, TIMES + 3).unlink()


def other_spacing(root: Path) -> None:
    plane = sitk.ReadImage(str(image_of(root, 6)))
    plane.SetSpacing((0.9, SPACING[0], 8.0))
    plane.SetMetaData("0028|0030", "1.3\\0.9")
    sitk.WriteImage(plane, str(image_of(root, 6)))


def other_size(root: Path) -> None:
    plane = sitk.ReadImage(str(image_of(root, 6)))
    sitk.WriteImage(plane[:, 1:], str(image_of(root, 6)))


def swapped_slices(root: Path) -> None:
    """The numbers in the files go with the names, so the places alone tell."""
    for file in range(1, TIMES + 1):
        write_dicom(image_of(root, file), 1, file, g0020_0013=str(file))
        write_dicom(image_of(root, TIMES + file), 0, file, g0020_0013=str(TIMES + file))


def moved_in_plane(root: Path) -> None:
    place = "\\".join(f"{x:.8f}" for x in ORIGIN + 3.0 * TURN[:, 0])
    write_dicom(image_of(root, 2), 0, 2, g0020_0032=place)


def two_short_axes(root: Path) -> None:
    shutil.copytree(root / "SC-N-3", root / "copy" / "SC-N-3")


def two_outlines(root: Path) -> None:
    write_outline(root / "SC-N-3", ED_FILE, "i", 3.0)


def damaged(root: Path) -> None:
    image_of(root, 5).write_bytes(image_of(root, 5).read_bytes()[:300])


def cut_pixels(root: Path) -> None:
    image_of(root, 5).write_bytes(image_of(root, 5).read_bytes()[:-500])


def one_phase(root: Path) -> None:
    for k in (0, 1):
        outline_of(root, k * TIMES + ES_FILE).unlink()


def no_outer(root: Path) -> None:
    for path in root.rglob("*-ocontour-*"):
        path.unlink()


def text(number: int, content: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        outline_of(root, number).write_text(content)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (outline_without_image, r"0006-[io]contour-manual\.txt' is an outline of image 6, which .*SC-N-3' does not"),
        (outlined_slice_without_a_phase, r"0005\.dcm' begins a slice of 3 time points but another has 4, .*\[7\] are"),
        (other_spacing, r"0006\.dcm' has the pixel spacing \[1\.3, 0\.9\].* 'IM-0004-0001\.dcm', \[1\.3, 0\.7\]"),
        (other_size, r"0006\.dcm' has the size \(30, 23\) but .* 'IM-0004-0001\.dcm', \(30, 24\)"),
        (lambda root: renamed(root, ED_FILE, ES_FILE), r"0003\.dcm' has the instance number 3, but .*0002\.dcm'.* 4;"),
        (swapped_slices, r"0009\.dcm' lies .* mm from .*0008\.dcm', .* -16 mm along the normal"),
        (moved_in_plane, r"0002\.dcm' lies .* mm from .*0001\.dcm', .* mm along the normal"),
        (two_short_axes, r"SC-N-3.*0001\.dcm' is of one of 2 series that could be the short axis"),
        (two_outlines, r"0002-icontour-manual\.txt' is of the same image of SC-N-3 as"),
        (damaged, r"0005\.dcm' cannot be read"),
        (cut_pixels, r"0005\.dcm' cannot be read"),
        (one_phase, r"IRCCI-expert' has no outline of end systole"),
        (no_outer, r"IRCCI-expert' has no outline of end diastole"),
        (text(ES_FILE, "1 2\n3 4\n"), r"0004-icontour-manual\.txt' has 2 lines of 2 numbers; expected three"),
        (text(ES_FILE, ""), r"0004-icontour-manual\.txt' has 0 lines"),
        (text(ES_FILE, "1 2 3\n3 4 5\n5 6 7\n"), r"0004-icontour-manual\.txt' has 3 lines of 3 numbers"),
        (text(ES_FILE, "1 2\n3 four\n5 6\n"), r"0004-icontour-manual\.txt' cannot be read"),
        (text(ES_FILE, "1 2\n3 4\nnan 6\n"), r"0004-icontour-manual\.txt' has the point x nan"),
        (text(ES_FILE, "1 2\n29.6 4\n5 6\n"), r"0004-icontour-manual\.txt' has the point x 29\.6, y 4 outside.*30 col"),
        (
            text(ES_FILE, "1 2\n29 4\n5 -0.6\n"),
            r"has the point x 5, y -0\.6 outside its image of 30 columns and 24 rows",
        ),
    ],
)
def test_bad_input_is_told_with_its_file(root: Path, spoil: Callable[[Path], None], match: str) -> None:
    spoil(root)
    with pytest.raises(ImageReadError, match=match):
        read_sunnybrook(root)


def test_points_up_to_the_border_of_the_image_are_inside(root: Path) -> None:
    outline_of(root, ES_FILE).write_text("-0.5 -0.5\n29.5 -0.5\n29.5 23.5\n-0.5 23.5\n")
    assert bool((read_sunnybrook(root)[0].labels[1] == 3).all())


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the two patients of Sunnybrook Cardiac Data")
@pytest.mark.parametrize("patient", ["SC-HF-I-1", "SC-HF-I-2"])
def test_real_patients_agree_with_their_rasterised_outlines(patient: str) -> None:
    slices = read_sunnybrook(REAL / patient)
    known = dict(np.load(REAL / patient / "cine_roi.npz"))
    row, column = known["roi_origin_yx"]
    size = known["cine"].shape[2:]
    window = (slice(row, row + size[0]), slice(column, column + size[1]))
    assert len(slices) == len(known["cine"])
    for k, one in enumerate(slices):
        assert one.ed is not None and one.es is not None
        np.testing.assert_allclose(one.grid.spacing, known["spacing_yxz"][:2])
        for time, phase in ((one.ed, known["ed_phase"][k]), (one.es, known["es_phase"][k])):
            np.testing.assert_array_equal(one.images[time][window], known["cine"][k, phase])
        ed, es = (one.labels[time].numpy()[window] for time in (one.ed, one.es))
        for mine, truth in ((ed == 3, "lv_endo_ed"), (ed > 0, "lv_epi_ed"), (es == 3, "lv_endo_es")):
            assert 2 * (mine & (known[truth][k] > 0)).sum() / (mine.sum() + known[truth][k].sum()) > 0.97
        assert 2 not in es
