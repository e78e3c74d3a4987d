"""Runs over a case: rows kept as they come, failures recorded, interrupted runs continued."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from monai_cellreg.benchmarks import cases_run
from monai_cellreg.benchmarks.cases import Case
from monai_cellreg.benchmarks.cases_run import RunSettings, run_case
from monai_cellreg.geometry import AffineTransform, Pair, SamplingGrid, SpatialTransform

GRID = SamplingGrid((18, 24))
TRUTH = AffineTransform.translation([2.0, -1.0])
CALLS: list[str] = []


class Told:
    """A method that answers with a shift, or raises what it is given."""

    def __init__(self, name: str, answer: list[float] | Exception) -> None:
        self.name, self.answer = name, answer

    def register(self, pair: Pair) -> SpatialTransform:
        CALLS.append(self.name)
        assert pair.truth is None and pair.fixed_label is None and pair.fixed_landmarks is None
        if isinstance(self.answer, Exception):
            raise self.answer
        return AffineTransform.translation(self.answer)


METHODS = {
    "right": Told("right", [2.0, -1.0]),
    "near": Told("near", [2.0, 3.0]),
    "broken": Told("broken", RuntimeError("no\nway")),
    "lost": Told("lost", [float("nan"), 0.0]),
}


@pytest.fixture(autouse=True)
def known_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    CALLS.clear()
    real = cases_run.register
    monkeypatch.setattr(cases_run, "load_method", METHODS.__getitem__)
    monkeypatch.setattr(cases_run, "register", lambda f, m, *, method: real(f, m, method=METHODS[method]))


def one(seed: int) -> Pair:
    images = torch.rand(2, 1, *GRID.shape, generator=torch.Generator().manual_seed(seed))
    return Pair(*(GRID.to_image(x) for x in images), GRID, GRID, truth=TRUTH)


def case(count: int = 3, fingerprint: str = "a") -> Case:
    return Case("made", {f"pair{k}": (lambda k=k: one(k)) for k in range(count)}, fingerprint)


def test_scores_files_and_failures(tmp_path: Path) -> None:
    summaries = {s.method: s for s in run_case(case(), tmp_path, RunSettings(("right", "near", "broken", "lost")))}
    error = {name: summary.scores["map_error_px"]["mean"] for name, summary in summaries.items()}
    moved = np.hypot(2, 1)
    assert np.isnan(summaries["right"].scores["map_error_px"]["p_value"])  # the best, which the others are tested by
    expected = {"unregistered": moved, "right": 0, "near": 4, "broken": moved, "lost": moved}
    assert error == pytest.approx(expected, abs=1e-5)
    assert {name: summary.failed for name, summary in summaries.items()} == {
        "unregistered": 0, "right": 0, "near": 0, "broken": 3, "lost": 3
    }  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "report.html",
        "results.csv",
        "results.json",
        "rows.jsonl",
    ]
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 15
    assert {row["failure"] for row in rows if row["method"] == "broken"} == {"RuntimeError: no way"}
    assert float(rows[2]["map_error_px"]) == pytest.approx(4) and rows[2]["method"] == "near"
    content = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert [m["method"] for m in content["methods"]] == ["unregistered", "right", "near", "broken", "lost"]
    assert "Benchmark made" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert content["case"] == "made" and content["methods"][1]["scores"]["map_error_px"]["p_value"] is None


def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> Pair:
        raise KeyboardInterrupt

    pairs = case().pairs
    with pytest.raises(KeyboardInterrupt):
        run_case(Case("made", {**pairs, "pair2": interrupt}, "a"), tmp_path, RunSettings(("near", "right")))
    assert CALLS == ["near", "right"] * 2
    assert not (tmp_path / "results.json").exists()
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write('{"pair": "pair2", "meth')  # as a killed process leaves it
    summaries = run_case(case(), tmp_path, RunSettings(("near", "right")))
    assert CALLS == ["near", "right"] * 3
    assert [summary.pairs for summary in summaries] == [3, 3, 3]
    run_case(case(), tmp_path, RunSettings(("near", "right")))
    assert len(CALLS) == 6
    run_case(case(), tmp_path, RunSettings(("near", "right"), resume=False))
    assert len(CALLS) == 12


def test_a_method_added_later_runs_alone_and_failures_are_tried_again(tmp_path: Path) -> None:
    run_case(case(2), tmp_path, RunSettings(("near", "broken")))
    CALLS.clear()
    summaries = run_case(case(2), tmp_path, RunSettings(("near", "right", "broken")))
    assert sorted(CALLS) == ["broken", "broken", "right", "right"]
    assert [summary.failed for summary in summaries] == [0, 0, 0, 2]


@pytest.mark.parametrize("other", [(case(fingerprint="b"), 1), (case(), 2)])
def test_results_of_another_run_are_not_mixed_in(tmp_path: Path, other: tuple[Case, int]) -> None:
    run_case(case(1), tmp_path, RunSettings(("near",)))
    with pytest.raises(ValueError, match=r"holds the results of another case.*--no-resume"):
        run_case(other[0], tmp_path, RunSettings(("near",), threads=other[1]))


def test_threads_are_limited_and_set_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "5")
    before, seen = torch.get_num_threads(), []

    def look() -> Pair:
        seen.append((torch.get_num_threads(), os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"]))
        return one(0)

    run_case(Case("made", {"pair0": look}, ""), tmp_path, RunSettings(("near",), threads=before + 1))
    assert seen == [(before + 1, str(before + 1))]
    assert (torch.get_num_threads(), os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"]) == (before, "5")


def test_unusable_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"methods is \['a', 'a'\], expected one or more different names"):
        RunSettings(("a", "a"))
    with pytest.raises(ValueError, match="threads is 0"):
        RunSettings(("a",), threads=0)
    with pytest.raises(KeyError):
        run_case(case(), tmp_path, RunSettings(("unknown",)))
    assert list(tmp_path.iterdir()) == []
