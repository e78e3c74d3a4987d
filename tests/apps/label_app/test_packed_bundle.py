"""Packed bundles in MONAI Label's own bundle app: the moving frame of a file comes back as the fixed one lies."""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("monailabel", reason="MONAI Label is not installed: make test-label")

import nibabel as nib
import SimpleITK as sitk
import tifffile

import monai_cellreg as mc
from monai_cellreg.data.synthetic_heart import simulated_cardiac
from monai_cellreg.data.synthetic_sequence import simulate_sequence
from monai_cellreg.methods import bundle_method, pack_bundle

NAMES = ("joint", "segreg", "dirnet")
TURN = np.array([[0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, 1]])
AFFINE = np.block([[TURN @ np.diag([1.5, 1.2, 5]), np.array([[4], [-7], [11]])], [np.zeros(3), 1]])


@pytest.fixture(scope="module")
def app_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the app, with every bundle packed where it looks for models."""
    folder = tmp_path_factory.mktemp("app")
    for name in NAMES:
        pack_bundle(name, folder / "model")
    return folder


@pytest.fixture
def app(app_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """MONAI Label's bundle app with the packs and an empty folder of studies."""
    utils, package = types.ModuleType("torchvision.utils"), types.ModuleType("torchvision")
    for name in ("make_grid", "save_image"):  # imported on the way, and never called here
        setattr(utils, name, None)
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.utils", utils)
    monkeypatch.setattr(sys, "path", list(sys.path))
    main = Path(sys.prefix) / "monailabel" / "sample-apps" / "monaibundle" / "main.py"
    spec = importlib.util.spec_from_file_location("monaibundle_main", main)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "studies").mkdir()
    conf = {"models": ",".join(NAMES), "zoo_source": "ngc", "auto_update_scoring": "false"}
    yield module.MyApp(str(app_dir), str(tmp_path / "studies"), conf)


def frames_of(name: str) -> np.ndarray:
    """A pair of images of what a bundle is for, (2, H, W) and not square."""
    if name == "dirnet":
        heart = simulated_cardiac(1, slices=1, size=(96, 112), seed=3)[0]
        return heart.images[[heart.ed, heart.es]].numpy()
    film = simulate_sequence(2, size=112, seed=3)
    return (film.labels * 2 if name == "segreg" else film.images)[:, 0, 6:102]


def expected_of(name: str, frames: np.ndarray) -> np.ndarray:
    """What our own door gives of the arrays; of labels, the nearest ones at the points of the map."""
    method = bundle_method("dirnet") if name == "dirnet" else name
    labels = {"fixed_label": frames[0], "moving_label": frames[1]} if name == "segreg" else {}
    result = mc.register(*frames, method=method, **labels)
    if name != "segreg":
        return np.asarray(result.warped)
    index = np.stack(np.indices(frames[0].shape), -1).reshape(-1, 2).astype(float)
    there = np.clip(np.rint(result.transform.points(index)).astype(int), 0, np.array(frames[0].shape) - 1)
    return frames[1][tuple(there.T)].reshape(frames[0].shape)


def answer(app: Any, name: str, image: Path, **request: Any) -> tuple[Path, dict[str, Any]]:
    """File and facts that a model answers of an image of the datastore."""
    app.datastore().add_image("pair", str(image), {})
    found = app.infer({"model": name, "image": "pair", "device": "cpu", **request})
    return Path(found["file"]), found["params"]


def test_app_offers_the_packs_with_their_weights(app: Any, app_dir: Path) -> None:
    assert set(app.info()["models"]) >= set(NAMES)
    for name in NAMES:
        info, task = app.info()["models"][name], app._infers[name]
        assert (info["dimension"], info["version"]) == (2, "0.1.0")
        assert task.is_valid() and task.path == [str(app_dir / "model" / name / "models" / "model.pt")]
        assert info["config"]["model_filename"] == ["model.pt"]  # the first one would be loaded, whatever it is


@pytest.mark.parametrize("name", NAMES)
def test_moving_frame_of_a_nifti_file_comes_back_on_the_fixed_one(name: str, app: Any, tmp_path: Path) -> None:
    frames = frames_of(name)
    nib.save(nib.Nifti1Image(np.stack(list(frames), -1), AFFINE), tmp_path / "pair.nii.gz")
    file, told = answer(app, name, tmp_path / "pair.nii.gz")
    found = nib.load(file)
    assert found.shape == (*frames.shape[1:], 1) and told["label_names"]
    np.testing.assert_allclose(found.affine, AFFINE, atol=1e-4)
    off = np.abs(found.get_fdata()[..., 0] - expected_of(name, frames)) > 1e-5 * np.ptp(frames)
    assert off.mean() <= (1e-3 if name == "segreg" else 0)  # between two labels either may be the nearest
    assert np.abs(found.get_fdata()[..., 0] - frames[1]).max() > 0.1 * np.ptp(frames)
    file.unlink()


def test_pages_of_a_tiff_come_back_in_the_format_that_is_asked_for(app: Any, tmp_path: Path) -> None:
    """As a client sends it that knows labels alone: NRRD of bytes."""
    frames = (frames_of("joint") * 200).astype(np.uint8)
    tifffile.imwrite(tmp_path / "pair.tif", frames, photometric="minisblack")
    file, _ = answer(app, "joint", tmp_path / "pair.tif", result_extension=".nrrd", result_dtype="uint8")
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(file)))
    transposed = np.ascontiguousarray(frames.transpose(0, 2, 1))  # MONAI's readers give x, y
    expected = mc.register(*transposed.astype(np.float32), method="joint").warped
    assert file.suffix == ".nrrd" and found.shape == (1, *frames.shape[1:])
    np.testing.assert_allclose(found[0].T, expected, atol=1.01)
    file.unlink()


def test_file_of_one_frame_is_refused(app: Any, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "one.tif", (frames_of("joint")[0] * 200).astype(np.uint8))
    with pytest.raises(ValueError, match="image has shape 112x96; expected two frames of 2 axes along the last axis"):
        answer(app, "joint", tmp_path / "one.tif")
