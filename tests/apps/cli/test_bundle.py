"""``monai-cellreg bundle``: trainings and evaluations run, and what cannot run is told in one line."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from monai_cellreg.apps.cli import main
from monai_cellreg.methods import bundle_dir

Capture = pytest.CaptureFixture[str]
Refused = Callable[[Sequence[Any]], str]
Flags = Callable[..., list[str]]
TRAIN, EVALUATE = ["bundle", "train", "joint"], ["bundle", "evaluate", "joint"]


def test_train_resume_and_evaluate(
    tiny: dict[str, Any], nuclei_folder: Callable[..., Path], tmp_path: Path, capsys: Capture, flags: Flags
) -> None:
    """On fields of six sizes, one of them in colour: sizes may be mixed, and colour is converted."""
    fields = nuclei_folder()
    grey = tifffile.imread(fields / "images" / "field0.tif")
    (fields / "images" / "field0.tif").unlink()
    Image.fromarray(np.stack([grey, grey // 2, grey], -1)).save(fields / "images" / "field0.png")
    run = tmp_path / "run"
    data = flags(tiny, dataset_dir=fields, simulated=0, batch_size=2)
    assert main([*TRAIN, *data, "--output_dir", str(run), "--learning_rate", "0.01"]) == 0
    assert sorted(path.name for path in run.iterdir()) == ["average.pt", "last.pt", "model.pt", "tensorboard"]
    before = (run / "last.pt").read_bytes()
    assert main([*TRAIN, *data, "--output_dir", str(run), "--learning_rate", "0.01", "--resume", "True"]) == 0
    assert (run / "last.pt").read_bytes() == before  # it had ended
    capsys.readouterr()
    checkpoint = ["--checkpoint", str(run / "model.pt")]
    assert main([*EVALUATE, *data, *checkpoint, "--output_dir", str(run / "evaluation")]) == 0
    assert sorted(path.name for path in (run / "evaluation").iterdir()) == ["metrics.json", "pairs.csv", "pairs.png"]
    assert "registration_iou" in capsys.readouterr().out


def test_folder_that_cannot_be_written_is_refused(
    film_files: Path, tiny: dict[str, Any], refused: Refused, flags: Flags
) -> None:
    day0 = film_files / "day0.tif"
    for command in (TRAIN, EVALUATE):
        text = refused([*command, *flags(tiny, output_dir=day0 / "out")])
        assert text.startswith(f"folder {day0 / 'out'} cannot be made because {day0} is not a folder")


def test_empty_and_missing_folders_are_refused(
    tiny: dict[str, Any], tmp_path: Path, refused: Refused, flags: Flags
) -> None:
    run = [*TRAIN, *flags(tiny, output_dir=tmp_path / "run")]
    (tmp_path / "empty").mkdir()
    assert f"root '{tmp_path / 'empty'}' holds no images" in refused([*run, "--dataset_dir", tmp_path / "empty"])
    text = refused([*run, "--dataset_dir", tmp_path / "none"])
    assert f"root '{tmp_path / 'none'}' is not an existing folder" in text
    assert "dataset_dir is None and simulated is 0" in refused([*run, "--simulated", "0"])


def truncated(folder: Path) -> str:
    for path in (folder / "images").iterdir():
        path.write_bytes(path.read_bytes()[:300])
    return "cannot be read"


def constant(folder: Path) -> str:
    for path in (folder / "images").iterdir():
        tifffile.imwrite(path, np.zeros_like(tifffile.imread(path)))
    return "is constant (every pixel is 0)"


def unfitting(folder: Path) -> str:
    for path in (folder / "labels").iterdir():
        tifffile.imwrite(path, tifffile.imread(path)[:-3])
    return "expected equal sizes"


def one_only(folder: Path) -> str:
    for path in sorted((folder / "images").iterdir())[1:]:
        path.unlink()
    return "items has 1 groups (field0); expected at least 3"


@pytest.mark.parametrize("spoil", [truncated, constant, unfitting, one_only])
def test_unusable_folders_are_refused(
    tiny: dict[str, Any],
    nuclei_folder: Callable[..., Path],
    tmp_path: Path,
    refused: Refused,
    flags: Flags,
    spoil: Callable[[Path], str],
) -> None:
    folder = nuclei_folder(4)
    expected = spoil(folder)
    overrides = flags(tiny, dataset_dir=folder, simulated=0, output_dir=tmp_path / "run")
    assert expected in refused([*TRAIN, *overrides])


def test_unusable_checkpoints_are_refused(tiny: dict[str, Any], tmp_path: Path, refused: Refused, flags: Flags) -> None:
    run = [*EVALUATE, *flags(tiny, output_dir=tmp_path / "run"), "--checkpoint"]
    assert "none.pt' does not exist; expected a file of weights" in refused([*run, tmp_path / "none.pt"])
    (tmp_path / "text.pt").write_text("no weights")
    assert "text.pt' cannot be read" in refused([*run, tmp_path / "text.pt"])
    torch.save({"weight": torch.zeros(2)}, tmp_path / "foreign.pt")
    assert "foreign.pt' is not of this network" in refused([*run, tmp_path / "foreign.pt"])
    shipped = bundle_dir("joint") / "models" / "model.pt"
    assert "with the same settings (image_size" in refused([*run, shipped])


def test_resume_needs_a_run_of_the_same_settings(
    tiny: dict[str, Any], tiny_run: Path, tmp_path: Path, refused: Refused, flags: Flags
) -> None:
    resume = [*TRAIN, "--resume", "True"]
    assert "has no last.pt" in refused([*resume, *flags(tiny, output_dir=tmp_path / "run")])
    shutil.copytree(tiny_run, tmp_path / "copy")
    text = refused([*resume, *flags(tiny, output_dir=tmp_path / "copy", max_epochs=3)])
    assert "is of a training with 1 epochs, this one has 3" in text


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("max_epoch", 5, "override --max_epoch names no key of the configuration: did you mean max_epochs"),
        ("image_size", 50, "spatial_size is (50, 50); expected sizes divisible by 32, such as (64, 64)"),
        ("patience", 0, "patience is 0, expected finite numbers above 0"),
        (
            "transformer",
            "tsp",
            "transformer is 'tsp'; expected one of affine, gaussian, tps, flownet, or several joined",
        ),
        ("registers", "mask", "registers is 'mask', expected one of 'masks', 'heat_maps', 'heat_maps_and_images'"),
    ],
)
def test_unusable_settings_are_refused(
    key: str, value: int | str, message: str, tiny: dict[str, Any], tmp_path: Path, refused: Refused, flags: Flags
) -> None:
    assert refused([*TRAIN, *flags(tiny, output_dir=tmp_path / "run", **{key: value})]).startswith(message)


@pytest.mark.parametrize("typed", ["--max_epochs", "--resume --amp", "--amp True 5", "max_epochs 20", "--amp --amp 1"])
def test_overrides_come_in_pairs(typed: str, refused: Refused) -> None:
    expected = f"overrides are '{typed}'; expected --KEY VALUE pairs, such as --max_epochs 20"
    assert refused([*TRAIN, *typed.split()]) == expected


def test_values_are_literals_or_text(monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[Any] = []
    monkeypatch.setattr("monai_cellreg.methods.run_bundle", lambda *call: got.extend(call))
    typed = ["--control_shape", "[3,4]", "--crops", "None", "--learning_rate", "-1e-3", "--dataset_dir", "my images"]
    assert main([*EVALUATE, *typed, "--objective::terms::cycle::weight", "0.5", "--amp", "True"]) == 0
    overrides = {
        "control_shape": [3, 4],
        "crops": None,
        "learning_rate": -0.001,
        "dataset_dir": "my images",
        "objective::terms::cycle::weight": 0.5,
        "amp": True,
    }
    assert got == ["joint", ["evaluate.json"], overrides]


@pytest.mark.parametrize(("step", "last"), [("train", []), ("evaluate", ["evaluate.json"])])
def test_overlays_come_before_that_of_the_step(step: str, last: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[Any] = []
    monkeypatch.setattr("monai_cellreg.methods.run_bundle", lambda *call: got.extend(call))
    typed = ["--overlays", "train_mnist.json", "paper.json", "--dataset_dir", "digits"]
    assert main(["bundle", step, "dirnet", *typed]) == 0
    assert got == ["dirnet", ["train_mnist.json", "paper.json", *last], {"dataset_dir": "digits"}]


def test_unknown_overlay_is_refused(refused: Refused) -> None:
    text = refused(["bundle", "train", "dirnet", "--overlays", "train_mnits.json"])
    assert text.startswith(
        "overlay of dirnet is 'train_mnits.json', expected one of 'evaluate.json', 'inference.json', "
    )
    assert text.endswith("'train_mnist.json'; did you mean 'train_mnist.json'?")


def test_overlay_without_a_file_is_refused(usage_error: Refused) -> None:
    assert "--overlays: expected at least one argument" in usage_error(["bundle", "train", "dirnet", "--overlays"])


def test_help_shows_an_overlay(capsys: Capture) -> None:
    for step in ("train", "evaluate"):
        with pytest.raises(SystemExit, match="^0$"):
            main(["bundle", step, "--help"])
        assert f"bundle {step} dirnet --overlays train_mnist.json" in capsys.readouterr().out


def test_unknown_bundles_and_steps_are_refused(refused: Refused, usage_error: Refused) -> None:
    text = refused(["bundle", "train", "jiont"])
    assert text == "bundle is 'jiont', expected one of 'dirnet', 'joint', 'segreg'; did you mean 'joint'?"
    assert "invalid choice: 'trian'" in usage_error(["bundle", "trian", "joint"])
    assert "invalid choice: 'train'" in usage_error(["train", "joint"])
