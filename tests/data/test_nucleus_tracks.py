"""Following nuclei through a folder of labelled films whose nuclei are discs at known places."""

from __future__ import annotations

from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
import tifffile
import torch

from monai_cellreg.data import ImageReadError
from monai_cellreg.data.nucleus_tracks import NucleusTrack, nucleus_tracks, number_by_markers
from monai_cellreg.transforms.nuclei import CropSettings

SHAPE = (70, 120)
SEEN = {2: (0, 1, 2, 3), 5: (0, 2, 3), 9: (1, 3)}  # number to the time points at which it lies whole


def disc(centre: tuple[float, float], radius: float) -> np.ndarray:
    row, column = np.indices(SHAPE)
    return (row - centre[0]) ** 2 + (column - centre[1]) ** 2 <= radius**2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five time points, the last one unlabelled: 2 moves, 5 is cut by the border at time 1, 9 is seen twice."""
    for name in ("01", "01_label"):
        (tmp_path / name).mkdir()
    for t in range(5):
        label = np.zeros(SHAPE, np.uint16)
        label[disc((25 + 2 * t, 30 + 3 * t), 9 + t)] = 2
        label[disc((40, 90 if t != 1 else 118), 10)] = 5
        if t in SEEN[9]:
            label[disc((15, 70), 8)] = 9
        tifffile.imwrite(tmp_path / "01" / f"t{t:03d}.tif", (50 + 300 * (label > 0) + t).astype(np.uint16))
        if t < 4:
            tifffile.imwrite(tmp_path / "01_label" / f"man_seg{t:03d}.tif", label)
    return tmp_path


def times(track: NucleusTrack) -> tuple[int, ...]:
    return tuple(int(Path(item["image"]).stem[1:]) for item in track.items)


def test_nuclei_are_followed_where_they_lie_whole(folder: Path) -> None:
    tracks = nucleus_tracks(folder)
    assert {track.number: times(track) for track in tracks} == {2: SEEN[2], 5: SEEN[5]}
    assert [track.name for track in tracks] == ["01 nucleus 2", "01 nucleus 5"]
    assert {t.number: times(t) for t in nucleus_tracks(folder, least_frames=2, most_frames=2)} == {
        2: (0, 1), 5: (0, 2), 9: (1, 3)
    }  # fmt: skip


def test_frames_grow_with_the_nucleus(folder: Path) -> None:
    images, labels = nucleus_tracks(folder)[0].frames(56)
    assert images.shape == labels.shape == (4, 1, 56, 56)
    assert images.dtype == labels.dtype == torch.float32
    step = (2 * 12 + 1) / 0.7 / 56  # field pixels a frame pixel: the largest disc fills 7/10
    for t, label in enumerate(labels):
        field = disc((25 + 2 * t, 30 + 3 * t), 9 + t).sum()
        assert float(label.sum()) * step**2 == pytest.approx(field, rel=0.03)
        centre = np.argwhere(label[0].numpy() > 0).mean(0)
        np.testing.assert_allclose(centre, [27.5, 27.5], rtol=0, atol=0.2)
    again, _ = nucleus_tracks(folder)[0].frames(56)
    torch.testing.assert_close(again, images, rtol=0, atol=0)


def test_unusable_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no nucleus of one number that lies whole in 5 labelled time points; 3"):
        nucleus_tracks(folder, least_frames=5)
    with pytest.raises(ValueError, match="least_frames is 3 and most_frames is 2; expected at least 2"):
        nucleus_tracks(folder, most_frames=2)
    with pytest.raises(ValueError, match="least_frames is 1 and"):
        nucleus_tracks(folder, least_frames=1)
    with pytest.raises(ValueError, match="has no numbered film; expected the layout of the Cell Tracking Challenge"):
        nucleus_tracks(folder / "01")
    with pytest.raises(FileNotFoundError, match="is not an existing folder"):
        nucleus_tracks(tmp_path / "absent")


@pytest.fixture
def challenge(tmp_path: Path) -> Path:
    """A film as real sets have it, with three nuclei as gold segmentation, numbered anew in every frame.

    Silver segmentation fills the frames that gold leaves out, and small markers follow the nuclei as 4, 6 and 11; the
    last of them has none.
    """
    for name in ("01", "01_GT/SEG", "01_ST/SEG", "01_GT/TRA"):
        (tmp_path / name).mkdir(parents=True)
    for t in range(5):
        places = {4: (20 + 5 * t, 25), 6: (20 + 5 * t, 60), 11: (35, 95)}
        label, markers = np.zeros(SHAPE, np.uint16), np.zeros(SHAPE, np.uint16)
        for rank, (number, centre) in enumerate(places.items()):
            label[disc(centre, 9 + rank)] = (
                1 + (rank + t) % 3
            )  # never the same twice, and some of them markers' numbers
            if number != 11:
                markers[disc((centre[0] + 4, centre[1]), 3)] = number
        label[label == 3] = 4
        tifffile.imwrite(tmp_path / "01" / f"t{t:03d}.tif", (50 + 300 * (label > 0)).astype(np.uint16))
        tifffile.imwrite(tmp_path / ("01_GT" if t in (1, 4) else "01_ST") / "SEG" / f"man_seg{t:03d}.tif", label)
        tifffile.imwrite(tmp_path / "01_GT" / "TRA" / f"man_track{t:03d}.tif", markers)
    return tmp_path


def test_nuclei_are_known_by_their_markers(challenge: Path) -> None:
    tracks = nucleus_tracks(challenge, least_frames=2)  # the third nucleus has a number twice, but no marker
    assert {track.number: times(track) for track in tracks} == {4: (0, 1, 2, 3, 4), 6: (0, 1, 2, 3, 4)}
    _, labels = tracks[1].frames(48)
    step = (2 * 10 + 1) / 0.7 / 48
    assert (labels.sum((1, 2, 3)) * step**2).tolist() == pytest.approx([disc((35, 60), 10).sum()] * 5, rel=0.03)


def test_time_points_without_markers_are_passed_over(challenge: Path) -> None:
    (challenge / "01_GT" / "TRA" / "man_track002.tif").unlink()
    assert {track.number: times(track) for track in nucleus_tracks(challenge)} == {4: (0, 1, 3, 4), 6: (0, 1, 3, 4)}


def test_markers_of_one_film_say_nothing_of_another(folder: Path) -> None:
    for name in ("01", "01_label"):
        copytree(folder / name, folder / name.replace("1", "2"))
    (folder / "02_GT" / "TRA").mkdir(parents=True)
    for t in range(5):
        label = tifffile.imread(folder / "02_label" / f"man_seg{min(t, 3):03d}.tif")
        tifffile.imwrite(folder / "02_GT" / "TRA" / f"man_track{t:03d}.tif", label + 10 * (label > 0).astype(np.uint16))
    assert [track.name for track in nucleus_tracks(folder)] == [
        f"0{f} nucleus {n}" for f, n in ((1, 2), (1, 5), (2, 12), (2, 15))
    ]


def test_tracking_masks_serve_where_there_is_no_segmentation(challenge: Path) -> None:
    for path in (*challenge.glob("01_GT/SEG/*"), *challenge.glob("01_ST/SEG/*")):
        path.unlink()
    assert [track.number for track in nucleus_tracks(challenge, settings=CropSettings(min_area_px=20))] == [4, 6]


def test_markers_of_another_size_are_refused(challenge: Path) -> None:
    tifffile.imwrite(challenge / "01_GT" / "TRA" / "man_track003.tif", np.zeros((7, 9), np.uint16))
    with pytest.raises(
        ImageReadError, match=r"man_track003.tif' has the size \(7, 9\) but the segmentation .* has \(70,"
    ):
        nucleus_tracks(challenge)


def test_volumes_are_refused(folder: Path) -> None:
    for name in ("01/t000.tif", "01_label/man_seg000.tif"):
        tifffile.imwrite(folder / name, np.ones((5, *SHAPE), np.uint16), photometric="minisblack")
    with pytest.raises(ValueError, match="t000.tif' is a volume or has several pages; expected a plane"):
        nucleus_tracks(folder)


@pytest.mark.parametrize(
    ("segments", "markers", "expected", "tracked"),
    [
        ([0, 3, 3, 3, 0, 5, 5], [0, 0, 9, 0, 0, 0, 0], [0, 9, 9, 9, 0, 14, 14], {9}),
        ([0, 0, 3, 3, 5, 5, 5], [9, 9, 9, 9, 0, 8, 8], [0, 0, 12, 12, 8, 8, 8], {8}),  # half of 9 is not enough
        ([0, 3, 3, 3, 3, 0, 0], [2, 2, 2, 0, 0, 0, 0], [0, 2, 2, 2, 2, 0, 0], {2}),
        ([3, 3, 3, 3, 3, 3, 3], [1, 2, 2, 2, 0, 7, 7], [2, 2, 2, 2, 2, 2, 2], {2}),  # several markers
        ([1, 1, 2, 2, 0, 3, 3], [2, 2, 1, 1, 0, 0, 0], [2, 2, 1, 1, 0, 5, 5], {1, 2}),  # numbers change places
        ([0, 3, 3, 0, 4, 4, 0], [0, 0, 0, 0, 0, 0, 0], [0, 3, 3, 0, 4, 4, 0], set()),
        ([0, 0, 0, 0, 0, 0, 0], [0, 5, 5, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0], set()),
    ],
)
def test_segments_take_the_number_of_their_marker(
    segments: list[int], markers: list[int], expected: list[int], tracked: set[int]
) -> None:
    numbers, known = number_by_markers(torch.tensor([segments]), torch.tensor([markers]))
    assert numbers.tolist() == [expected] and known == tracked and numbers.dtype == torch.int32
