"""``monai-cellreg sequence`` hands on what was typed, and says what was found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile

from monai_cellreg.apps.cli import main
from monai_cellreg.report import Verdict

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def movie(film_files: Path) -> str:
    frames = np.stack([tifffile.imread(film_files / f"day{t}.tif") for t in (0, 1, 0)])
    tifffile.imwrite(film_files / "film.tif", frames, photometric="minisblack")
    return str(film_files / "film.tif")


def test_a_movie_is_stabilised(movie: str, tmp_path: Path, capsys: Capture) -> None:
    assert main(["sequence", movie, "--method", "joint", "--reference", "2", "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr()
    lines = dict(line.split(maxsplit=1) for line in shown.out.splitlines())
    assert (lines["reference"], lines["frames"], lines["written"]) == ("2", "3", f"to {tmp_path / 'out'}")
    assert shown.err == ""
    assert {"stabilised.ome.tif", "metrics.csv", "report.html"} <= {path.name for path in (tmp_path / "out").iterdir()}


@pytest.mark.parametrize(("level", "status"), [("good", 0), ("check", 0), ("failed", 1)])
def test_the_verdict_is_told(
    level: Any, status: int, movie: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    verdict = Verdict(level, ("It did this.", "And that."))
    result = SimpleNamespace(summary={"frames": 3}, verdict=verdict)
    monkeypatch.setattr("monai_cellreg.methods.sequence.register_sequence", lambda *_, **__: result)
    assert main(["sequence", movie]) == status
    assert f"{verdict.headline}: It did this. And that.\n" in capsys.readouterr().out
    assert main(["sequence", movie, "--quiet"]) == status and not capsys.readouterr().out


@pytest.mark.parametrize(("typed", "reference"), [("first", "first"), ("mean", "mean"), ("0", 0), ("12", 12)])
def test_the_reference_is_a_word_or_a_number(
    typed: str, reference: str | int, movie: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []

    def stop(movie: str, **options: object) -> None:
        seen.append(options["reference"])
        raise KeyboardInterrupt

    monkeypatch.setattr("monai_cellreg.methods.sequence.register_sequence", stop)
    assert main(["sequence", movie, "--reference", typed]) == 130
    assert seen == [reference]


def test_the_device_is_handed_on(movie: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def stop(movie: str, **options: object) -> None:
        seen.append(options["method"])
        raise KeyboardInterrupt

    monkeypatch.setattr("monai_cellreg.methods.sequence.register_sequence", stop)
    assert main(["sequence", movie, "--device", "cpu", "--time-limit", "4"]) == 130
    assert main(["sequence", movie]) == 130
    assert (seen[0].name, seen[0].settings.device, seen[0].settings.deformable.time_limit) == ("auto", "cpu", 4)
    assert seen[1] == "auto"


def test_labels_and_tracks_are_handed_on(movie: str, film_files: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "spots.csv").write_text("frame,x,y\n0,30,31\n1,30,32\n2,30,31\n")
    options = [
        "--labels",
        str(film_files / "label0.tif"),
        "--labels-frame",
        "2",
        "--tracks",
        str(tmp_path / "spots.csv"),
    ]
    assert (
        main(["sequence", movie, "--method", "joint", *options, "--smooth", "0.5", "--out", str(tmp_path / "out")]) == 0
    )
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"labels.ome.tif", "labels_ctc", "tracks_reference.csv", "motion.csv", "motion.png"} <= names
    assert "smoothing  0.5" in capsys.readouterr().out
    carried = tifffile.imread(tmp_path / "out" / "labels.ome.tif")
    np.testing.assert_array_equal(carried[2], tifffile.imread(film_files / "label0.tif"))


@pytest.mark.parametrize(
    ("typed", "problem"),
    [
        (["--labels-frame", "1"], "labels_frame is 1 and labels are missing"),
        (["--smooth", "-1"], "smoothing is -1.0, expected finite numbers of at least 0"),
        (["--tracks", "none.csv"], "tracks 'none.csv' do not exist; expected a CSV file"),
        (["--labels", "none.tif"], "none.tif"),
    ],
)
def test_what_cannot_be_carried_is_refused(
    movie: str, tmp_path: Path, typed: list[str], problem: str, refused: Callable[..., str]
) -> None:
    assert problem in refused(["sequence", movie, "--method", "joint", *typed, "--out", tmp_path / "out"])


def test_an_interruption_says_how_to_go_on(movie: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("monai_cellreg.methods.sequence.register_sequence", stop)
    assert main(["sequence", movie, "--out", "here"]) == 130
    expected = "monai-cellreg: interrupted: the maps found so far are kept in here; run the command again\n"
    assert capsys.readouterr().err == expected
