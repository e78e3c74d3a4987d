"""``monai-cellreg benchmark`` runs, prints a table, and can be stopped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from monai_cellreg.apps.cli import main

Capture = pytest.CaptureFixture[str]
Refused = Callable[[Sequence[Any]], str]


@pytest.fixture
def listed(film_files: Path) -> list[str]:
    """A list of two pairs with labels, as arguments."""
    rows = ["fixed,moving,fixed_label,moving_label", *["day0.tif,day1.tif,label0.tif,label1.tif"] * 2]
    (film_files / "mine.csv").write_text("\n".join(rows))
    return ["benchmark", str(film_files / "mine.csv"), "--methods", "joint", "--out", str(film_files / "out")]


def test_a_list_of_pairs_is_scored_and_its_results_written(listed: list[str], capsys: Capture) -> None:
    assert main([*listed, "--limit", "1"]) == 0
    shown = capsys.readouterr()
    head, unregistered, joint, written = shown.out.splitlines()
    assert "dice" in head and "median seconds" in head and shown.err == ""
    assert (unregistered.split()[:3], joint.split()[:3]) == (["unregistered", "1", "0"], ["joint", "1", "0"])
    assert written == f"written to {listed[-1]}"
    names = {path.name for path in Path(listed[-1]).iterdir()}
    assert names == {"rows.jsonl", "results.csv", "results.json", "report.html"}


def test_an_interruption_says_how_to_go_on(listed: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("monai_cellreg.benchmarks.cases_run.run_case", stop)
    assert main(listed) == 130
    expected = f"interrupted: what is finished is kept in {listed[-1]}; the same command goes on there\n"
    assert capsys.readouterr().err.endswith(expected)


def test_bad_cases_and_methods_are_refused(listed: list[str], refused: Refused) -> None:
    assert refused(["benchmark", "nuclie", "--methods", "joint"]).startswith("case is 'nuclie', expected one of")
    text = refused([*listed[:3], "jiont", *listed[4:]])
    assert text.startswith("method is 'jiont', expected one of")
    assert "threads is 0" in refused([*listed, "--threads", "0"])
    assert refused(["benchmark", "known-warps"]).startswith("methods is empty; expected --methods and")
