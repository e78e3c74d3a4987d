"""Films of the benchmark: their lengths, their pairs and their choice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from monai_cellreg.benchmarks.contenders import without_labels
from monai_cellreg.benchmarks.nuclei_sequences import Film, Sequences, simulated_films, tracked_nuclei
from monai_cellreg.data.synthetic_sequence import simulate_sequence


def test_every_later_frame_is_paired_with_the_first() -> None:
    images = torch.arange(3.0).reshape(3, 1, 1, 1) + torch.rand(3, 1, 5, 7) / 2
    pairs = Film(images, images.round()).pairs()
    assert len(pairs) == 2
    for t, pair in enumerate(pairs, start=1):
        np.testing.assert_array_equal(pair.fixed, images[0])
        np.testing.assert_array_equal(pair.moving, images[t])
        assert pair.fixed_grid.shape == (5, 7) and np.array_equal(pair.fixed_grid.affine, np.eye(3))
        assert pair.fixed_label is not None and pair.moving_label is not None
        bare = without_labels(pair)
        assert bare.fixed_label is None and bare.moving_label is None and bare.moving is pair.moving


def test_simulated_films_have_the_paper_s_lengths_and_seeds_of_their_own() -> None:
    found = simulated_films(8, size=32, most_frames=9)
    assert list(found.films) == [f"film{k:02d}" for k in range(8)]
    film = found.films["film01"]()
    expected = simulate_sequence(8, size=32, seed=5001)
    np.testing.assert_array_equal(film.images, expected.images)
    np.testing.assert_array_equal(film.labels, expected.labels)
    lengths = [len(found.films[f"film{k:02d}"]().images) for k in (0, 2, 5, 7)]
    assert lengths == [7, 9, 9, 7]
    assert simulated_films(8, size=64).fingerprint != found.fingerprint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four time points of three squares that move a pixel a time point."""
    for t in range(4):
        label = np.zeros((80, 90), np.uint16)
        for number, row in ((1, 4), (2, 29), (3, 54)):
            label[row + t : row + t + 16, 20:40] = number
        for name, values in ((f"01/t{t:03d}.tif", 100 * (label > 0) + 7), (f"01_label/man_seg{t:03d}.tif", label)):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            tifffile.imwrite(tmp_path / name, values.astype(np.uint16))
    return tmp_path


def test_nuclei_of_a_folder_are_films(folder: Path) -> None:
    found = tracked_nuclei(folder, size=48, most_frames=3)
    assert list(found.films) == ["01 nucleus 1", "01 nucleus 2", "01 nucleus 3"]
    film = found.films["01 nucleus 2"]()
    assert film.images.shape == film.labels.shape == (3, 1, 48, 48)
    assert tracked_nuclei(folder, size=48, most_frames=2).films["01 nucleus 1"]().images.shape[0] == 2
    assert list(tracked_nuclei(folder, size=48, limit=2).films) == ["01 nucleus 1", "01 nucleus 3"]


def test_other_files_have_another_fingerprint(folder: Path) -> None:
    before = tracked_nuclei(folder, size=48).fingerprint
    assert tracked_nuclei(folder, size=48).fingerprint == before != tracked_nuclei(folder, size=32).fingerprint
    path = folder / "01" / "t001.tif"
    tifffile.imwrite(path, tifffile.imread(path), compression="zlib")
    assert tracked_nuclei(folder, size=48).fingerprint != before


def test_unusable_numbers_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="films is 0, expected at least 1"):
        simulated_films(0, size=32)
    with pytest.raises(ValueError, match="frames is 1, expected at least 2"):
        simulated_films(1, size=32, most_frames=1)
    with pytest.raises(ValueError, match="frames is 1, expected at least 2"):
        tracked_nuclei(folder, size=32, most_frames=1)
    with pytest.raises(ValueError, match="limit is 0, expected a number of sequences"):
        Sequences("none", {}, "").limited(0)
