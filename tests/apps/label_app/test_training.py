"""Bundles learn from the datastore; whatever happens, the weights that were there are there or better ones are."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from PIL import Image

pytest.importorskip("monailabel", reason="MONAI Label is not installed: make test-label")

from fastapi import HTTPException
from filelock import FileLock

import monai_cellreg as mc
from monai_cellreg.apps.label_app import training
from monai_cellreg.apps.label_app.trained import load_trained, trained_names, weights_file
from monai_cellreg.apps.label_app.training import TrainBundle
from monai_cellreg.engines import load_checkpoint
from monai_cellreg.methods import bundle_dir

if TYPE_CHECKING:
    from monai_cellreg.apps.label_app.app import RegistrationApp

TINY: dict[str, dict[str, Any]] = {
    "joint": {"start_from": "scratch", "image_size": 32, "max_epochs": 1, "batch_size": 2},
    "segreg": {"start_from": "scratch", "image_size": 32, "max_epochs": 1, "batch_size": 2},
    "dirnet": {"image_size": "32x48", "max_epochs": 2, "pairs_per_epoch": 8},
}


@pytest.fixture
def film(app: RegistrationApp, studies: Path) -> RegistrationApp:
    """The app with a label of every frame."""
    label = studies / "labels" / "final" / "frame_0.png"
    for t in range(1, 4):
        Image.open(label).save(label.with_name(f"frame_{t}.png"))
    app.datastore().refresh()
    return app


def train(app: RegistrationApp, bundle: str, **options: Any) -> dict[str, Any]:
    return TrainBundle(app.app_dir, bundle)({"model": bundle, **TINY[bundle], **options}, app.datastore())


def weights(app: RegistrationApp, bundle: str) -> dict[str, torch.Tensor]:
    return load_checkpoint(weights_file(app.app_dir, bundle))["network"]


def largest_difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Of the weights, without the running means of normalisations."""
    names = [name for name in other if name.endswith((".weight", ".bias"))]
    return max(float((one[name] - other[name]).abs().max()) for name in names)


@pytest.mark.parametrize("bundle", list(TINY))
def test_training_gives_a_method_and_its_figures(film, studies: Path, bundle: str) -> None:
    stats = train(film, bundle)
    assert trained_names(film.app_dir) == [f"{bundle}-trained"] == [stats["method"]]
    folder = weights_file(film.app_dir, bundle).parent
    assert {path.name for path in folder.iterdir()} == {"model.pt", "training.json", ".lock"}
    epochs, key = TINY[bundle]["max_epochs"], stats["key_metric"]
    assert (stats["epoch"], stats["total_epochs"], len(stats["validation"])) == (epochs, epochs, epochs)
    assert stats["best_metric"] == max(metrics[key] for metrics in stats["validation"].values()) > 0
    assert stats["images"] == (6 if bundle == "dirnet" else 4)
    assert stats["total_time"].startswith("0:0")
    assert film.info()["train_stats"][bundle] == json.loads((folder / "training.json").read_text())
    assert "trained here" in film.info()["trainers"][bundle]["config"]["start_from"]
    method = load_trained(film.app_dir, f"{bundle}-trained")
    found = mc.register(studies / "frame_0.png", studies / "frame_3.png", method=method)
    assert found.metrics["ncc_after"] > 0.5


def test_fine_tuning_starts_from_the_weights_that_were_asked_for(app) -> None:
    shipped = load_checkpoint(bundle_dir("dirnet") / "models" / "model.pt")
    tiny_steps = {"max_epochs": 1, "learning_rate": 1e-7}
    train(app, "dirnet", **tiny_steps)
    near = weights(app, "dirnet")
    assert 0 < largest_difference(near, shipped) < 1e-4
    train(app, "dirnet", max_epochs=1, learning_rate=0.01)
    far = weights(app, "dirnet")
    assert largest_difference(far, shipped) > 1e-3
    train(app, "dirnet", start_from="trained here", **tiny_steps)
    assert largest_difference(weights(app, "dirnet"), far) < 1e-4
    train(app, "dirnet", start_from="scratch", **tiny_steps)
    assert largest_difference(weights(app, "dirnet"), far) > 0.05


