"""Whatever is wrong with the input, the command line ends in one clear line or a result that says what it is worth.

A refusal is the exit status 2, one line on stderr without a traceback, and no file in the output folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from monai_cellreg.apps.cli import main

Refused = Callable[[Sequence[Any]], str]
RNG = np.random.default_rng(0)
PICTURE = np.kron(RNG.integers(0, 250, (8, 8)), np.ones((8, 8))).astype(np.uint8)
METHODS = ["joint", "auto"]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A grey picture, 64 x 64."""
    tifffile.imwrite(tmp_path / "good.tif", PICTURE)
    return tmp_path / "good.tif"


def volume(path: Path, *, shift_mm: float = 0.0, values: np.ndarray | None = None) -> Path:
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[:3, 3] = shift_mm
    data = np.kron(RNG.random((4, 4, 4)), np.ones((4, 4, 4))) if values is None else values
    nibabel.save(nibabel.Nifti1Image(data.astype(np.float32), affine), path)
    return path


# --- files that cannot be read --------------------------------------------------------------------------------------


def missing(folder: Path) -> Path:
    return folder / "none.tif"


def foreign(folder: Path) -> Path:
    (folder / "bad.txt").write_text("no image")
    return folder / "bad.txt"


def text_in_disguise(folder: Path) -> Path:
    (folder / "bad.png").write_text("no image")
    return folder / "bad.png"


def cut_tiff(folder: Path) -> Path:
    tifffile.imwrite(folder / "whole.tif", RNG.integers(0, 255, (64, 64)).astype(np.uint8))
    (folder / "bad.tif").write_bytes((folder / "whole.tif").read_bytes()[:2000])
    return folder / "bad.tif"


def cut_png(folder: Path) -> Path:
    Image.fromarray(RNG.integers(0, 255, (64, 64)).astype(np.uint8)).save(folder / "whole.png")
    (folder / "bad.png").write_bytes((folder / "whole.png").read_bytes()[:2000])
    return folder / "bad.png"


def cut_nifti(folder: Path) -> Path:
    whole = volume(folder / "whole.nii.gz")
    (folder / "bad.nii.gz").write_bytes(whole.read_bytes()[:200])
    return folder / "bad.nii.gz"


def empty(folder: Path) -> Path:
    (folder / "bad.tif").write_bytes(b"")
    return folder / "bad.tif"


def black(folder: Path) -> Path:
    tifffile.imwrite(folder / "bad.tif", np.zeros((64, 64), np.uint16))
    return folder / "bad.tif"


def not_a_number(folder: Path) -> Path:
    tifffile.imwrite(folder / "bad.tif", np.where(np.eye(64) > 0, np.nan, 1).astype(np.float32))
    return folder / "bad.tif"


def infinite(folder: Path) -> Path:
    tifffile.imwrite(folder / "bad.tif", np.where(np.eye(64) > 0, np.inf, 1).astype(np.float32))
    return folder / "bad.tif"


def five_channels(folder: Path) -> Path:
    values = RNG.integers(0, 255, (64, 64, 5)).astype(np.uint8)
    tifffile.imwrite(folder / "bad.tif", values, photometric="rgb", planarconfig="contig", extrasamples=[0, 0])
    return folder / "bad.tif"


def several_pages(folder: Path) -> Path:
    tifffile.imwrite(folder / "bad.tif", RNG.random((3, 64, 64)), photometric="minisblack")
    return folder / "bad.tif"


def complex_pixels(folder: Path) -> Path:
    np.save(folder / "bad.npy", PICTURE * 1j)
    return folder / "bad.npy"


def a_folder(folder: Path) -> Path:
    (folder / "bad").mkdir()
    return folder / "bad"


def three_dimensions(folder: Path) -> Path:
    return volume(folder / "bad.nii.gz")


