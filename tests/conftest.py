"""What several folders of tests share: a film of one nucleus, and a training of the joint bundle in small."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from monai_cellreg.data.synthetic_sequence import NucleusSequence, simulate_sequence
from monai_cellreg.methods import run_bundle

Settings = dict[str, Any]


@pytest.fixture(autouse=True)
def keep_logging() -> Iterator[None]:
    """Takes back what a bundle's ``logging.conf`` sets for the whole process."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.fixture(params=[2, 3], ids=["2d", "3d"])
def spatial_dims(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(scope="session")
def turned() -> Callable[[int, float], np.ndarray]:
    """Gives a function from dimension and angle in radians to a rotation matrix that mixes all axes."""

    def made(dims: int, angle_rad: float) -> np.ndarray:
        turn = np.eye(dims)
        for first in range(dims - 1):
            step = np.eye(dims)
            cos, sin = np.cos(angle_rad), np.sin(angle_rad)
            step[first : first + 2, first : first + 2] = [[cos, -sin], [sin, cos]]
            turn = turn @ step
        return turn

    return made


@pytest.fixture(scope="session")
def film() -> NucleusSequence:
    """Two frames of a simulated nucleus, 64 x 64."""
    return simulate_sequence(2, size=64, seed=0)


@pytest.fixture
def film_files(film: NucleusSequence, tmp_path: Path) -> Path:
    """A folder with the frames ``day0.tif``, ``day1.tif`` (uint16) and their labels ``label0.tif``, ``label1.tif``."""
    for t in range(2):
        tifffile.imwrite(tmp_path / f"day{t}.tif", (film.images[t, 0] * 40000 + 500).astype(np.uint16))
        tifffile.imwrite(tmp_path / f"label{t}.tif", film.labels[t, 0].astype(np.uint8))
    return tmp_path


@pytest.fixture(scope="session")
def tiny() -> Settings:
    """Overrides with which the joint bundle trains in a second."""
    return {"image_size": 32, "simulated": 8, "batch_size": 4, "max_epochs": 1, "validation_items": 4}


@pytest.fixture(scope="session")
def tiny_run(tiny: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished tiny training."""
    folder = tmp_path_factory.mktemp("tiny") / "run"
    run_bundle("joint", [], {**tiny, "output_dir": str(folder)})
    return folder


@pytest.fixture(scope="session")
def nuclei_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Gives a function that makes a folder of labelled fields, each of one ellipse and of a size of its own."""

    def made(count: int = 6, name: str = "fields") -> Path:
        root = tmp_path_factory.mktemp(name)
        for k in range(count):
            rng = np.random.default_rng(k)
            row, column = np.indices((60 + 7 * k, 90 - 5 * k), dtype=float)
            label = ((row - 30) / (12 + k % 3)) ** 2 + ((column - 32) / (17 - k % 4)) ** 2 < 1
            image = 20 + 120 * label + rng.normal(0, 4, label.shape)
            for part, values in (("images", image), ("labels", label)):
                (root / part).mkdir(exist_ok=True)
                tifffile.imwrite(root / part / f"field{k}.tif", values.astype(np.uint8))
        return root

    return made