def test_volumes_train_the_network_of_volumes(app, studies: Path) -> None:
    for name in ("heart_3", "heart_4"):
        (studies / f"{name}.nii.gz").write_bytes((studies / "heart_es.nii.gz").read_bytes())
    app.datastore().refresh()
    stats = train(app, "dirnet", image_size="32x32x16", max_epochs=1, pairs_per_epoch=4)
    assert (stats["images"], stats["options"]["image_size"]) == (4, [32, 32, 16])
    assert stats["left_out"]["frame_0"] == "2D, and the training is of 3D images"
    method = load_trained(app.app_dir, "dirnet-trained")
    assert (
        mc.register(studies / "heart_ed.nii.gz", studies / "heart_es.nii.gz", method=method).transform.spatial_dims == 3
    )
    with pytest.raises(HTTPException, match="that training had image_size .*32, 32, 16.*this one has .*32, 48"):
        train(app, "dirnet", start_from="trained here")


def test_weights_of_another_size_are_no_start(film) -> None:
    train(film, "segreg")
    with pytest.raises(HTTPException, match="had image_size 32, this one has 64; expected the same"):
        train(film, "segreg", start_from="trained here", image_size=64)


def test_failed_training_leaves_the_weights(app, monkeypatch: pytest.MonkeyPatch) -> None:
    train(app, "dirnet", max_epochs=1)
    path = weights_file(app.app_dir, "dirnet")
    before, out, handlers = path.read_bytes(), sys.stdout, list(logging.getLogger().handlers)

    def run_bundle(name: str, overlays: list[str], overrides: dict[str, Any]) -> None:
        torch.backends.cudnn.deterministic = True  # as the bundle's first step does, and its last takes back
        logging.getLogger().handlers.append(logging.NullHandler())

    with monkeypatch.context() as patch:
        patch.setattr(training, "run_bundle", run_bundle)
        with pytest.raises(HTTPException, match="was never a number.*Lower learning_rate") as caught:
            train(app, "dirnet")
    assert caught.value.status_code == 422
    assert path.read_bytes() == before
    assert sys.stdout is out and logging.getLogger().handlers == handlers
    assert not torch.backends.cudnn.deterministic
    train(app, "dirnet", max_epochs=1, seed=1)
    assert path.read_bytes() != before


def test_stopped_training_goes_on_and_ends_as_if_it_had_not_been_stopped(app, monkeypatch) -> None:
    options = {"max_epochs": 3, "start_from": "scratch"}
    train(app, "dirnet", **options)
    whole, stats = weights(app, "dirnet"), TrainBundle(app.app_dir, "dirnet").stats()
    path = weights_file(app.app_dir, "dirnet")
    kept = path.read_bytes()
    write = training.TrainingRecord.write

    def stopped(record: Any, text: str) -> int:
        if text.startswith("epoch 2/3"):
            raise KeyboardInterrupt
        return write(record, text)

    with monkeypatch.context() as patch:
        patch.setattr(training.TrainingRecord, "write", stopped)
        with pytest.raises(KeyboardInterrupt):
            train(app, "dirnet", **options)
    assert path.read_bytes() == kept
    half = TrainBundle(app.app_dir, "dirnet").stats()
    assert (half["epoch"], half["total_epochs"]) == (1, 3) and "total_time" not in half
    lines: list[str] = []
    monkeypatch.setattr(training.TrainingRecord, "write", lambda self, text: lines.append(text) or write(self, text))
    train(app, "dirnet", **options)
    assert [line[:9] for line in lines if line.startswith("epoch")] == ["epoch 2/3", "epoch 3/3"]
    assert largest_difference(weights(app, "dirnet"), whole) == 0
    assert TrainBundle(app.app_dir, "dirnet").stats()["validation"] == stats["validation"]


def test_what_was_stopped_is_forgotten_when_images_or_options_change(app, studies: Path, monkeypatch) -> None:
    run_dir = weights_file(app.app_dir, "dirnet").parent / "run"
    resumed: list[bool] = []

    def run_bundle(name: str, overlays: list[str], overrides: dict[str, Any]) -> None:
        resumed.append(overrides["resume"])
        (run_dir / "last.pt").touch()
        raise RuntimeError("stopped")

    monkeypatch.setattr(training, "run_bundle", run_bundle)
    for options in ({}, {}, {"seed": 1}, {"seed": 1}):
        with pytest.raises(HTTPException, match="stopped"):
            train(app, "dirnet", **options)
    os.utime(studies / "frame_1.png", ns=(1, 1))
    with pytest.raises(HTTPException, match="stopped"):
        train(app, "dirnet", seed=1)
    assert resumed == [False, True, False, True, False]


