"""The command line: every command works, and every bad input ends in one clear line and the exit status 2."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

import monai_cellreg
from monai_cellreg.apps.cli import main

ROOT = Path(__file__).resolve().parents[2]
Capture = pytest.CaptureFixture[str]


def flags(settings: dict[str, Any], **more: Any) -> list[str]:
    """Overrides as they are typed."""
    return [part for key, value in {**settings, **more}.items() for part in (f"--{key}", str(value))]


def refusal(arguments: Sequence[str | Path], capsys: Capture) -> str:
    """The message of a command that must fail with exit status 2 and nothing on stderr but one line."""
    status = main([str(argument) for argument in arguments])
    (line,) = capsys.readouterr().err.splitlines()
    assert status == 2
    assert line.startswith("monai-cellreg: error: ")
    return line.removeprefix("monai-cellreg: error: ")


def usage_error(arguments: Sequence[str], capsys: Capture) -> str:
    """The last line on stderr of a command that is not understood."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


# --- commands that work ---------------------------------------------------------------------------------------------


def test_register_writes_and_prints(film_files: Path, capsys: Capture) -> None:
    arguments = ["register", "day0.tif", "day1.tif", "--fixed-label", "label0.tif", "--moving-label", "label1.tif"]
    paths = [str(film_files / part) if ".tif" in part else part for part in arguments]
    assert main([*paths, "--method", "joint", "--out", str(film_files / "out")]) == 0
    shown = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert 0 < float(shown["iou_before"]) < float(shown["iou_after"]) <= 1
    assert shown["written"] == f"to {film_files / 'out'}"
    written = {path.name for path in (film_files / "out").iterdir()}
    assert written == {"warped.tif", "warped_label.tif", "transform.h5", "metrics.json", "overlay.png"}


