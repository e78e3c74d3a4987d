"""JSON that strict readers accept."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from monai_cellreg.methods.json_files import write_json


def test_what_json_lacks_becomes_null(tmp_path: Path) -> None:
    content = {"a": [1, math.nan, (math.inf, "µm")], "b": {"c": -math.inf, "d": None, "e": 0.1}}
    write_json(tmp_path / "x.json", content)
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=pytest.fail) == {
        "a": [1, None, [None, "µm"]],
        "b": {"c": None, "d": None, "e": 0.1},
    }
    assert "µm" in text and text.endswith("}\n")


def test_what_cannot_be_written_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_json(tmp_path / "x.json", {"a": object()})
    assert list(tmp_path.iterdir()) == []
