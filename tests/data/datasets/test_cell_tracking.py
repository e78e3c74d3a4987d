"""The layout of the Cell Tracking Challenge, on folders made here."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from monai_cellreg.data.datasets.cell_tracking import is_cell_tracking, list_items, write_cell_tracking
from monai_cellreg.data.listing import list_items as list_folder
from monai_cellreg.data.listing import load_item
from monai_cellreg.data.synthetic_events import HARD_FILMS


def tiffs(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        tifffile.imwrite(folder / name, np.arange(12, dtype=np.uint8).reshape(3, 4))


def labels_of(root: Path) -> list[tuple[str, str | None, str]]:
    return [
        (
            Path(item["image"]).relative_to(root).as_posix(),
            item["label"] and Path(item["label"]).relative_to(root).as_posix(),
            item["group"],
        )
        for item in list_items(root)
    ]


def test_sequences_are_groups_and_frames_keep_their_order(tmp_path):
    tiffs(tmp_path / "02", "t010.tif", "t009.tif")
    tiffs(tmp_path / "01", "t000.tif", "preview.tif", "t001.tif.part")
    tiffs(tmp_path / "01_label", "man_seg000.tif", "man_seg000.tif.part")
    assert is_cell_tracking(tmp_path)
    assert labels_of(tmp_path) == [
        ("01/t000.tif", "01_label/man_seg000.tif", "01"),
        ("02/t009.tif", None, "02"),
        ("02/t010.tif", None, "02"),
    ]


def test_sparse_gold_labels_come_before_silver_ones(tmp_path):
    tiffs(tmp_path / "01", "t000.tif", "t001.tif", "t002.tif")
    tiffs(tmp_path / "01_GT" / "SEG", "man_seg001.tif", "man_seg_002_007.tif")
    tiffs(tmp_path / "01_ST" / "SEG", "man_seg000.tif", "man_seg001.tif")
    tiffs(tmp_path / "01_GT" / "TRA", "man_track002.tif")
    assert [label for _, label, _ in labels_of(tmp_path)] == [
        "01_ST/SEG/man_seg000.tif",
        "01_GT/SEG/man_seg001.tif",
        None,  # markers of the tracking are no masks: not mixed with segmentations
    ]


def test_tracking_labels_serve_where_there_is_no_segmentation(tmp_path):
    tiffs(tmp_path / "01", "t0000.tif", "t0001.tif")
    tiffs(tmp_path / "01_GT" / "TRA", "man_track0001.tif")
    assert [label for _, label, _ in labels_of(tmp_path)] == [None, "01_GT/TRA/man_track0001.tif"]


def test_other_folders_are_not_taken_for_it(tmp_path):
    tiffs(tmp_path / "images", "t000.tif")
    tiffs(tmp_path / "01", "cells.tif")
    assert not is_cell_tracking(tmp_path)
    assert list_items(tmp_path) == []


def film(shape: tuple[int, ...] = (6, 5, 8), dtype: str = "uint16") -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


def objects(*frames: tuple[int, ...], shape: tuple[int, ...] = (5, 8)) -> np.ndarray:
    """Instances (T, *shape) of which each is a row of three pixels."""
    instances = np.zeros((len(frames), *shape), np.int32)
    for frame, numbers in zip(instances, frames, strict=True):
        for row, number in enumerate(numbers):
            frame[..., row, 2:5] = number
    return instances


def tracks_of(root: Path, sequence: str = "01") -> list[list[int]]:
    lines = (root / f"{sequence}_GT" / "TRA" / "man_track.txt").read_text().splitlines()
    return [[int(word) for word in line.split()] for line in lines]


@pytest.mark.parametrize("shape", [(4, 5, 8), (4, 3, 5, 8)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_written_film_is_read_back(tmp_path: Path, shape: tuple[int, ...], dtype: str) -> None:
    images, instances = film(shape, dtype), objects((1,), (1, 7), (), (7,), shape=shape[1:])
    write_cell_tracking(tmp_path, images, instances, sequence="03")
    items = list_folder(tmp_path)
    assert labels_of(tmp_path) == [(f"03/t00{t}.tif", f"03_GT/SEG/man_seg00{t}.tif", "03") for t in range(4)]
    for item, image, numbers in zip(items, images, instances, strict=True):
        read, label = load_item(item)
        np.testing.assert_array_equal(read[0], image)
        np.testing.assert_array_equal(label[0], numbers)
        assert tifffile.imread(item["image"]).dtype == dtype
        assert tifffile.imread(item["label"]).dtype == np.uint16


def test_floating_images_fill_16_bits(tmp_path: Path) -> None:
    images = np.linspace(0, 1, 80, dtype=np.float32).reshape(2, 5, 8)
    write_cell_tracking(tmp_path, images, objects((1,), (1,)))
    written = tifffile.imread(tmp_path / "01" / "t001.tif")
    assert written.dtype == np.uint16 and written[-1, -1] == 65535
    np.testing.assert_allclose(written / 65535, images[1], rtol=0, atol=1e-5)


def test_daughters_name_their_parent(tmp_path: Path) -> None:
    write_cell_tracking(tmp_path, film(), objects((1,), (1,), (2, 3), (2, 3), (2,), (2, 4)), parents={2: 1, 3: 1})
    assert tracks_of(tmp_path) == [[1, 0, 1, 0], [2, 2, 5, 1], [3, 2, 3, 1], [4, 5, 5, 0]]


def test_track_with_a_gap_goes_on_under_a_new_number(tmp_path: Path) -> None:
    instances = objects((5, 2), (2,), (5, 2), (5,), (), (5, 3))
    write_cell_tracking(tmp_path, film(), instances, parents={3: 5})
    assert tracks_of(tmp_path) == [[2, 0, 2, 0], [3, 5, 5, 6], [5, 0, 0, 0], [6, 2, 3, 5], [7, 5, 5, 6]]
    markers = [tifffile.imread(tmp_path / "01_GT" / "TRA" / f"man_track00{t}.tif") for t in range(6)]
    assert [np.unique(each[each > 0]).tolist() for each in markers] == [[2, 5], [2], [2, 6], [6], [], [3, 7]]
    for number, first, last, _ in tracks_of(tmp_path):
        assert [t for t, each in enumerate(markers) if (each == number).any()] == list(range(first, last + 1))
    masks = tifffile.imread(tmp_path / "01_GT" / "SEG" / "man_seg003.tif")
    np.testing.assert_array_equal(masks, instances[3])


def test_simulated_division_is_written_with_its_truth(tmp_path: Path) -> None:
    division = HARD_FILMS["division"](4, 32, 0)
    write_cell_tracking(tmp_path, division.images[:, 0], division.instances[:, 0], parents={2: 1, 3: 1})
    assert tracks_of(tmp_path) == [[1, 0, 2, 0], [2, 3, 3, 1], [3, 3, 3, 1]]


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    images, instances = film((2, 5, 8)), objects((1,), (1, 2))
    with pytest.raises(ValueError, match="instances has shape 1x5x8 but images has shape 2x5x8"):
        write_cell_tracking(tmp_path, images, instances[:1])
    with pytest.raises(ValueError, match=r"images are int32 from \d+ to \d+; expected uint8, uint16"):
        write_cell_tracking(tmp_path, images.astype(np.int32), instances)
    with pytest.raises(ValueError, match=r"images are float64 from 0.0 to 199.0"):
        write_cell_tracking(tmp_path, images * (199.0 / images.max()) * (images > 5), instances)
    with pytest.raises(ValueError, match="instances are int32 from -1 to 2; expected whole numbers"):
        write_cell_tracking(tmp_path, images, np.where(instances == 1, -1, instances))
    with pytest.raises(ValueError, match="instances are float64"):
        write_cell_tracking(tmp_path, images, instances.astype(float))
    with pytest.raises(ValueError, match=r"parents\[2\] is 9, which is not seen before 2 appears in frame 1"):
        write_cell_tracking(tmp_path, images, instances, parents={2: 9})
    with pytest.raises(ValueError, match="sequence is 'a'; expected at least two digits"):
        write_cell_tracking(tmp_path, images, instances, sequence="a")
    assert list(tmp_path.iterdir()) == []
    write_cell_tracking(tmp_path, images, instances)
    with pytest.raises(FileExistsError, match="choose another name than '01'"):
        write_cell_tracking(tmp_path, images, instances)
