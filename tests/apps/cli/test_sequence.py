"""``monai-cellreg sequence`` hands on what was typed, and says what was found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from monai_cellreg.apps.cli import main

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


def test_an_interruption_says_how_to_go_on(movie: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("monai_cellreg.methods.sequence.register_sequence", stop)
    assert main(["sequence", movie, "--out", "here"]) == 130
    expected = "monai-cellreg: interrupted: the maps found so far are kept in here; run the command again\n"
    assert capsys.readouterr().err == expected