def test_results_go_to_registration_by_default(film_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(film_files)
    assert main(["register", "day0.tif", "day1.tif"]) == 0
    assert (film_files / "registration" / "warped.tif").is_file()


def test_train_resume_and_evaluate(
    tiny: dict[str, Any], nuclei_folder: Callable[..., Path], tmp_path: Path, capsys: Capture
) -> None:
    """On fields of six sizes, one of them in colour: sizes may be mixed, and colour is converted."""
    fields = nuclei_folder()
    grey = tifffile.imread(fields / "images" / "field0.tif")
    (fields / "images" / "field0.tif").unlink()
    Image.fromarray(np.stack([grey, grey // 2, grey], -1)).save(fields / "images" / "field0.png")
    run = tmp_path / "run"
    data = flags(tiny, dataset_dir=fields, simulated=0, batch_size=2)
    assert main(["train", "joint", *data, "--output_dir", str(run), "--learning_rate", "0.01"]) == 0
    assert sorted(path.name for path in run.iterdir()) == ["last.pt", "model.pt", "tensorboard"]
    before = (run / "last.pt").read_bytes()
    assert main(["train", "joint", *data, "--output_dir", str(run), "--learning_rate", "0.01", "--resume", "True"]) == 0
    assert (run / "last.pt").read_bytes() == before  # it had ended
    capsys.readouterr()
    checkpoint = ["--checkpoint", str(run / "model.pt")]
    assert main(["evaluate", "joint", *data, *checkpoint, "--output_dir", str(run / "evaluation")]) == 0
    assert sorted(path.name for path in (run / "evaluation").iterdir()) == ["metrics.json", "pairs.csv", "pairs.png"]
    assert "registration_iou" in capsys.readouterr().out


def test_methods_are_listed(capsys: Capture) -> None:
    assert main(["methods"]) == 0
    assert capsys.readouterr().out.split() == monai_cellreg.methods.method_names()


def test_version(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"monai-cellreg {monai_cellreg.__version__}\n"


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ([], ["examples:", "monai-cellreg register day0.tif day1.tif --out result", "evaluate joint --dataset_dir"]),
        (["register"], ["examples:", "--moving-label FILE", "default: joint", "default: registration"]),
        (["train"], ["--KEY VALUE", "run training --config_file bundles/joint/train.json", "is refused"]),
        (["evaluate"], ["run evaluating --config_file", "train.json and evaluate.json"]),
    ],
)
def test_help_shows_how(command: list[str], shown: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert [part for part in shown if part not in text] == []
    assert max(len(line) for line in text.splitlines()) <= 130


def test_python_m_is_the_same_command() -> None:
    command = [sys.executable, "-m", "monai_cellreg", "--help"]
    answer = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    assert answer.stdout.startswith("usage: monai-cellreg") and "examples:" in answer.stdout


# --- images that cannot be registered -------------------------------------------------------------------------------


def test_missing_and_foreign_images_are_refused(film_files: Path, capsys: Capture) -> None:
    out = ["--out", str(film_files / "out")]
    day0 = film_files / "day0.tif"
    text = refusal(["register", day0, film_files / "none.tif", *out], capsys)
    assert text == f"path '{film_files / 'none.tif'}' does not exist; expected an image file"
    (film_files / "notes.txt").write_text("no image")
    assert "has the extension '.txt'; expected one of .png" in refusal(
        ["register", film_files / "notes.txt", day0, *out], capsys
    )
    (film_files / "text.png").write_text("no image")
    assert "text.png' cannot be read" in refusal(["register", day0, film_files / "text.png", *out], capsys)


@pytest.mark.parametrize("name", ["cut.tif", "cut.png"])
def test_truncated_image_is_refused(film_files: Path, capsys: Capture, name: str) -> None:
    whole = film_files / f"whole{name[3:]}"
    Image.fromarray(tifffile.imread(film_files / "day1.tif")).save(whole)
    (film_files / name).write_bytes(whole.read_bytes()[:2000])
    text = refusal(["register", film_files / "day0.tif", film_files / name, "--out", film_files / "out"], capsys)
    assert f"{name}' cannot be read" in text and "complete, undamaged" in text


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((64, 64), 7, np.uint8), "is constant (every pixel is 7)"),
        (np.where(np.eye(64) > 0, np.nan, 1).astype(np.float32), "has 64 of 4096 pixels that are NaN or infinite"),
    ],
    ids=["constant", "NaN"],
)
def test_image_without_content_is_refused(film_files: Path, capsys: Capture, values: np.ndarray, message: str) -> None:
    tifffile.imwrite(film_files / "bad.tif", values)
    text = refusal(["register", film_files / "day0.tif", film_files / "bad.tif", "--out", film_files / "out"], capsys)
    assert f"bad.tif' {message}" in text


def test_several_pages_are_refused(film_files: Path, capsys: Capture) -> None:
    tifffile.imwrite(film_files / "pages.tif", np.random.default_rng(0).random((3, 64, 64)), photometric="minisblack")
    text = refusal(["register", film_files / "day0.tif", film_files / "pages.tif", "--out", film_files / "out"], capsys)
    assert "pages.tif' has 3 pages; choose one" in text


def test_labels_that_do_not_fit_are_refused(film_files: Path, capsys: Capture) -> None:
    tifffile.imwrite(film_files / "small.tif", np.ones((20, 30), np.uint8))
    images = ["register", film_files / "day0.tif", film_files / "day1.tif", "--out", film_files / "out"]
    text = refusal([*images, "--fixed-label", film_files / "small.tif"], capsys)
    assert text.startswith("fixed_label has shape 1x20x30 but its grid is 64x64; expected (C, 64, 64)")
    assert list((film_files / "out").iterdir()) == []


def test_unknown_method_is_refused(film_files: Path, capsys: Capture) -> None:
    images = ["register", film_files / "day0.tif", film_files / "day1.tif", "--out", film_files / "out"]
    text = refusal([*images, "--method", "jiont"], capsys)
    assert text == "method is 'jiont', expected one of 'joint'; did you mean 'joint'?"


def test_folder_that_cannot_be_written_is_refused(film_files: Path, tiny: dict[str, Any], capsys: Capture) -> None:
    day0 = film_files / "day0.tif"
    expected = f"folder {day0 / 'out'} cannot be made because {day0} is not a folder"
    assert refusal(["register", day0, day0, "--out", day0 / "out"], capsys).startswith(expected)
    for command in ("train", "evaluate"):
        assert refusal([command, "joint", *flags(tiny, output_dir=day0 / "out")], capsys).startswith(expected)


# --- trainings and evaluations that cannot run ----------------------------------------------------------------------


def test_empty_and_missing_folders_are_refused(tiny: dict[str, Any], tmp_path: Path, capsys: Capture) -> None:
    run = ["train", "joint", *flags(tiny, output_dir=tmp_path / "run")]
    (tmp_path / "empty").mkdir()
    assert f"root '{tmp_path / 'empty'}' holds no images" in refusal(
        [*run, "--dataset_dir", tmp_path / "empty"], capsys
    )
    text = refusal([*run, "--dataset_dir", tmp_path / "none"], capsys)
    assert f"root '{tmp_path / 'none'}' is not an existing folder" in text
    assert "dataset_dir is None and simulated is 0" in refusal([*run, "--simulated", "0"], capsys)


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
    capsys: Capture,
    spoil: Callable[[Path], str],
) -> None:
    folder = nuclei_folder(4)
    expected = spoil(folder)
    overrides = flags(tiny, dataset_dir=folder, simulated=0, output_dir=tmp_path / "run")
    assert expected in refusal(["train", "joint", *overrides], capsys)


