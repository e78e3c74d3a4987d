"""Weights that a training on the datastore has left are methods like any other."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import monai_cellreg as mc
from monai_cellreg.apps.label_app.trained import BUNDLES, load_trained, trained_names, weights_file
from monai_cellreg.data import simulated_cardiac
from monai_cellreg.engines import load_checkpoint, save_checkpoint
from monai_cellreg.methods import bundle_dir, bundle_method


def publish(app_dir: Path, bundle: str, weights: str, overlays: list[str], size: list[int]) -> None:
    network = load_checkpoint(bundle_dir(bundle) / "models" / weights)
    settings = {"overlays": overlays, "overrides": {"image_size": size}}
    save_checkpoint(weights_file(app_dir, bundle), {"network": network, "settings": settings})


def test_only_what_was_trained_has_a_name(tmp_path: Path) -> None:
    assert trained_names(tmp_path) == []
    for bundle in reversed(BUNDLES):
        weights_file(tmp_path, bundle).parent.mkdir(parents=True)
        weights_file(tmp_path, bundle).touch()
        (tmp_path / "model" / "other").mkdir(exist_ok=True)
    assert trained_names(tmp_path) == ["joint-trained", "segreg-trained", "dirnet-trained"]


def test_method_has_the_weights_and_settings_of_the_file(tmp_path: Path) -> None:
    publish(tmp_path, "dirnet", "model.pt", [], [64, 48])
    cine = simulated_cardiac(1, slices=1, phases=4, size=(72, 56), seed=1)[0]
    fixed, moving = (cine.images[t].numpy() for t in (0, 2))
    found, expected = (
        mc.register(fixed, moving, method=method).transform.displacement(cine.grid)
        for method in (load_trained(tmp_path, "dirnet-trained"), bundle_method("dirnet", {"image_size": [64, 48]}))
    )
    assert float(expected.abs().max()) > 0.5
    torch.testing.assert_close(found, expected)


def test_method_is_loaded_again_only_when_the_file_was_replaced(tmp_path: Path) -> None:
    publish(tmp_path, "dirnet", "model.pt", [], [64, 48])
    before = load_trained(tmp_path, "dirnet-trained")
    assert load_trained(str(tmp_path), "dirnet-trained") is before
    publish(tmp_path, "dirnet", "hippocampus.pt", ["train_brain.json"], [16, 24, 16])
    after = load_trained(tmp_path, "dirnet-trained")
    volume = np.random.default_rng(0).random((18, 25, 20))
    assert mc.register(volume, volume + 0.01, method=after).transform.spatial_dims == 3


def test_work_folders_do_not_share_methods(tmp_path: Path) -> None:
    publish(tmp_path / "a", "segreg", "model.pt", [], 160)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    one, other = (load_trained(tmp_path / name, "segreg-trained") for name in "ab")
    assert one is not other


def test_what_cannot_be_loaded_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="method is 'joint-trained', expected one of"):
        load_trained(tmp_path, "joint-trained")
    path = weights_file(tmp_path, "joint")
    save_checkpoint(path, load_checkpoint(bundle_dir("joint") / "models" / "model.pt"))
    with pytest.raises(ValueError, match="do not tell how they were trained; .* train again"):
        load_trained(tmp_path, "joint-trained")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="cannot be read"):
        load_trained(tmp_path, "joint-trained")
