"""The command ``label-server`` where it cannot serve; the server itself is tested in label_app/served."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

Refused = Callable[[Sequence[Any]], str]


@pytest.fixture
def without_monai_label(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "monailabel" else find(name))


@pytest.fixture
def with_monai_label(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: find("json" if name == "monailabel" else name))


@pytest.mark.usefixtures("without_monai_label")
def test_monai_label_is_not_installed(refused: Refused, tmp_path: Path) -> None:
    line = refused(["label-server", tmp_path, "--work", tmp_path / "work"])
    assert "MONAI Label is not installed" in line and "make label-server STUDIES=" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("with_monai_label")
def test_the_folder_is_missing(refused: Refused, tmp_path: Path) -> None:
    missing = tmp_path / "images"
    assert f"STUDIES is {missing}, expected an existing folder" in refused(["label-server", missing])


@pytest.mark.usefixtures("with_monai_label")
def test_the_work_folder_cannot_be_made(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "work").write_text("")
    line = refused(["label-server", tmp_path, "--work", tmp_path / "work", "--port", "0"])
    assert "work is not a folder" in line


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--workers", "0", "no number of at least 1"),
        ("--port", "65536", "no port, expected a number from 0 to 65535"),
        ("--port", "-1", "no port"),
        ("--workers", "two", "no number of at least 1"),
        ("--json-limit", "0", "no size in MiB above 0"),
        ("--upload-limit", "inf", "no size in MiB above 0"),
        ("--upload-limit", "big", "no size in MiB above 0"),
        ("--origin", "viewer.org", "no address"),
        ("--realm", "ftp://login.org", "no address"),
        ("--port", "http", "no port"),
    ],
)
def test_options_that_make_no_sense(usage_error: Refused, option: str, value: str, reason: str) -> None:
    line = usage_error(["label-server", "images", option, value])
    assert option in line and reason in line