def test_unusable_checkpoints_are_refused(tiny: dict[str, Any], tmp_path: Path, capsys: Capture) -> None:
    run = ["evaluate", "joint", *flags(tiny, output_dir=tmp_path / "run"), "--checkpoint"]
    assert "none.pt' does not exist; expected a file of weights" in refusal([*run, tmp_path / "none.pt"], capsys)
    (tmp_path / "text.pt").write_text("no weights")
    assert "text.pt' cannot be read" in refusal([*run, tmp_path / "text.pt"], capsys)
    torch.save({"weight": torch.zeros(2)}, tmp_path / "foreign.pt")
    assert "foreign.pt' is not of this network" in refusal([*run, tmp_path / "foreign.pt"], capsys)
    shipped = ROOT / "bundles" / "joint" / "models" / "model.pt"
    assert "with the same settings (image_size" in refusal([*run, shipped], capsys)


def test_resume_needs_a_run_of_the_same_settings(
    tiny: dict[str, Any], tiny_run: Path, tmp_path: Path, capsys: Capture
) -> None:
    resume = ["train", "joint", "--resume", "True"]
    assert "has no last.pt" in refusal([*resume, *flags(tiny, output_dir=tmp_path / "run")], capsys)
    shutil.copytree(tiny_run, tmp_path / "copy")
    text = refusal([*resume, *flags(tiny, output_dir=tmp_path / "copy", max_epochs=3)], capsys)
    assert "is of a training with 1 epochs, this one has 3" in text


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("max_epoch", 5, "override --max_epoch names no key of the configuration: did you mean max_epochs"),
        ("image_size", 50, "spatial_size is (50, 50); expected sizes divisible by 32, such as (64, 64)"),
        ("patience", 0, "patience is 0, expected finite numbers above 0"),
    ],
)
def test_unusable_settings_are_refused(
    key: str, value: int, message: str, tiny: dict[str, Any], tmp_path: Path, capsys: Capture
) -> None:
    text = refusal(["train", "joint", *flags(tiny, output_dir=tmp_path / "run", **{key: value})], capsys)
    assert text.startswith(message)


@pytest.mark.parametrize("typed", ["--max_epochs", "--resume --amp", "--amp True 5", "max_epochs 20", "--amp --amp 1"])
def test_overrides_come_in_pairs(typed: str, capsys: Capture) -> None:
    expected = f"overrides are '{typed}'; expected --KEY VALUE pairs, such as --max_epochs 20"
    assert refusal(["train", "joint", *typed.split()], capsys) == expected


def test_values_are_literals_or_text(monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[Any] = []
    monkeypatch.setattr("monai_cellreg.methods.run_bundle", lambda *call: got.extend(call))
    typed = ["--control_shape", "[3,4]", "--crops", "None", "--learning_rate", "-1e-3", "--dataset_dir", "my images"]
    assert main(["evaluate", "joint", *typed, "--objective::terms::cycle::weight", "0.5", "--amp", "True"]) == 0
    overrides = {
        "control_shape": [3, 4],
        "crops": None,
        "learning_rate": -0.001,
        "dataset_dir": "my images",
        "objective::terms::cycle::weight": 0.5,
        "amp": True,
    }
    assert got == ["joint", ["evaluate.json"], overrides]


def test_unknown_bundle_is_refused(capsys: Capture) -> None:
    text = refusal(["train", "jiont"], capsys)
    assert text == "bundle is 'jiont', expected one of 'joint'; did you mean 'joint'?"


def test_unknown_commands_and_arguments_are_refused(capsys: Capture) -> None:
    assert "invalid choice: 'registr'" in usage_error(["registr"], capsys)
    assert "the following arguments are required: COMMAND" in usage_error([], capsys)
    assert "the following arguments are required: MOVING" in usage_error(["register", "a.tif"], capsys)
    assert "unrecognized arguments: --outt result" in usage_error(
        ["register", "a.tif", "b.tif", "--outt", "result"], capsys
    )
    assert "unrecognized arguments: extra" in usage_error(["methods", "extra"], capsys)


def test_a_defect_of_the_program_is_not_taken_for_bad_input(film_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr("monai_cellreg.methods.register_files", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        main(["register", str(film_files / "day0.tif"), str(film_files / "day1.tif")])
