"""Structures of a simulated film whose true positions relative to the nucleus are known."""

from __future__ import annotations

import csv
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from monai_cellreg.data.synthetic_sequence import SequenceSettings, SpotSettings, simulate_sequence
from monai_cellreg.geometry import AffineTransform, DenseTransform, SamplingGrid
from monai_cellreg.inferers import FrameMap, SequenceMaps
from monai_cellreg.inferers.preimages import preimages
from monai_cellreg.methods.relative_motion import RelativeMotion, points_on_reference
from monai_cellreg.methods.sequence_frames import MovieFrames
from monai_cellreg.methods.sequence_metrics import TemporalStatistics
from monai_cellreg.methods.track_files import read_tracks

COUNT, SIZE, SPOTS = 6, 64, 5


def statistics(shape: tuple[int, ...] = (1, SIZE, SIZE)) -> TemporalStatistics:
    return TemporalStatistics(*(torch.rand(shape, generator=torch.Generator().manual_seed(k)) for k in range(4)))


@pytest.fixture(scope="module")
def motion(tmp_path_factory: pytest.TempPathFactory) -> tuple[RelativeMotion, np.ndarray]:
    """A table of all spots as they were seen, in a film whose true maps are told, and their true places (T, K, 2)."""
    settings = SequenceSettings(spots=SpotSettings(count=SPOTS, step_px=0.8))
    film = simulate_sequence(COUNT, size=SIZE, seed=5, settings=settings)
    grid = SamplingGrid((SIZE, SIZE))
    path = tmp_path_factory.mktemp("tracks") / "spots.csv"
    with path.open("w") as file:
        writer = csv.writer(file)
        writer.writerow(["track", "frame", "y", "x"])
        writer.writerows([k, t, *film.spots[t, k]] for k in range(SPOTS) for t in range(COUNT))
    flags = ["reference", *["registered"] * (COUNT - 2), "unlike"]
    maps = [DenseTransform(torch.from_numpy(d)[None], grid) for d in film.displacement_vox]
    kept = [FrameMap(each, flag) for each, flag in zip(maps, flags, strict=True)]
    found = SequenceMaps(kept, grid, torch.zeros(1, SIZE, SIZE), 0)
    return RelativeMotion(read_tracks(path, MovieFrames(film.images[:, 0])), found), film.spots_reference


