"""The table of the joint method: the arithmetic against SciPy and by hand, and what every run is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from monai_cellreg.benchmarks import joint
from monai_cellreg.benchmarks.joint import ARMS, COLUMNS, compare
from monai_cellreg.engines import StrictConfigWorkflow
from monai_cellreg.methods import bundle_dir

WITHOUT, WITH = ARMS
Found = dict[tuple[str, int], list[dict[str, float]]]


def found(scores: dict[str, list[list[float]]]) -> Found:
    """Scores by arm, seed and pair as the runs give them."""
    return {
        (arm, seed): [{"registration_iou": score} for score in row]
        for arm, rows in scores.items()
        for seed, row in enumerate(rows)
    }


def test_arms_are_without_and_with_the_cycle_loss() -> None:
    assert ARMS[WITHOUT] == 0 < ARMS[WITH]
    assert ("Cycle" in WITHOUT, "Cycle" in WITH) == (False, True)


def test_comparison_by_hand() -> None:
    scores = {WITHOUT: [[0.90, 0.92, 0.94], [0.80, 0.92, 0.98]], WITH: [[0.93, 0.94, 0.95], [0.87, 0.94, 0.99]]}
    answer = compare(found(scores), 2)
    assert answer["registration_iou"] == pytest.approx({WITHOUT: 5.46 / 6, WITH: 5.62 / 6})
    assert answer["gain_by_seed"] == pytest.approx([0.02, 0.1 / 3])
    assert answer["gain"] == pytest.approx(0.16 / 6)
    assert answer["pairs"] == 3
    gains = np.array([0.05, 0.02, 0.01])  # of each pair, as a mean over the seeds
    t = gains.mean() / (gains.std(ddof=1) / np.sqrt(3))
    assert answer["p_value"] == pytest.approx(2 * stats.t.sf(t, df=2))


def test_p_value_is_that_of_pairs_not_of_runs() -> None:
    rng = np.random.default_rng(0)
    without = rng.uniform(0.8, 0.95, (3, 40))
    with_cycle = without + rng.normal(0.004, 0.02, (3, 40))
    answer = compare(found({WITHOUT: without.tolist(), WITH: with_cycle.tolist()}), 3)
    gains = (with_cycle - without).mean(axis=0)
    assert answer["p_value"] == pytest.approx(stats.ttest_1samp(gains, 0).pvalue)
    assert answer["p_value"] != pytest.approx(stats.ttest_rel(with_cycle.ravel(), without.ravel()).pvalue)


@pytest.fixture
def threads() -> Iterator[None]:
    """Takes back the number of threads that the runs set."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
def test_every_arm_runs_with_every_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told: dict[str, dict[str, Any]] = {}

    def listen(name: str, folder: Path, settings: dict[str, Any]) -> list[dict[str, float]]:
        StrictConfigWorkflow(str(bundle_dir(name) / "train.json"), overrides=settings)  # refuses an unknown key
        told[folder.name] = {"name": name, **settings}
        score, gain = 0.9 + settings["seed"] / 100, settings["objective::terms::cycle::weight"] / 10
        return [{column: score + pair * (0.001 + gain) for column in COLUMNS} for pair in range(3)]

    monkeypatch.setattr(joint, "train_and_evaluate", listen)
    monkeypatch.setattr(joint, "ProcessPoolExecutor", lambda jobs, mp_context: ThreadPoolExecutor(jobs))
    joint.main(["--out", str(tmp_path), "--seeds=2", "--dataset_dir=nuclei", "--image_size=64", "--max_epochs=3"])
    assert set(told) == {f"{arm}-{seed}" for arm in ARMS for seed in range(2)}
    for folder, settings in told.items():
        arm, _, seed = folder.rpartition("-")
        assert settings["objective::terms::cycle::weight"] == ARMS[arm]
        assert (settings["name"], settings["seed"]) == ("joint", int(seed))
        assert (settings["dataset_dir"], settings["image_size"], settings["max_epochs"]) == ("nuclei", 64, 3)
    table = json.loads((tmp_path / "table.json").read_text())
    assert [row["method"] for row in table["rows"]] == [f"{arm} seed {seed}" for seed in range(2) for arm in ARMS]
    expected = 0.9 + 0.01 + 0.001 + ARMS[WITH] / 10  # the middle one of three pairs
    assert table["rows"][-1]["registration_iou"] == pytest.approx(expected)
    assert table["comparison"]["gain"] == pytest.approx((ARMS[WITH] - ARMS[WITHOUT]) / 10)
    assert f"{WITH} seed 1" in capsys.readouterr().out
