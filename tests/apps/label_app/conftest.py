"""A made datastore folder, and the app on it in this process."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter, zoom

from monai_cellreg.data import simulate_sequence, simulated_cardiac
from monai_cellreg.geometry import AffineTransform, DenseTransform, Pair, SpatialTransform

if TYPE_CHECKING:
    from monai_cellreg.apps.label_app.app import RegistrationApp

Turned = Callable[[int, float], np.ndarray]

SPACING_MM = (2.8, 2.8, 9.0)


class Shift:
    """A method that finds whatever is asked for: whole voxels along each tensor axis, fixed to moving."""

    def __init__(self, *voxels: int) -> None:
        self.voxels, self.pairs = voxels, []  # type: tuple[int, ...], list[Pair]

    def register(self, pair: Pair) -> SpatialTransform:
        self.pairs.append(pair)
        return AffineTransform.translation((pair.fixed_grid.affine[:-1, :-1] @ self.voxels).tolist())


class Swirl:
    """A method that finds a smooth displacement of up to three voxels."""

    def register(self, pair: Pair) -> SpatialTransform:
        grid = pair.fixed_grid
        waves = torch.sin(grid.index() / torch.tensor([5.0, 7.0, 3.0][: grid.spatial_dims])).flip(-1)
        linear = torch.from_numpy(grid.affine[:-1, :-1].copy())
        return DenseTransform((3 * waves @ linear.T).movedim(-1, 0)[None].float(), grid)


def write_hearts(folder: Path, turned: Turned) -> None:
    """``heart_ed`` and ``heart_es``: a small simulated heart, oblique and anisotropic, and the label of the first."""
    cine = simulated_cardiac(1, slices=4, phases=10, size=(104, 96), seed=4)
    affine = np.eye(4)
    affine[:3, :3] = turned(3, 0.3) * SPACING_MM
    affine[:3, 3] = (-40.0, 25.0, 60.0)
    for name, phase in (("heart_ed", cine[0].ed), ("heart_es", cine[0].es)):
        planes = [gaussian_filter(each.images[phase].numpy(), 0.8)[::2, ::2] for each in cine]
        volume = np.rint(np.stack(planes, axis=-1)).astype(np.int16)
        nib.save(nib.Nifti1Image(volume, affine), folder / f"{name}.nii.gz")
    label = np.stack([each.labels[each.ed].numpy()[::2, ::2] for each in cine], axis=-1)
    nib.save(nib.Nifti1Image(label.astype(np.uint8), affine), folder / "labels" / "final" / "heart_ed.nii.gz")


def write_films(folder: Path) -> None:
    """``frame_0`` to ``frame_3`` of a nucleus, the label of the first, and two larger frames with a pixel size."""
    film = simulate_sequence(4, size=96, seed=5)
    for t in range(4):
        frame = np.rint(film.images[t, 0, 8:88] * 200 + 20).clip(0, 255).astype(np.uint8)  # 80 rows, 96 columns
        Image.fromarray(frame).save(folder / f"frame_{t}.png")
    Image.fromarray(film.labels[0, 0, 8:88].astype(np.uint8)).save(folder / "labels" / "final" / "frame_0.png")
    pixels = {"axes": "YX", "PhysicalSizeX": 0.4, "PhysicalSizeY": 0.5}
    units = {"PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
    for t, frame in enumerate((film.images[0, 0, 8:88], film.images[3, 0, 8:88])):
        cells = np.rint(zoom(frame, 0.75, order=1) * 4000 + 100).clip(0, 65535).astype(np.uint16)
        tifffile.imwrite(folder / f"cells_{t}.ome.tif", cells, ome=True, metadata={**pixels, **units})


@pytest.fixture(scope="session")
def made_studies(tmp_path_factory: pytest.TempPathFactory, turned: Turned) -> Path:
    """The folder that every test gets a copy of."""
    folder = tmp_path_factory.mktemp("made") / "studies"
    (folder / "labels" / "final").mkdir(parents=True)
    write_films(folder)
    write_hearts(folder, turned)
    return folder


@pytest.fixture
def studies(made_studies: Path, tmp_path: Path) -> Path:
    """A datastore folder: ``frame_0`` to ``frame_3`` (PNG), ``heart_ed`` and ``heart_es`` (NIfTI), ``cells_0`` and
    ``cells_1`` (OME-TIFF); ``frame_0`` and ``heart_ed`` are labelled."""
    return Path(shutil.copytree(made_studies, tmp_path / "studies"))


@pytest.fixture
def app(studies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RegistrationApp:
    """The app on the folder, with the work folder ``work`` beside it, and ``temporary`` for what it answers."""
    from monailabel.config import settings

    from monai_cellreg.apps.label_app.app import RegistrationApp

    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(settings, "MONAI_LABEL_DATASTORE_AUTO_RELOAD", False)
    monkeypatch.setattr(settings, "MONAI_LABEL_SESSION_PATH", str(tmp_path / "work" / "sessions"))
    return RegistrationApp(str(tmp_path / "work"), str(studies), {})


Found = Callable[[Any], Any]


@pytest.fixture
def found_by(monkeypatch: pytest.MonkeyPatch) -> Found:
    """Gives a function that makes the server register by a method of the test, whatever name a request gives."""
    from monai_cellreg.apps.label_app.registrations import Registrations

    def used(method: Any) -> Any:
        monkeypatch.setattr(Registrations, "method", lambda self, name: method)
        return method

    return used


@pytest.fixture
def shift() -> type[Shift]:
    return Shift


@pytest.fixture
def swirl() -> type[Swirl]:
    return Swirl
