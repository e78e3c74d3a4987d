"""Labels of one frame in all frames, against SimpleITK and the true motion of a simulated film."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
import torch
from scipy.ndimage import binary_dilation, binary_erosion

from monai_cellreg.data.synthetic_sequence import simulate_sequence
from monai_cellreg.geometry import AffineTransform, DenseTransform, SamplingGrid, SpatialTransform
from monai_cellreg.inferers import FrameMap, SequenceMaps
from monai_cellreg.methods.propagation import PropagatedLabels, read_labels, write_labels
from monai_cellreg.methods.sequence_frames import MovieFrames

SHAPE = (40, 56)
AFFINE = np.array([[2.0, 0.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 1.0]])  # anisotropic
GRID = SamplingGrid(SHAPE, AFFINE, unit="µm")


def labels(dtype: str = "uint16") -> np.ndarray:
    """Four cells with gaps in their numbers, one at the border."""
    found = np.zeros(SHAPE, dtype)
    found[5:18, 6:20], found[20:33, 10:25], found[8:30, 30:41], found[34:, 45:] = 7, 200, 3, 41
    return found


def film(count: int = 4, grid: SamplingGrid = GRID) -> MovieFrames:
    values = torch.rand(count, 1, *grid.shape, generator=torch.Generator().manual_seed(0))
    return MovieFrames([grid.to_image(frame) for frame in values])


def found(maps: list[SpatialTransform], grid: SamplingGrid = GRID, reference: int | None = 0) -> SequenceMaps:
    flags = ["reference" if t == reference else "registered" for t in range(len(maps))]
    kept = [FrameMap(each, flag) for each, flag in zip(maps, flags, strict=True)]
    return SequenceMaps(kept, grid, torch.zeros(1, *grid.shape), reference)


TURN = AffineTransform.rigid(0.13, shift=[3.1, -2.2], centre=[40.0, 14.0])
OTHER = AffineTransform.rigid(-0.21, shift=[-1.3, 0.7], centre=[30.0, 10.0])


def by_itk(values: np.ndarray, pull: AffineTransform) -> np.ndarray:
    """``values(pull(y))``, nearest, by SimpleITK: x before y."""
    image = sitk.GetImageFromArray(values)
    image.SetSpacing([AFFINE[1, 1], AFFINE[0, 0]])
    matrix = pull.matrix[0].numpy()
    transform = sitk.AffineTransform(2)
    transform.SetMatrix(matrix[::-1, 1::-1].ravel().tolist())
    transform.SetTranslation(matrix[::-1, 2].tolist())
    return sitk.GetArrayFromImage(sitk.Resample(image, image, transform, sitk.sitkNearestNeighbor, 0))


@pytest.mark.parametrize("frame", [0, 1, 2])
def test_rigid_maps_as_simpleitk_has_them(frame: int) -> None:
    """The labels of any frame, read at the annotated frame's place of what lies in the other frame."""
    frames, maps = film(3), [AffineTransform(np.eye(3)), TURN, OTHER]
    carried = PropagatedLabels(read_labels(labels(), frames, frame), found(maps), GRID)
    for t in range(3):
        expected = by_itk(labels(), maps[t].inverse().then(maps[frame]))
        np.testing.assert_array_equal(carried[t][0].numpy(), expected)
    np.testing.assert_array_equal(carried[frame][0].numpy(), labels())
    assert set(np.unique(carried[(frame + 1) % 3])) <= {0, 3, 7, 41, 200}


def test_what_was_outside_of_the_annotated_frame_is_background() -> None:
    shift = AffineTransform.translation([20.0, 0.0])  # ten rows down
    carried = PropagatedLabels(
        read_labels(np.full(SHAPE, 5), film(2), 0), found([AffineTransform(np.eye(3)), shift]), GRID
    )
    assert (carried[1][0, :10] == 0).all() and (carried[1][0, 10:] == 5).all()


def test_bending_maps_of_a_simulated_film_carry_the_true_outline() -> None:
    truth = simulate_sequence(4, size=64, seed=2)
    grid = SamplingGrid((64, 64))
    maps: list[SpatialTransform] = [DenseTransform(torch.from_numpy(d)[None], grid) for d in truth.displacement_vox]
    frames = MovieFrames(truth.images[:, 0])
    for annotated in (0, 3):
        carried = PropagatedLabels(read_labels(truth.instances[annotated, 0], frames, annotated), found(maps), grid)
        for t in range(4):
            mine, true = carried[t][0].numpy() > 0, truth.labels[t, 0] > 0
            edge = binary_dilation(true) & ~binary_erosion(true)
            assert not (mine ^ true)[~edge].any() and (mine & true).sum() / (mine | true).sum() > 0.96


def test_map_that_folds_gives_labels_all_the_same() -> None:
    field = 3 * torch.randn(1, 2, *SHAPE, generator=torch.Generator().manual_seed(0))
    maps: list[SpatialTransform] = [AffineTransform(np.eye(3)), DenseTransform(field, GRID)]
    carried = PropagatedLabels(read_labels(labels(), film(2), 0), found(maps), GRID)
    assert set(np.unique(carried[1])) == {0, 3, 7, 41, 200}


