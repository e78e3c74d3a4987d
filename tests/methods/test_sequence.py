from __future__ import annotations

import csv
import json
import logging
from pathlib import Path

import imageio.v2 as imageio
import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
import torch
from monai.data import MetaTensor
from scipy.ndimage import gaussian_filter, shift
from skimage.registration import phase_cross_correlation

from monai_cellreg.geometry import AffineTransform, Pair, SamplingGrid, SpatialTransform, read_transform
from monai_cellreg.methods import SequenceOptions
from monai_cellreg.methods.sequence import SequenceResult, register_sequence
from monai_cellreg.methods.sequence_report import judge_sequence

SHIFTS = np.array([[0, 0], [3, -2], [5, 1], [2, 6]])
OUTPUTS = {
    *("metrics.csv", "metrics.json", "mean.png", "std.png", "report.html", "sequence.json"),
    *("stabilised.mp4", "stabilised.ome.tif", "transforms"),
}


class Phase:
    """Translation by phase correlation, whole voxels. The class counts its calls, and stops at one as a user would."""

    calls, stop_at = 0, -1

    def register(self, pair: Pair) -> SpatialTransform:
        if Phase.calls == Phase.stop_at:
            raise KeyboardInterrupt
        Phase.calls += 1
        found = phase_cross_correlation(pair.fixed[0].numpy(), pair.moving[0].numpy())[0]
        return AffineTransform.translation(-pair.fixed_grid.affine[:-1, :-1] @ found)


@pytest.fixture(autouse=True)
def count_from_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Phase, "calls", 0)


def film(shape: tuple[int, ...] = (40, 56), shifts: np.ndarray = SHIFTS, dtype: str = "uint16") -> np.ndarray:
    """Frames (T, *shape) whose matter is rolled by each shift; the border is even."""
    window = np.prod(np.meshgrid(*(np.hanning(n) for n in shape), indexing="ij"), axis=0)
    noise = gaussian_filter(np.random.default_rng(0).normal(size=shape), 1.5) * window
    first = 300 + 2000 * noise / np.abs(noise).max()
    frames = np.stack([shift(first, each, order=0, cval=300) for each in shifts])
    return frames.clip(0, 65535).astype(dtype)


def run(movie: object, out: Path | None = None, reference: str | int = "first") -> SequenceResult:
    return register_sequence(movie, method=Phase(), reference=reference, out=out, progress=False)


def found_shifts(result: SequenceResult) -> np.ndarray:
    zero = np.zeros((1, result.found.grid.spatial_dims))
    return np.concatenate([each.points(zero) for each in result.transforms])


def test_array_gives_an_array_of_its_own_kind() -> None:
    movie = film()
    copy = movie.copy()
    result = run(movie)
    np.testing.assert_allclose(found_shifts(result), SHIFTS, rtol=0, atol=1e-9)
    assert isinstance(result.warped, np.ndarray) and result.warped.dtype == np.uint16
    inner = np.s_[:, 8:-8, 8:-8]
    np.testing.assert_array_equal(result.warped[inner], np.repeat(movie[:1], 4, axis=0)[inner])
    np.testing.assert_array_equal(movie, copy)
    assert [row["flag"] for row in result.metrics] == ["reference"] + ["registered"] * 3
    assert result.metrics[3]["max_displacement"] == pytest.approx(np.hypot(2, 6))
    assert result.metrics[3]["ncc_after"] > 0.99 > 0.9 > result.metrics[3]["ncc_before"]
    assert result.summary["std_after"] < 0.05 * result.summary["std_before"]
    assert result.summary["ncc_after"] == pytest.approx(np.mean([r["ncc_after"] for r in result.metrics[1:]]))


def test_statistics_are_those_of_numpy() -> None:
    movie = film(dtype="float32")
    result = run(movie)
    np.testing.assert_allclose(result.statistics.mean_before[0], movie.mean(0), rtol=0, atol=2e-3)
    np.testing.assert_allclose(result.statistics.std_before[0], movie.std(0), rtol=0, atol=2e-3)
    np.testing.assert_allclose(result.statistics.mean_after[0], result.warped.mean(0), rtol=0, atol=2e-3)
    np.testing.assert_allclose(result.statistics.std_after[0], result.warped.std(0), rtol=0, atol=2e-3)