def test_motion_of_the_nucleus_is_taken_out(motion: tuple[RelativeMotion, np.ndarray], tmp_path: Path) -> None:
    tracks, truth = motion
    section = tracks.write(tmp_path, statistics())
    with (tmp_path / "tracks_reference.csv").open() as file:
        rows = list(csv.DictReader(file))
    placed = np.array([[float(row["y"]), float(row["x"])] for row in rows]).reshape(SPOTS, COUNT, 2)
    true = np.moveaxis(truth, 0, 1)  # (K, T, 2)
    np.testing.assert_allclose(placed, true, rtol=0, atol=0.02)  # maps are linear between voxels
    moved = np.array([[float(row["displacement_y"]), float(row["displacement_x"])] for row in rows])
    np.testing.assert_allclose(moved.reshape(placed.shape), placed - placed[:, :1], rtol=0, atol=1e-8)
    assert [row["frame_flag"] for row in rows][:COUNT] == ["reference", *["registered"] * 4, "unlike"]
    with (tmp_path / "motion.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["track"] for row in table] == [str(k) for k in range(SPOTS)]
    for row, one in zip(table, placed, strict=True):
        steps = np.linalg.norm(np.diff(one, axis=0), axis=1)
        assert float(row["path_length_after"]) == pytest.approx(steps.sum())
        assert float(row["msd_1_after"]) == pytest.approx((steps**2).mean())
        assert float(row["msd_5_after"]) == pytest.approx(((one[5] - one[0]) ** 2).sum())
        assert (row["points"], row["first_frame"], row["last_frame"], row["unit"]) == ("6", "0", "5", "px")
    told = tracks.told()
    assert (told["points"], told["tracks"], told["points_in_untrusted_frames"]) == (30, 5, 5)
    true_msd = [((true[:, lag:] - true[:, :-lag]) ** 2).sum(-1).mean() for lag in range(1, 6)]
    assert [one["after"] for one in told["msd"]] == pytest.approx(true_msd, rel=0.03)
    assert told["msd"][4]["before"] > 2 * told["msd"][4]["after"]
    assert list(tracks.tracks) == [str(k) for k in range(SPOTS)] and tracks.tracks["3"].frames.tolist() == [*range(6)]
    np.testing.assert_allclose(tracks.tracks["3"].points[1], true[3], rtol=0, atol=0.02)
    np.testing.assert_array_equal(tracks.tracks["3"].points[0], tracks.table.points[18:24])
    np.testing.assert_allclose(tracks.msd[1], true_msd, rtol=0.03)
    assert section.untrusted == 5 and len(section.rows) == SPOTS
    assert Image.open(tmp_path / "motion.png").size[0] == 1300


def test_table_without_tracks_is_placed_but_not_measured(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.csv").write_text("t,row,col\n0,3,4\n0,5,6\n1,7,8\n")
    grid = SamplingGrid((20, 30))
    shift = AffineTransform.translation([1.0, -2.0])
    maps = [FrameMap(AffineTransform(np.eye(3)), "reference"), FrameMap(shift, "registered")]
    frames = MovieFrames(np.random.default_rng(0).random((2, 20, 30)))
    tracks = RelativeMotion(
        read_tracks(tmp_path / "a.csv", frames), SequenceMaps(maps, grid, torch.zeros(1, 20, 30), 0)
    )
    with caplog.at_level(logging.WARNING):
        assert tracks.write(tmp_path, statistics()) is None
    assert "no column of the track" in caplog.text and not (tmp_path / "motion.csv").exists()
    written = (tmp_path / "tracks_reference.csv").read_text().splitlines()
    assert written[0] == "t,row,col,displacement_row,displacement_col,displacement,frame_flag"
    assert written[3] == "1,6,10,,,,registered"
    assert tracks.told()["tracks"] == 0 and tracks.told()["msd"] == [] and tracks.msd.shape == (2, 0)


@pytest.mark.parametrize(("frame", "axes", "size"), [("index", (1, 2), (20, 30)), ("RAS", (0, 1), (12, 20))])
def test_volumes_are_shown_along_their_slices(
    tmp_path: Path, frame: str, axes: tuple[int, int], size: tuple[int, int]
) -> None:
    grid = SamplingGrid((12, 20, 30), np.diag([2.0, 0.5, 1.0, 1.0]), frame)
    frames = MovieFrames([grid.to_image(torch.rand(1, *grid.shape)) for _ in range(2)])
    names = "z,y,x" if frame == "index" else "x,y,z"
    (tmp_path / "a.csv").write_text(f"frame,{names}\n0,3,4,5\n1,6,7,8\n")
    still = FrameMap(AffineTransform(np.eye(4)), "registered")
    found = SequenceMaps([still, still], grid, torch.zeros(1, *grid.shape), None)
    picture = RelativeMotion(read_tracks(tmp_path / "a.csv", frames), found)._picture(statistics((1, *grid.shape)))
    np.testing.assert_allclose(picture.tracks[0][1], np.array([[3, 4, 5], [6, 7, 8]])[:, axes], atol=1e-9)
    assert picture.images[0].shape == (1, *size)
    assert picture.spacing == pytest.approx([grid.spacing[axis] for axis in axes])


def test_points_where_a_map_folds_are_placed_near_and_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    grid = SamplingGrid((12, 15))
    folding = DenseTransform(8 * torch.randn(1, 2, 12, 15, generator=torch.Generator().manual_seed(0)), grid)
    maps = [FrameMap(AffineTransform(np.eye(3)), "reference"), FrameMap(folding, "registered")]
    found, points = SequenceMaps(maps, grid, torch.zeros(1, 12, 15), 0), grid.world().reshape(-1, 2).numpy()
    with caplog.at_level(logging.WARNING):
        placed = points_on_reference(found, points, np.arange(180) % 2)
    assert np.isfinite(placed).all() and (placed[::2] == points[::2]).all()
    _, reached = preimages(folding, torch.from_numpy(points[1::2]), tolerance=1e-6)
    missed = int((~reached).sum())
    assert missed and f"{missed} of 180 points lie where the map of their frame folds" in caplog.text