@pytest.mark.parametrize(
    ("bundle", "options", "reason"),
    [
        (
            "joint",
            {},
            "has 1 images that can train; expected 2 or more. Left out: cells_0 .no label.*Label more images",
        ),
        ("segreg", {}, "has 1 images that can train; expected 2 or more"),
        ("dirnet", {"image_size": "16x16x16"}, "has 2 images that can train; expected 4 or more.*2D, and.*Add images"),
        ("joint", {"max_epochs": "many"}, "max_epochs is 'many'; expected a whole number"),
        ("joint", {"epochs": 3}, "option of the training of joint is 'epochs', expected one of"),
    ],
)
def test_what_cannot_be_trained_is_refused(app, bundle: str, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(HTTPException, match=reason) as caught:
        train(app, bundle, **options)
    assert caught.value.status_code == 422
    assert trained_names(app.app_dir) == []
    assert not list(Path(app.app_dir).rglob("*.pt"))


def test_labels_without_a_whole_nucleus_are_told(film, studies: Path) -> None:
    with pytest.raises(HTTPException, match="has no nucleus of 1000000 pixels or more"):
        train(film, "joint", min_area_px=1_000_000)


def test_reasons_name_images_as_clients_know_them(film, studies: Path) -> None:
    labels = [studies / "labels" / "final" / f"frame_{t}.png" for t in range(4)]
    for label in labels:
        Image.new("L", (96, 70)).save(label)
    with pytest.raises(HTTPException, match=r"label 'datastore/labels/frame_\d.*has the size") as caught:
        train(film, "joint")
    assert str(studies) not in caught.value.detail and film.app_dir not in caught.value.detail
    for label in labels:
        label.rename(label.with_suffix(".nii.gz"))
    film.datastore().refresh()
    with pytest.raises(HTTPException, match="'label of frame_0'") as caught:
        train(film, "joint")
    assert str(studies) not in caught.value.detail


def test_images_of_single_nuclei_train_without_labels(app) -> None:
    stats = train(app, "joint", unlabelled="pseudo-labels")
    assert (stats["images"], stats["labels"]) == (6, 1)


def test_few_images_make_small_batches(film) -> None:
    assert train(film, "segreg", batch_size=64)["options"]["batch_size"] < 10


def test_second_training_of_a_bundle_waits_its_turn(app) -> None:
    lock = weights_file(app.app_dir, "dirnet").parent / ".lock"
    lock.parent.mkdir(parents=True)
    with FileLock(lock), pytest.raises(HTTPException, match="'dirnet' is being trained; wait") as caught:
        train(app, "dirnet")
    assert caught.value.status_code == 409


def test_killed_background_training_leaves_whole_files(app, studies: Path, tmp_path: Path) -> None:
    train(app, "dirnet", max_epochs=1)
    path = weights_file(app.app_dir, "dirnet")
    before, record = path.read_bytes(), path.with_name("training.json")
    main = "from monai_cellreg.apps.label_app.app import RegistrationApp\n"
    Path(app.app_dir, "main.py").write_text(main, encoding="utf-8")
    asked = json.dumps({"model": "dirnet", **TINY["dirnet"], "max_epochs": 5000})
    command = [sys.executable, "-m", "monailabel.interfaces.utils.app", "-m", "train", "-r", asked]
    places = ["-a", str(app.app_dir), "-s", str(studies)]
    process = subprocess.Popen([*command, *places], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        until = time.monotonic() + 120
        while not 3 <= TrainBundle(app.app_dir, "dirnet").stats()["epoch"] < 5000:
            assert process.poll() is None and time.monotonic() < until, process.stdout.read()[-3000:]
            time.sleep(0.1)
    finally:
        process.kill()
    output = process.communicate()[0]
    assert "epoch 2/5000: " in output and "Traceback" not in output
    assert path.read_bytes() == before
    assert json.loads(record.read_text())["total_epochs"] == 5000
    path.with_name(".tmp-killed-training.json").touch()
    train(app, "dirnet", max_epochs=1, seed=3)  # neither lock nor folder is in the way
    assert {each.name for each in path.parent.iterdir()} == {"model.pt", "training.json", ".lock"}