def with_pixel_size(folder: Path) -> Path:
    """Larger than the other image, which has no pixel size."""
    meta = {"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.5}
    picture = np.kron(PICTURE, np.ones((3, 3), np.uint8))
    tifffile.imwrite(folder / "bad.ome.tif", picture, metadata=meta | {"PhysicalSizeYUnit": "µm"})
    return folder / "bad.ome.tif"


BAD_FILES = {
    missing: "none.tif' does not exist",
    foreign: "has the extension '.txt'; expected one of .png",
    text_in_disguise: "bad.png' cannot be read",
    cut_tiff: "bad.tif' cannot be read",
    cut_png: "bad.png' cannot be read",
    cut_nifti: "bad.nii.gz' cannot be read",
    empty: "bad.tif' cannot be read",
    black: "bad.tif' is constant (every pixel is 0)",
    not_a_number: "bad.tif' has 64 of 4096 pixels that are NaN or infinite",
    infinite: "bad.tif' has 64 of 4096 pixels that are NaN or infinite",
    five_channels: "bad.tif' has 5 samples a pixel; expected 1 (grey) to 4 (RGBA)",
    several_pages: "bad.tif' has 3 pages; choose one",
    complex_pixels: "bad.npy' has complex pixels",
    a_folder: "bad' is a folder without DICOM files",
    three_dimensions: "expected both of the same dimension and frame",
    with_pixel_size: "has no pixel size (64 x 64 pixels)",
}


@pytest.mark.parametrize("place", [0, 1], ids=["fixed", "moving"])
@pytest.mark.parametrize("spoil", BAD_FILES, ids=lambda spoil: spoil.__name__)
def test_images_that_cannot_be_used_are_refused(
    spoil: Callable[[Path], Path], place: int, good: Path, out: Path, refused: Refused
) -> None:
    images = [good, spoil(good.parent)] if place else [spoil(good.parent), good]
    assert BAD_FILES[spoil] in refused(["register", *images, "--method", "joint", "--out", out])
    assert list(out.iterdir()) == []


# --- labels and settings that do not fit ----------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["fixed", "moving"])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones((20, 30), np.uint8), "_label has shape 1x20x30 but its grid is 64x64"),
        (np.full((64, 64), 0.5, np.float32), "has values that are no 32-bit whole numbers"),
        (np.stack([PICTURE] * 3, -1), "has 3 samples a pixel; expected a grey image of label numbers"),
    ],
    ids=["size", "fractions", "colour"],
)
def test_labels_that_do_not_fit_are_refused(
    part: str, values: np.ndarray, message: str, good: Path, out: Path, refused: Refused
) -> None:
    tifffile.imwrite(good.parent / "label.tif", values)
    command = ["register", good, good, "--method", "joint", "--out", out]
    assert message in refused([*command, f"--{part}-label", good.parent / "label.tif"])
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("--method jiont", "method is 'jiont', expected one of"),
        ("--device toaster", "device is 'toaster', which cannot be used here"),
        ("--method joint --time-limit 3", "method is 'joint', which takes no device and no time limit"),
        ("--time-limit 0", "time_limit is 0.0, expected finite numbers above 0"),
        ("--fixed-points a.csv", "landmarks are given of one image only; expected fixed_points and moving_points"),
        ("--fixed-mask none.tif", "none.tif' does not exist"),
        ("--page 3", "page is 3 but"),
        ("--parameter-map none.txt", "stage 'none.txt' is no file"),
    ],
)
def test_settings_that_cannot_be_met_are_refused(
    typed: str, message: str, good: Path, out: Path, refused: Refused
) -> None:
    assert message in refused(["register", good, good, "--out", out, *typed.split()])
    assert not out.exists() or list(out.iterdir()) == []


# --- output that cannot be written ----------------------------------------------------------------------------------


def test_a_file_in_the_place_of_the_folder_is_told_before_the_work(good: Path, refused: Refused) -> None:
    text = refused(["register", "none.tif", "none.tif", "--out", good / "out"])
    assert text.startswith(f"folder {good / 'out'} cannot be made because {good} is not a folder")


def test_a_read_only_folder_is_told_before_the_work(
    good: Path, out: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    text = refused(["register", "none.tif", "none.tif", "--out", out])
    assert text == f"folder {out} cannot be written (Read-only file system); choose a folder that you may write to"


def test_a_full_disk_leaves_nothing_behind(
    good: Path, out: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("monai_cellreg.methods.files.write_image", refuse)
    assert "No space left on device" in refused(["register", good, good, "--method", "joint", "--out", out])
    assert list(out.iterdir()) == []


def test_an_interruption_leaves_nothing_behind(
    good: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("monai_cellreg.methods.files.save_before_after", interrupt)
    assert main(["register", str(good), str(good), "--method", "joint", "--out", str(out)]) == 130
    assert capsys.readouterr().err == "monai-cellreg: interrupted: no file was left half-written\n"
    assert list(out.iterdir()) == []


# --- pairs that make no sense ---------------------------------------------------------------------------------------


def judged(command: Sequence[Any], out: Path) -> tuple[int, dict[str, Any]]:
    """Exit status, and what the run told of itself."""
    status = main([str(word) for word in [*command, "--out", out]])
    return status, json.loads((out / "metrics.json").read_text())


@pytest.mark.parametrize("method", METHODS)
def test_a_huge_ratio_of_sizes_gives_a_finite_result(method: str, good: Path, out: Path) -> None:
    tifffile.imwrite(good.parent / "huge.tif", np.kron(PICTURE, np.ones((20, 20), np.uint8)))
    status, told = judged(["register", good, good.parent / "huge.tif", "--method", method, "--no-report"], out)
    assert status in (0, 1)
    assert tifffile.imread(out / "warped.tif").shape == (64, 64)
    assert all(np.isfinite(value) for value in told["metrics"].values())


@pytest.mark.parametrize("method", METHODS)
def test_images_far_apart_in_the_world_do_not_pass_as_a_success(method: str, tmp_path: Path, out: Path) -> None:
    """Either they are brought together, or the verdict says that the result is of no use."""
    for name, shift in (("a", 0.0), ("b", 5000.0)):
        affine = np.diag([0.5, 0.5, 1.0, 1.0])
        affine[:2, 3] = shift
        nibabel.save(nibabel.Nifti1Image(PICTURE.astype(np.float32), affine), tmp_path / f"{name}.nii")
    status, told = judged(["register", tmp_path / "a.nii", tmp_path / "b.nii", "--method", method, "--no-report"], out)
    assert told["metrics"]["coverage"] > 0.5 or (status, told["verdict"]["level"]) == (1, "failed")


def test_a_volume_for_a_method_of_pictures_is_refused(tmp_path: Path, out: Path, refused: Refused) -> None:
    images = [volume(tmp_path / f"{name}.nii.gz") for name in "ab"]
    assert "take a slice of a volume" in refused(["register", *images, "--method", "joint", "--out", out])
    assert list(out.iterdir()) == []
