"""``monai-cellreg methods`` lists the table of methods."""

from __future__ import annotations

import pytest

from monai_cellreg.apps.cli import main
from monai_cellreg.methods import method_names


def test_every_method_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert list(lines) == method_names()
    assert "2D, 3D" in lines["auto"] and "heeds masks and landmarks" in lines["auto"]
    assert "2D " in lines["joint"] and "3D" not in lines["joint"] and "masks" not in lines["joint"]
    assert "2D " in lines["segreg"] and "3D" not in lines["segreg"] and "labels" in lines["segreg"]
    assert lines["ants"].endswith("needs pip install 'monai-cellreg[baselines]'")
