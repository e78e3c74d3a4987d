"""Made digits look, move and are stored like MNIST's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import center_of_mass, label

from monai_cellreg.data import read_idx, read_mnist, simulated_digits, write_digits

Digits = tuple[NDArray[np.uint8], NDArray[np.uint8]]
HOLES = {0: 1, 1: 0, 2: 0, 3: 0, 5: 0, 6: 1, 7: 0, 8: 2, 9: 1}  # a 4 may be open


@pytest.fixture(scope="module")
def digits() -> Digits:
    return simulated_digits(30, seed=3)


def test_every_part_of_the_list_has_all_classes(digits: Digits) -> None:
    images, classes = digits
    assert images.shape == (300, 28, 28) and images.dtype == classes.dtype == np.uint8
    assert classes.tolist() == list(range(10)) * 30


def holes(image: NDArray[np.uint8]) -> tuple[NDArray[np.int32], int]:
    """Pieces of the background beside the first one, which surrounds the figure."""
    pieces, number = label(np.pad(image < 100, 1, constant_values=True))
    return pieces, number - 1


def test_they_are_the_figures_of_their_classes(digits: Digits) -> None:
    found = np.array([holes(image)[1] for image in digits[0]])
    for digit, number in HOLES.items():
        assert np.mean(found[digits[1] == digit] == number) > 0.7, (digit, found[digits[1] == digit])


def test_they_stand_upright_and_are_no_mirror_images(digits: Digits) -> None:
    images, classes = digits
    for digit, sign in ((6, 1), (9, -1)):  # where the hole is
        pieces = [holes(image)[0] == 2 for image in images[classes == digit]]
        rows = [center_of_mass(piece)[0] - 14.5 for piece in pieces if piece.any()]
        assert np.mean(np.sign(rows)) * sign > 0.4
    seven = images[classes == 7].mean(0)
    assert center_of_mass(seven[:8])[1] > 13 > center_of_mass(seven[20:])[1]


def test_middle_of_mass_is_the_middle_of_the_image(digits: Digits) -> None:
    middles = np.array([center_of_mass(image.astype(float)) for image in digits[0]])
    off = np.abs(middles - 13.5)
    assert off.mean() < 0.05 and off.max() < 0.6  # whole pixels of MNIST leave up to 0.5


def test_they_lie_whole_in_the_image_between_black_and_white(digits: Digits) -> None:
    images = digits[0]
    border = np.concatenate([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]])
    assert np.mean(border > 0) < 0.01
    assert images.reshape(300, -1).max(1).min() > 200 and np.median(images) == 0
    heights = [np.ptp(np.flatnonzero((image > 127).any(1))) + 1 for image in images]
    assert 17 < np.mean(heights) < 23 and np.std(heights) > 1


def test_they_differ_as_much_as_handwriting(digits: Digits) -> None:
    """Pairs of one class of MNIST correlate by 0.45 on average."""
    images = digits[0].reshape(30, 10, -1).astype(float)
    found = [np.corrcoef(images[:, digit])[np.triu_indices(30, 1)].mean() for digit in range(10)]
    assert 0.4 < np.mean(found) < 0.6 and min(found) > 0.3
    ink = (images > 127).sum(2)
    assert ink.std() > 0.25 * ink.mean()


def test_seed_alone_decides(digits: Digits) -> None:
    assert np.array_equal(simulated_digits(30, seed=3)[0], digits[0])
    assert not np.array_equal(simulated_digits(30, seed=4)[0], digits[0])
    assert len(np.unique(digits[0].reshape(300, -1), axis=0)) == 300


def test_what_is_written_is_what_the_reader_reads(digits: Digits, tmp_path: Path) -> None:
    folder = tmp_path / "made" / "digits"
    write_digits(folder, *digits)
    assert sorted(path.name for path in folder.iterdir()) == ["images-idx3-ubyte", "labels-idx1-ubyte"]
    assert np.array_equal(read_idx(folder / "images-idx3-ubyte"), digits[0])
    parts = [read_mnist(folder, section) for section in ("train", "validation", "test")]
    assert [len(part[0]) for part in parts] == [200, 40, 60]
    assert np.array_equal(np.concatenate([part[1] for part in parts]), digits[1])


def test_what_cannot_be_written_is_refused(digits: Digits, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="per_class is 0"):
        simulated_digits(0)
    with pytest.raises(ValueError, match=r"classes .* first axis of images"):
        write_digits(tmp_path, digits[0], digits[1][1:])
    with pytest.raises(ValueError, match="images is float64; expected uint8"):
        write_digits(tmp_path, digits[0] / 255, digits[1])
    assert list(tmp_path.iterdir()) == []
