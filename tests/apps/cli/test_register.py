"""``monai-cellreg register``: what is printed, written and judged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile

from monai_cellreg.apps.cli import build_parser, main
from monai_cellreg.apps.cli import options as shared
from monai_cellreg.apps.cli import register as register_command
from monai_cellreg.baselines import Elastix
from monai_cellreg.geometry import AffineTransform, Pair, SpatialTransform
from monai_cellreg.methods import Optimisation

Capture = pytest.CaptureFixture[str]


class Told:
    """A method that answers with a shift."""

    def __init__(self, *shift: float) -> None:
        self.shift = list(shift)

    def register(self, pair: Pair) -> SpatialTransform:
        self.pair = pair
        return AffineTransform.translation(self.shift)


@pytest.fixture
def shifted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of two images, the second moved by (3, -5), and a method that knows it, as arguments."""
    rng = np.random.default_rng(0)
    picture = np.kron(rng.integers(0, 250, (12, 14)), np.ones((5, 5))).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", picture[3:43, 0:50])
    tifffile.imwrite(tmp_path / "b.tif", picture[0:40, 5:55])
    monkeypatch.setattr(register_command, "_method", lambda options: Told(3, -5))
    return ["register", str(tmp_path / "a.tif"), str(tmp_path / "b.tif"), "--out", str(tmp_path / "out")]


def test_prints_the_figures_the_verdict_and_where(shifted: list[str], capsys: Capture) -> None:
    assert main(shifted) == 0
    lines = capsys.readouterr().out.splitlines()
    shown = dict(line.split(maxsplit=1) for line in lines)
    assert float(shown["ncc_before"]) < 0.5 < float(shown["ncc_after"])
    assert float(shown["max_displacement"]) == pytest.approx(np.hypot(3, 5), rel=1e-3)
    assert lines[-2].startswith(("Looks good: ", "Look closely"))
    assert lines[-1] == f"written to {shifted[-1]}"


def test_a_registration_that_makes_things_worse_has_a_status_of_its_own(
    shifted: list[str], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(register_command, "_method", lambda options: Told(39, 49))
    assert main(shifted) == 1
    assert "Do not use this result: " in capsys.readouterr().out
    assert json.loads((Path(shifted[-1]) / "metrics.json").read_text())["verdict"]["level"] == "failed"


def test_quiet_says_nothing(shifted: list[str], capsys: Capture) -> None:
    assert main([*shifted, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_the_report_can_be_left_out_and_the_transform_be_a_field(shifted: list[str]) -> None:
    assert main([*shifted, "--no-report", "--transform-format", "nii.gz"]) == 0
    out = Path(shifted[-1])
    assert {path.name for path in out.iterdir()} == {"warped.tif", "metrics.json", "overlay.png", "transform.nii.gz"}
    field = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "transform.nii.gz"), sitk.sitkVectorFloat64))
    np.testing.assert_allclose(np.abs(field).reshape(-1, 2), [[5, 3]] * 2000, atol=1e-5)


def test_pages_are_chosen(shifted: list[str], tmp_path: Path, capsys: Capture) -> None:
    one, two = (tifffile.imread(path) for path in shifted[1:3])
    tifffile.imwrite(tmp_path / "film.tif", np.stack([two, one, two]), photometric="minisblack")
    film = str(tmp_path / "film.tif")
    assert main(["register", film, film, *shifted[3:], "--page", "1", "--moving-page", "2"]) == 0
    told = json.loads((Path(shifted[-1]) / "metrics.json").read_text())
    assert (told["fixed_page"], told["moving_page"]) == (1, 2)
    assert told["metrics"]["ncc_after"] > 0.5 > told["metrics"]["ncc_before"]
    assert told["parameters"]["Command"].startswith("monai-cellreg register ")
    assert told["parameters"]["Command"].endswith("--page 1 --moving-page 2")


def test_parameter_maps_make_it_elastix(film_files: Path) -> None:
    (film_files / "map.txt").write_text('(Transform "TranslationTransform")\n')
    images = [str(film_files / f"day{t}.tif") for t in range(2)]
    typed = ["register", *images, "--parameter-map", str(film_files / "map.txt")]
    method = register_command._method(build_parser().parse_args(typed))
    assert isinstance(method, Elastix) and method.stages[0]["Transform"] == ["TranslationTransform"]
    assert register_command._method(build_parser().parse_args(["register", *images])) == "auto"
    for more in (["--method", "joint"], ["--device", "cpu"], ["--time-limit", "0"]):
        with pytest.raises(ValueError, match="--parameter-map is given with another method, device or time limit"):
            register_command._method(build_parser().parse_args([*typed, *more]))


def test_device_and_time_limit_are_those_of_an_optimisation() -> None:
    typed = ["register", "a.tif", "b.tif", "--method", "velocity", "--device", "cpu", "--time-limit", "2.5"]
    method = register_command._method(build_parser().parse_args(typed))
    assert isinstance(method, Optimisation) and method.name == "velocity"
    assert (method.settings.device, method.settings.deformable.time_limit) == ("cpu", 2.5)


def test_masks_and_landmarks_reach_the_method(shifted: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, method = Path(shifted[1]).parent, Told(3, -5)
    monkeypatch.setattr(register_command, "_method", lambda options: method)
    mask = np.zeros((40, 50), np.uint8)
    mask[5:20, 8:30] = 1
    tifffile.imwrite(folder / "mask.tif", mask)
    (folder / "a.csv").write_text("x,y\n10.5,20.5\n,\n")
    (folder / "b.csv").write_text("row,col\n23.5,5.5\n1,1\n")
    guides = ["--moving-mask", "mask.tif", "--fixed-points", "a.csv", "--moving-points", "b.csv"]
    typed = [part if part.startswith("--") else str(folder / part) for part in guides]
    assert main([*shifted, *typed, "--coordinates", "corner"]) == 0
    np.testing.assert_array_equal(np.asarray(method.pair.moving_mask[0]), mask)
    assert method.pair.fixed_landmarks.tolist() == [[20, 10]]
    assert method.pair.moving_landmarks.tolist() == [[23, 5]]
    told = json.loads((Path(shifted[-1]) / "metrics.json").read_text())
    assert (told["fixed_points"], told["coordinates"]) == (str(folder / "a.csv"), "corner")
    assert told["moving_mask"] == str(folder / "mask.tif") and "fixed_mask" not in told
    assert str(folder / "b.csv") in (Path(shifted[-1]) / "report.html").read_text(encoding="utf-8")


def test_progress_is_told_where_someone_watches(
    shifted: list[str], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "shows_progress", lambda options: not options.quiet)
    assert main(shifted) == 0
    said = capsys.readouterr().err
    assert said.startswith(f"registering {shifted[2]} onto {shifted[1]} ... ") and said.endswith(" s\n")
    assert main([*shifted, "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_results_go_to_registration_by_default(shifted: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(shifted[1]).parent
    monkeypatch.chdir(folder)
    assert main(["register", "a.tif", "b.tif"]) == 0
    assert (folder / "registration" / "warped.tif").is_file()