def test_file_to_folder(tmp_path: Path) -> None:
    movie = film()
    source = tmp_path / "film.ome.tif"
    tifffile.imwrite(
        source,
        movie,
        ome=True,
        metadata={"axes": "TYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25, "TimeIncrement": 30.0},
    )
    out = tmp_path / "out"
    result = run(source, out)
    assert {path.name for path in out.iterdir()} == OUTPUTS
    with tifffile.TiffFile(out / "stabilised.ome.tif") as file:
        series = file.series[0]
        assert series.axes == "TYX" and series.shape == movie.shape and series.dtype == np.uint16
        assert 'PhysicalSizeX="0.5"' in file.ome_metadata and 'PhysicalSizeY="0.25"' in file.ome_metadata
        written = series.asarray()
    inner = np.s_[:, 8:-8, 8:-8]
    np.testing.assert_array_equal(written[inner], np.repeat(movie[:1], 4, axis=0)[inner])
    reader = imageio.get_reader(out / "stabilised.mp4")
    assert reader.count_frames() == 4
    assert reader.get_data(3).shape[1] >= 2 * 320 and reader.get_data(3).shape[0] >= 200
    assert sorted(p.name for p in (out / "transforms").iterdir()) == [f"t00{t}.h5" for t in range(4)]
    again = read_transform(out / "transforms" / "t003.h5", "index").points(np.zeros((1, 2)))
    np.testing.assert_allclose(again, [[2 * 0.25, 6 * 0.5]], rtol=0, atol=1e-9)
    assert sitk.ReadTransform(str(out / "transforms" / "t003.h5")).TransformPoint((0.0, 0.0)) == (3.0, 0.5)
    with (out / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["flag"] for row in rows] == [row["flag"] for row in result.metrics] and rows[3]["frame"] == "3"
    told = json.loads((out / "metrics.json").read_text())
    assert told["method"] == "Phase" and told["reference"] == 0 and len(told["per_frame"]) == 4
    mean, std = (imageio.imread(out / f"{name}.png").astype(float) for name in ("mean", "std"))
    half = mean.shape[1] // 2
    assert std[:, :half].mean() > 3 * std[:, half:].mean() and mean[:, half:].std() > mean[:, :half].std()
    page = (out / "report.html").read_text()
    assert "<video" in page and "more like the reference than before" in page and "http://" not in page.split("svg")[0]


def test_interrupted_run_leaves_no_half_of_anything_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    movie = film()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Phase, "stop_at", 2)
        run(movie, tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        *("sequence.json", "t000.h5", "t001.h5", "t002.h5", "transforms")
    ]
    np.testing.assert_allclose(found_shifts(run(movie, tmp_path)), SHIFTS, rtol=0, atol=1e-9)
    assert Phase.calls == 3
    assert {path.name for path in tmp_path.iterdir()} == OUTPUTS


def test_mean_writes_the_maps_of_the_mean_shape(tmp_path: Path) -> None:
    shifts = np.array([[0, 0], [4, -2], [-2, 2], [2, 4]])
    result = run(film(shifts=shifts), tmp_path, "mean")
    maps = [read_transform(tmp_path / "transforms" / f"t00{t}.h5", "index") for t in range(4)]
    written = np.concatenate([each.points(np.zeros((1, 2))) for each in maps])
    np.testing.assert_allclose(written, shifts - shifts.mean(0), rtol=0, atol=1e-9)
    np.testing.assert_allclose(found_shifts(result), written, rtol=0, atol=1e-9)
    assert result.summary["reference"] == "mean" and result.summary["convergence"] == [0.0]


