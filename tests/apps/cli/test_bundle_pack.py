"""``monai-cellreg bundle pack``: a pack, a table of its checks, and one line where it cannot be made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from monai_cellreg.apps.cli import main
from monai_cellreg.methods import packing, packing_checks

Refused = Callable[[Sequence[Any]], str]
PACK = ["bundle", "pack"]


@pytest.fixture
def two_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick ones, and one for which something is not installed."""
    monkeypatch.setattr(packing_checks, "find_spec", lambda name: None if name == "onnx" else name)
    names = ("verify_metadata", "onnx_export")
    monkeypatch.setattr(packing_checks, "CHECKS", {name: packing_checks.CHECKS[name] for name in names})


def test_pack_is_made_checked_and_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], two_checks: None, refused: Refused
) -> None:
    out = tmp_path / "deep" / "packs"
    assert main([*PACK, "segreg", "--out", str(out), "--check"]) == 0
    assert capsys.readouterr() == (
        f"packed {out / 'segreg'}\n"
        "verify_metadata  passed   metadata.json has all fields\n"
        "onnx_export      not run  needs onnx: pip install onnx\n",
        "",
    )
    assert refused([*PACK, "segreg", "--out", out]).startswith(f"folder {out / 'segreg'} exists; expected a free name")
    assert main([*PACK, "segreg", "--out", str(out), "--replace"]) == 0
    assert capsys.readouterr().out == f"packed {out / 'segreg'}\n"


def test_pack_that_fails_a_check_is_told(
    tmp_path: Path, two_checks: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    strict = tmp_path / packing.SCHEMA.name
    strict.write_text('{"required": ["colour"]}')
    monkeypatch.setattr(packing, "SCHEMA", strict)
    assert main([*PACK, "segreg", "--out", str(tmp_path)]) == 0
    capsys.readouterr()
    assert main([*PACK, "segreg", "--out", str(tmp_path), "--replace", "--check"]) == 2
    out, err = capsys.readouterr()
    assert "\nverify_metadata  FAILED   'colour' is a required property" in out
    assert err.startswith(
        f"monai-cellreg: error: pack {tmp_path / 'segreg'} fails verify_metadata; expected it to pass"
    )
    assert err.count("\n") == 1


def test_what_cannot_be_packed_is_refused(tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    text = refused([*PACK, "joints", "--out", tmp_path])
    assert text == "bundle is 'joints', expected one of 'dirnet', 'joint', 'segreg'; did you mean 'joint'?"
    monkeypatch.setattr(packing, "WEIGHTS", Path("models", "none.pt"))
    monkeypatch.setattr(packing, "NEEDED", ("train.json", str(packing.WEIGHTS)))
    text = refused([*PACK, "joint", "--out", tmp_path])
    assert text.startswith("bundle 'joint' has no models/none.pt in ") and "a training writes weights" in text
    assert list(tmp_path.iterdir()) == []


def test_help_shows_examples_and_overrides_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="^0$"):
        main([*PACK, "--help"])
    text = capsys.readouterr().out
    assert "monai-cellreg bundle pack joint --out packs --check" in text and "exit status:" in text
    with pytest.raises(SystemExit, match="^2$"):
        main([*PACK, "joint", "--max_epochs", "3"])
    assert "unrecognized arguments: --max_epochs 3" in capsys.readouterr().err
