"""Labels that are carried to another image and back tell how far the two registrations agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

pytest.importorskip("monailabel", reason="MONAI Label is not installed: make test-label")

from monai_cellreg.apps.label_app.round_trip import (
    alikeness,
    read_labelled,
    read_small,
    round_trip_dice,
    small_grid,
    thumbnail,
)
from monai_cellreg.data import write_image
from monai_cellreg.geometry import SamplingGrid


def blob(rows: int, columns: int, *, seed: int = 0) -> torch.Tensor:
    noise = np.random.default_rng(seed).normal(size=(rows, columns))
    return torch.from_numpy(gaussian_filter(noise, 4).astype(np.float32))[None]


def test_dice_is_that_of_the_label_moved_twice(shift) -> None:
    image, reference = blob(40, 60), blob(40, 60, seed=1)
    label = torch.zeros(1, 40, 60, dtype=torch.int32)
    label[0, 10:20, 20:40], label[0, 25:27, 30:50] = 1, 5
    method = shift(3, 1)  # both ways, so that labels come back moved by (-6, -2)
    expected = np.mean([4 / 10 * 18 / 20, 0.0])
    assert round_trip_dice(image, reference, label, method) == pytest.approx(expected)
    assert [pair.fixed is image or bool((pair.fixed == image).all()) for pair in method.pairs] == [True, False]


def test_label_that_leaves_the_image_does_not_come_back(shift) -> None:
    class Back:
        """Finds (8, 0) one way, and the way back exactly."""

        rows = 8

        def register(self, pair):
            self.rows = -self.rows
            return shift(-self.rows, 0).register(pair)

    label = torch.zeros(1, 40, 60, dtype=torch.int32)
    label[0, 4:12, 20:30] = 2
    image = blob(40, 60)
    assert round_trip_dice(image, image, label, Back()) == pytest.approx(2 * 4 / (4 + 8))
    label = label.roll(12, dims=1)
    assert round_trip_dice(image, image, label, Back()) == 1


def test_real_registration_scores_what_is_alike_higher(made_studies: Path) -> None:
    frames = [read_small(made_studies / f"frame_{t}.png") for t in (0, 3)]
    label = read_labelled(made_studies / "frame_0.png", made_studies / "labels" / "final" / "frame_0.png")[1]
    other = blob(80, 96, seed=3)
    near, far = (round_trip_dice(image, frames[0], label, "auto") for image in (frames[1], other))
    assert near > 0.9 > far


def test_large_images_are_made_small_over_the_same_extent(tmp_path: Path) -> None:
    affine = np.diag([0.5, 2.0, 3.0, 1.0])
    affine[:3, 3] = (7, -8, 9)
    grid = SamplingGrid((200, 100, 12), affine, "RAS")
    row, column, plane = np.indices(grid.shape)
    write_image(tmp_path / "a.nii.gz", grid.to_image(torch.from_numpy(row + 10.0 * column + plane)[None].float()))
    small = read_small(tmp_path / "a.nii.gz")
    assert small.shape == (1, 64, 32, 12)
    corners = [SamplingGrid.from_image(small).index_to_world(torch.tensor(c)) for c in ([-0.5] * 3, [63.5, 31.5, 11.5])]
    expected = [grid.index_to_world(torch.tensor(corner)) for corner in ([-0.5] * 3, [199.5, 99.5, 11.5])]
    for found, wanted in zip(corners, expected, strict=True):
        torch.testing.assert_close(found, wanted, check_dtype=False)
    assert float(small[0, 32, 16, 3]) == pytest.approx(32.5 * 3.125 - 0.5 + 10 * (16.5 * 3.125 - 0.5) + 3, abs=0.05)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((128, 90), (128, 90)),
        ((1000, 10), (128, 10)),
        ((100, 900), (16, 128)),
        ((65, 8, 64), (64, 8, 63)),
        ((250, 200, 12), (64, 51, 12)),
    ],
)
def test_short_axes_stay(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert small_grid(SamplingGrid(shape)).shape == expected


def test_label_is_shrunk_with_its_image_while_anything_of_it_is_left(tmp_path: Path) -> None:
    image = np.add.outer(np.arange(300), np.arange(400)).astype(np.uint16)
    label = np.zeros((300, 400), np.uint8)
    label[60:120, 200:300] = 7
    for name, array in (("image", image), ("label", label)):
        write_image(tmp_path / f"{name}.tif", torch.from_numpy(array.astype(np.int32))[None])
    small, shown = read_labelled(tmp_path / "image.tif", tmp_path / "label.tif")
    assert small.shape == shown.shape == (1, 96, 128)
    rows, columns = np.nonzero(shown[0].numpy())
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (19, 37, 64, 95)
    label[:] = 0
    label[61, 201] = 7  # between the voxels of the small grid
    write_image(tmp_path / "label.tif", torch.from_numpy(label.astype(np.int32))[None])
    whole, stored = read_labelled(tmp_path / "image.tif", tmp_path / "label.tif")
    assert whole.shape == (1, 300, 400) and stored.sum() == 7
    write_image(tmp_path / "label.tif", torch.zeros(1, 300, 400, dtype=torch.int32))
    with pytest.raises(ValueError, match="is 0 everywhere; expected the numbers of objects"):
        read_labelled(tmp_path / "image.tif", tmp_path / "label.tif")


def test_thumbnails_compare_images_of_any_size() -> None:
    image = blob(64, 48)
    larger = torch.nn.functional.interpolate(image[None], scale_factor=2, mode="bilinear")[0]
    likeness = alikeness(thumbnail(image), [thumbnail(x) for x in (larger, -image, blob(64, 48, seed=1))])
    assert likeness[0] > 0.99 and likeness[1] == pytest.approx(-1) and abs(likeness[2]) < 0.6
    assert alikeness(thumbnail(image), [thumbnail(torch.rand(1, 30, 30, 9))]) == [-1.0]