def test_volumes() -> None:
    grid = SamplingGrid((6, 9, 8), np.diag([2.0, 0.5, 1.0, 1.0]))
    cells = np.zeros(grid.shape, np.uint8)
    cells[1:4, 2:5, 3:6] = 9
    maps: list[SpatialTransform] = [AffineTransform(np.eye(4)), AffineTransform.translation([2.0, 1.0, -1.0])]
    carried = PropagatedLabels(read_labels(cells, film(2, grid), 0), found(maps, grid), grid)
    np.testing.assert_array_equal(carried[1][0].numpy(), np.roll(cells, (1, 2, -1), (0, 1, 2)))


@pytest.mark.parametrize(
    ("dtype", "stored"), [("uint8", "uint8"), ("uint16", "uint16"), ("int64", "int32"), ("bool", "uint8")]
)
def test_files(tmp_path: Path, dtype: str, stored: str) -> None:
    frames, maps = film(3), [AffineTransform(np.eye(3)), TURN, OTHER]
    given = read_labels(labels(dtype), frames, 0)
    result = found(maps)
    object.__setattr__(result.maps[1], "flag", "failed")
    told = write_labels(tmp_path, PropagatedLabels(given, result, GRID), seconds_per_frame=12.0)
    with tifffile.TiffFile(tmp_path / "labels.ome.tif") as file:
        written = file.series[0].asarray()
        assert file.series[0].axes == "TYX" and written.dtype == stored
        assert 'PhysicalSizeX="0.5"' in file.ome_metadata and 'TimeIncrement="12.0"' in file.ome_metadata
    for t in range(3):
        np.testing.assert_array_equal(written[t], by_itk(labels(dtype).astype(np.uint8), maps[t].inverse()))
        np.testing.assert_array_equal(tifffile.imread(tmp_path / "labels_ctc" / f"mask00{t}.tif"), written[t])
    objects = [1] if dtype == "bool" else [3, 7, 41, 200]
    assert told["objects"] == len(objects) and told["untrusted_frames"] == [1] and told["frame"] == 0
    assert told["ctc_tracks"] == len((tmp_path / "labels_ctc" / "res_track.txt").read_text().splitlines())
    assert told["incomplete"] == [k for k in objects if not all((frame == k).any() for frame in written)]


def test_cell_that_leaves_ends_there(tmp_path: Path) -> None:
    shifts = [AffineTransform.translation([x, 0.0]) for x in (0.0, 60.0, 10.0)]
    told = write_labels(tmp_path, PropagatedLabels(read_labels(labels(), film(3), 0), found(list(shifts)), GRID))
    table = (tmp_path / "labels_ctc" / "res_track.txt").read_text().splitlines()
    assert told["incomplete"] == [41, 200] or told["incomplete"] == [3, 41, 200]
    assert "7 0 2 0" in table and "41 0 0 0" in table and any(line.endswith(" 2 2 200") for line in table)


def test_labels_of_a_frame_without_a_map_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    result = found([AffineTransform(np.eye(3)), TURN])
    object.__setattr__(result.maps[1], "flag", "unlike")
    with caplog.at_level(logging.WARNING):
        PropagatedLabels(read_labels(labels(), film(2), 1), result, GRID)
    assert "labels belong to frame 1, which could not be registered (unlike)" in caplog.text


def test_files_of_one_page_and_of_a_page_a_frame(tmp_path: Path) -> None:
    stack = np.stack([labels() * (t == 2) for t in range(4)])
    tifffile.imwrite(tmp_path / "one.tif", labels())
    tifffile.imwrite(tmp_path / "all.ome.tif", stack, metadata={"axes": "TYX"}, photometric="minisblack")
    for name in ("one.tif", "all.ome.tif"):
        given = read_labels(tmp_path / name, film(), 2)
        np.testing.assert_array_equal(given.image[0].numpy(), labels())
        assert given.ids == [3, 7, 41, 200] and SamplingGrid.from_image(given.image).matches(GRID)
        assert given.image.meta["source_dtype"] == "uint16"
    tifffile.imwrite(tmp_path / "three.ome.tif", stack[:3], metadata={"axes": "TYX"}, photometric="minisblack")
    with pytest.raises(ValueError, match="has 3 pages but the movie has 4 frames; expected labels of one frame"):
        read_labels(tmp_path / "three.ome.tif", film(), 2)


@pytest.mark.parametrize(
    ("given", "frame", "message"),
    [
        (np.ones((40, 55)), 0, "labels has shape 40x55 but the movie's frames has shape 40x56"),
        (np.ones(SHAPE), 4, "labels_frame is 4 but the movie has 4 frames; expected 0 to 3"),
        (np.full(SHAPE, 0.5), 0, "labels range from 0.5 to 0.5; expected whole numbers"),
        (np.full(SHAPE, -1), 0, "labels range from -1 to -1; expected whole numbers from 0"),
        (np.full(SHAPE, 2**31), 0, "expected whole numbers from 0 .* to 2147483647"),
        (np.zeros(SHAPE, int), 0, "labels are 0 everywhere"),
    ],
)
def test_labels_that_cannot_be_used(given: Any, frame: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_labels(given, film(), frame)


def test_labels_elsewhere_in_space_are_refused() -> None:
    grid = SamplingGrid(SHAPE, AFFINE, "RAS")
    moved = SamplingGrid(SHAPE, np.array([[2.0, 0, 9], [0, 0.5, 0], [0, 0, 1]]), "RAS")
    with pytest.raises(ValueError, match="labels lie elsewhere in space than the frames"):
        read_labels(moved.to_image(torch.ones(1, *SHAPE, dtype=torch.int32)), film(2, grid), 0)
