"""``monai-cellreg report`` makes the page again from the files."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from monai_cellreg.apps.cli import main

Refused = Callable[[Sequence[Any]], str]


def test_the_page_comes_back_and_opens(
    film_files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = film_files / "out"
    main(["register", *(str(film_files / f"day{t}.tif") for t in range(2)), "--method", "joint", "--out", str(out)])
    first = (out / "report.html").read_text(encoding="utf-8")
    (out / "report.html").unlink()
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    capsys.readouterr()
    assert main(["report", str(out)]) == 0 and opened == []
    assert capsys.readouterr().out == f"written to {out / 'report.html'}\n"
    again = (out / "report.html").read_text(encoding="utf-8")
    assert "day1.tif onto day0.tif" in again and "monai-cellreg register" in again
    assert abs(len(again) - len(first)) < 2000
    assert main(["report", str(out), "--open"]) == 0
    assert opened == [(out / "report.html").as_uri()]


def test_folders_without_a_registration_are_refused(film_files: Path, refused: Refused) -> None:
    assert "holds no metrics.json; expected the folder that 'register' has written to" in refused(
        ["report", film_files]
    )
    (film_files / "metrics.json").write_text("{")
    assert "is damaged" in refused(["report", film_files])
    (film_files / "metrics.json").write_text(json.dumps({"fixed": "a", "metrics": {}}))
    assert "has no moving, transform, method; expected what 'register' writes" in refused(["report", film_files])