def test_volumes_over_time(tmp_path: Path) -> None:
    shifts = np.array([[0, 0, 0], [1, -2, 0], [2, 1, 3]])
    movie = film((10, 24, 32), shifts, "int16")
    affine = np.array([[-2.0, 0, 0, 10], [0, 0.5, 0, 5], [0, 0, 1.0, -3], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(np.moveaxis(movie, 0, -1), affine), tmp_path / "film.nii.gz")
    result = run(tmp_path / "film.nii.gz", tmp_path / "out")
    np.testing.assert_allclose(found_shifts(result), shifts @ affine[:3, :3].T, rtol=0, atol=1e-4)
    with tifffile.TiffFile(tmp_path / "out" / "stabilised.ome.tif") as file:
        assert sorted(file.series[0].shape) == sorted(movie.shape) and file.series[0].dtype == np.int16
    assert {path.name for path in (tmp_path / "out").iterdir()} == OUTPUTS
    stack = run(movie)
    np.testing.assert_allclose(found_shifts(stack), shifts, rtol=0, atol=1e-9)
    assert isinstance(stack.warped, np.ndarray) and stack.warped.shape == movie.shape


def test_folder_of_images_and_a_frame_that_cannot_be_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    movie = film(dtype="float32")
    movie[2, 5, 5] = np.nan
    (tmp_path / "film").mkdir()
    for t, frame in enumerate(movie):
        tifffile.imwrite(tmp_path / "film" / f"frame{t + 8}.tif", frame)
    with caplog.at_level(logging.WARNING):
        result = run(tmp_path / "film", tmp_path / "out")
    assert "frame 2 cannot be used" in caplog.text
    assert [row["flag"] for row in result.metrics] == ["reference", "registered", "not finite", "registered"]
    assert result.metrics[2]["ncc_after"] is None and result.metrics[2]["max_displacement"] > 1
    np.testing.assert_allclose(found_shifts(result)[3], SHIFTS[3], rtol=0, atol=1e-9)
    assert "NaN" not in (tmp_path / "out" / "metrics.json").read_text()
    assert result.verdict == judge_sequence(result.summary) and result.verdict.level == "check"
    assert result.warped[3].shape == (1, 40, 56) and len(list(result.warped)) == 4


def test_values_beside_nan_stay_what_they_are() -> None:
    movie = film(dtype="float32")
    movie[1, 5, 6] = np.nan
    result = run(movie)
    assert np.isnan(result.frames[1][0, 5, 6]) and float(result.frames[1][0, 6, 6]) == movie[1, 6, 6]
    assert result.metrics[1]["flag"] == "not finite"


def test_list_of_images_that_know_where_they_lie() -> None:
    grid = SamplingGrid((40, 56), np.array([[0.0, 2.0, 30.0], [-0.5, 0.0, -12.0], [0.0, 0.0, 1.0]]), unit="µm")
    frames = [grid.to_image(torch.from_numpy(frame[None])) for frame in film(dtype="float32")]
    result = run(frames, reference=1)
    start, expected = np.array([[30.0, -12.0]]), (SHIFTS - SHIFTS[1]) @ grid.affine[:2, :2].T
    moved = np.concatenate([each.points(start) - start for each in result.transforms])
    np.testing.assert_allclose(moved, expected, rtol=0, atol=1e-9)
    assert isinstance(result.warped[0], MetaTensor) and SamplingGrid.from_image(result.warped[0]).matches(grid)
    assert result.transforms[2].fixed_grid.unit == "µm"


def test_saving_and_reporting_later(tmp_path: Path) -> None:
    result = run(film())
    result.save(tmp_path / "later")
    assert {path.name for path in (tmp_path / "later").iterdir()} == OUTPUTS - {"sequence.json"}
    result.report(tmp_path / "page.html")
    assert "<video" not in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("movie", "error", "message"),
    [
        (np.zeros((4, 5)), ValueError, r"movie has shape \(4, 5\); expected \(T, \*spatial\)"),
        ([], ValueError, "movie is empty; expected at least one frame"),
        (3, TypeError, "movie is a int; expected a path, an array"),
        (
            [np.ones((6, 7)), np.ones((7, 6))],
            ValueError,
            r"movie\[1\] has shape \(1, 7, 6\) but movie\[0\] has \(1, 6, 7\)",
        ),
        ("missing.tif", ValueError, "missing.tif"),
    ],
)
def test_what_is_no_movie_is_refused(movie: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        run(movie)


def test_output_that_cannot_be_written_is_found_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    Phase.calls = 0
    with pytest.raises(OSError, match="is not a folder"):
        run(film(), tmp_path / "file")
    assert Phase.calls == 0


def tracks_of(folder: Path) -> Path:
    """Two structures that rest in the film's matter, in rows and columns, one of them seen later."""
    rows = [
        [track, t, *(np.array(at) + SHIFTS[t])] for track, at in (("a", (12, 30)), ("b", (20, 9))) for t in range(4)
    ]
    rows = [row for row in rows if (row[0], row[1]) not in (("b", 0), ("a", 2))]
    lines = ["track_id,frame,row,col", *(",".join(map(str, row)) for row in rows)]
    (folder / "tracks.csv").write_text("\n".join(lines))
    return folder / "tracks.csv"


def test_labels_and_tracks_are_carried_along(tmp_path: Path) -> None:
    labels = np.zeros((40, 56), np.uint16)
    labels[10:16, 27:35], labels[18:25, 6:14] = 11, 300
    options = SequenceOptions(labels=labels, labels_frame=2, tracks=tracks_of(tmp_path))
    result = register_sequence(film(), method=Phase(), out=tmp_path / "out", options=options, progress=False)
    more = {"labels.ome.tif", "labels_ctc", "tracks_reference.csv", "motion.csv", "motion.png"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == OUTPUTS | more
    expected = np.stack([shift(labels, each - SHIFTS[2], order=0) for each in SHIFTS])
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out" / "labels.ome.tif"), expected)
    carried = result.propagate()
    np.testing.assert_array_equal(carried, expected)
    assert carried.dtype == np.uint16
    np.testing.assert_array_equal(result.propagate(labels, frame=0)[1], shift(labels, SHIFTS[1], order=0))
    np.testing.assert_array_equal(result.propagate(labels)[3], shift(labels, SHIFTS[3], order=0))
    told = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert told["labels"]["frame"] == 2 and told["labels"]["untrusted_frames"] == []
    assert told["tracks"]["tracks"] == 2 and told["tracks"]["msd"][0]["after"] == pytest.approx(0, abs=1e-12)
    assert told["tracks"]["msd"][0]["before"] == pytest.approx((3**2 + 2**2 + 2**2 + 3**2 + 3**2 + 5**2) / 3, abs=9)
    with (tmp_path / "out" / "tracks_reference.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["row"], row["col"], row["displacement"]) for row in rows] == [("12", "30", "0")] * 3 + [
        ("20", "9", "0")
    ] * 3
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Motion of structures" in page and page.count("data:image/png") > 1
    result.report(tmp_path / "page.html")
    assert "Motion of structures" in (tmp_path / "page.html").read_text()
    result.save(tmp_path / "again")
    assert {path.name for path in (tmp_path / "again").iterdir()} == (OUTPUTS | more) - {"sequence.json"}


def test_points_to_the_reference_and_back() -> None:
    grid = SamplingGrid((40, 56), np.array([[0.0, 2.0, 30.0], [-0.5, 0.0, -12.0], [0.0, 0.0, 1.0]]), unit="µm")
    result = run([grid.to_image(torch.from_numpy(frame[None])) for frame in film(dtype="float32")], reference=1)
    points = np.array([[10.0, 20.5], [33.0, 4.0], [1.0, 2.0]])
    placed = result.to_reference(points, np.array([3, 0, 1]))
    np.testing.assert_allclose(placed, points - (SHIFTS - SHIFTS[1])[[3, 0, 1]], rtol=0, atol=1e-9)
    np.testing.assert_allclose(result.to_reference(points, 2), points - (SHIFTS[2] - SHIFTS[1]), rtol=0, atol=1e-9)
    np.testing.assert_allclose(result.from_reference(placed[:1], 3), points[:1], rtol=0, atol=1e-9)
    assert result.propagate(np.ones((40, 56), np.uint8))[1].shape == (1, 40, 56) and result.motion is None
    for wrong, frames, message in (
        (points[0], 0, r"points has shape \(2,\) and frames \(\); expected \(N, 2\)"),
        (points, [0, 1], r"frames \(2,\)"),
        (points, 4, "frames holds 4; expected whole numbers from 0 to 3"),
        (points, -1, "frames holds -1"),
    ):
        with pytest.raises(ValueError, match=message):
            result.to_reference(wrong, frames)


def test_smooth_maps_are_written_and_those_that_were_found_are_kept(tmp_path: Path) -> None:
    movie = film()
    run(movie, tmp_path)
    calls = Phase.calls
    options = SequenceOptions(smoothing=0.6)
    result = register_sequence(movie, method=Phase(), out=tmp_path, options=options, progress=False)
    assert Phase.calls == calls and result.summary["smoothing"] == 0.6
    written = [
        read_transform(tmp_path / "transforms" / f"t00{t}.h5", "index").points(np.zeros((1, 2)))[0] for t in range(4)
    ]
    np.testing.assert_allclose(written, found_shifts(result), rtol=0, atol=1e-9)
    kernel = np.exp(-(np.arange(-2, 3) ** 2) / (2 * 0.36))
    fit = np.polyfit(np.arange(-2, 2), SHIFTS, 1, w=np.sqrt(kernel[:4]))
    np.testing.assert_allclose(written[2], fit[1], rtol=0, atol=1e-9)  # of frames 0 to 3; there is no fourth
    assert not written[0].any() and np.abs(written[2] - SHIFTS[2]).max() > 0.3
    plain = run(movie, tmp_path)
    assert Phase.calls == calls and np.allclose(found_shifts(plain), SHIFTS)


@pytest.mark.parametrize(
    ("options", "reference", "message"),
    [
        ({"labels": np.ones((40, 56), int)}, "mean", "labels belong to no frame: the reference is the mean of all"),
        ({"labels": np.ones((40, 55), int)}, "first", "labels has shape 40x55"),
        ({"labels": np.ones((40, 56), int), "labels_frame": 9}, "first", "labels_frame is 9 but the movie has 4"),
    ],
)
def test_labels_that_do_not_fit_are_found_before_the_work(
    options: dict[str, object], reference: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        register_sequence(film(), method=Phase(), reference=reference, options=SequenceOptions(**options))
    assert Phase.calls == 0


def test_labels_of_a_mean_need_their_frame() -> None:
    result = run(film(), reference="mean")
    with pytest.raises(ValueError, match="labels belong to no frame"):
        result.propagate(np.ones((40, 56), int))
    with pytest.raises(ValueError, match="labels is None and none were registered with the movie"):
        result.propagate()
    assert result.propagate(np.ones((40, 56), int), frame=1).shape == (4, 40, 56)


def test_method_with_batches_is_asked_for_them() -> None:
    class Batched(Phase):
        sizes: list[int] = []

        def register_batch(self, pairs: list[Pair]) -> list[SpatialTransform]:
            Batched.sizes.append(len(pairs))
            return [self.register(pair) for pair in pairs]

    result = register_sequence(film(), method=Batched(), progress=False)
    np.testing.assert_allclose(found_shifts(result), SHIFTS, rtol=0, atol=1e-9)
    assert Batched.sizes == [3] and Phase.calls == 3


def test_named_method_and_progress_bar(capsys: pytest.CaptureFixture[str]) -> None:
    frames = film((64, 64))
    result = register_sequence(frames, method="joint", progress=True)
    assert result.method == "joint" and "4/4" in capsys.readouterr().err
    run(frames)
    assert capsys.readouterr().err == ""
    with pytest.raises(ValueError, match="method is 'jiont', expected one of"):
        register_sequence(frames, method="jiont")
