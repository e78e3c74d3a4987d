"""``monai-cellreg methods`` lists the table of methods."""

from __future__ import annotations

import pytest

from monai_cellreg.apps.cli import main
from monai_cellreg.methods import method_names


def test_every_method_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.split()[0] in method_names()] == method_names()
