"""What several folders of tests share: a film of one nucleus, and a training of the joint bundle in small."""

from __future__ import annotations

import locale
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
import torch

from monai_cellreg.data.synthetic_sequence import NucleusSequence, simulate_sequence
from monai_cellreg.geometry import SamplingGrid
from monai_cellreg.methods import run_bundle

Settings = dict[str, Any]


@pytest.fixture(autouse=True)
def keep_logging() -> Iterator[None]:
    """Takes back what a bundle's ``logging.conf`` sets for the whole process."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.fixture(autouse=True)
def keep_locale() -> Iterator[None]:
    """Takes back what GDCM, as the oracle of DICOM files, sets for the whole process."""
    before = locale.setlocale(locale.LC_ALL)
    yield
    locale.setlocale(locale.LC_ALL, before)


@pytest.fixture(params=[2, 3], ids=["2d", "3d"])
def spatial_dims(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> str:
    """Every kind of device that is there."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
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


class Physical:
    """World points and tensor axes of a frame, seen from ITK: an oracle that knows nothing of how we do it."""

    def __init__(self, frame: str) -> None:
        self.frame = frame

    def points(self, points: np.ndarray) -> np.ndarray:
        """World points as ITK's physical points, and back."""
        return points[..., ::-1] if self.frame == "index" else points * [-1, -1, 1][: points.shape[-1]]

    def array(self, array: np.ndarray) -> np.ndarray:
        """A SimpleITK array (z, y, x) in the order of the tensor axes."""
        return array if self.frame == "index" else array.T

    def moved(self, transform: sitk.Transform, points: np.ndarray) -> np.ndarray:
        """World points moved by an ITK transform."""
        return self.points(np.array([transform.TransformPoint(p.tolist()) for p in self.points(points)]))

    def grid(self, image: sitk.Image) -> SamplingGrid:
        """Where ITK says that the voxels of an image are, asked voxel by voxel."""
        dims = image.GetDimension()
        corners = np.vstack([np.zeros(dims), np.eye(dims)]).astype(int)
        world = self.points(np.array([image.TransformIndexToPhysicalPoint(corner.tolist()) for corner in corners]))
        steps = (world[1:] - world[0]).T
        affine = np.eye(dims + 1)
        affine[:-1, :-1] = steps[:, ::-1] if self.frame == "index" else steps
        affine[:-1, -1] = world[0]
        size = image.GetSize()
        return SamplingGrid(size[::-1] if self.frame == "index" else size, affine, self.frame)


@pytest.fixture(params=["index", "RAS"])
def physical(request: pytest.FixtureRequest) -> Physical:
    return Physical(request.param)


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
