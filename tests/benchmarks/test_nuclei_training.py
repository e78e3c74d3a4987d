"""The networks of the benchmark: what each training is told, what is used again, and what is refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from monai_cellreg.benchmarks import runs, side_by_side
from monai_cellreg.benchmarks.nuclei_training import Recipe, trained_networks
from monai_cellreg.engines import StrictConfigWorkflow
from monai_cellreg.methods import bundle_dir

Told = list[tuple[str, list[str], dict[str, Any]]]
SMALL = Recipe(simulated=50, image_size=32, max_epochs=3, made_pairs=20, seeds=2, jobs=2)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """What bundles are told, in place of running them; in threads, in place of processes."""
    calls: Told = []

    def listen(name: str, overlays: list[str], overrides: Mapping[str, Any]) -> None:
        files = [str(bundle_dir(name) / file) for file in ("train.json", *overlays)]
        StrictConfigWorkflow(files, overrides=overrides)  # refuses an unknown key
        calls.append((name, overlays, dict(overrides)))
        folder = Path(overrides["output_dir"])
        if not overlays:
            (folder / "model.pt").write_bytes(str(folder).encode())
            return
        with (folder / "pairs.csv").open("w", newline="") as file:
            rows = csv.DictWriter(file, ["pair", "group", "registration_iou"])
            rows.writeheader()
            rows.writerow({"pair": 0, "group": "a", "registration_iou": 0.9 + overrides["seed"] / 100})

    def threads(count: int, mp_context: object) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1)  # what is printed is caught for the whole process

    monkeypatch.setattr(runs, "run_bundle", listen)
    monkeypatch.setattr(side_by_side, "ProcessPoolExecutor", threads)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    return calls


def test_all_networks_have_one_recipe_and_every_seed(told: Told, tmp_path: Path) -> None:
    found = trained_networks(["TPS", "TPS-Joint", "TPS-Joint-Cycle"], tmp_path, SMALL)
    labels = [(network.name, network.seed) for network in found]
    assert labels == [(name, seed) for name in ("TPS", "TPS-Joint", "TPS-Joint-Cycle") for seed in (0, 1)]
    assert [network.made for network in found] == [[{"registration_iou": 0.9}], [{"registration_iou": 0.91}]] * 3
    assert [network.weights for network in found] == [tmp_path / f"{n}-{s}" / "model.pt" for n, s in labels]
    assert len({network.fingerprint for network in found}) == 6
    same = {"simulated": 50, "image_size": 32, "max_epochs": 3, "batch_size": 8, "amp": False, "validation_items": 20}
    trainings = [(name, overrides) for name, overlays, overrides in told if not overlays]
    assert len(trainings) == 6 and all(same.items() <= overrides.items() for _, overrides in trainings)
    weights = {(n, o["seed"], o.get("objective::terms::cycle::weight")) for n, o in trainings}
    assert weights == {(n, s, w) for n, w in (("segreg", None), ("joint", 0.0), ("joint", 0.1)) for s in (0, 1)}
    for _, overlays, overrides in told:
        if overlays:
            assert overrides["passes"] == 1 and overrides["simulated"] == 20 == overrides["validation_items"]


def test_what_is_there_is_used_again(told: Told, tmp_path: Path) -> None:
    first = trained_networks(["TPS"], tmp_path, SMALL)
    count = len(told)
    assert trained_networks(["TPS"], tmp_path, SMALL) == first and len(told) == count
    trained_networks(["TPS"], tmp_path, SMALL, resume=False)
    assert len(told) > count
    with pytest.raises(ValueError, match="holds a training with the settings"):
        trained_networks(["TPS"], tmp_path, Recipe(simulated=51, image_size=32, max_epochs=3, made_pairs=20))
    assert trained_networks([], tmp_path, SMALL) == []


def test_weights_from_elsewhere_need_no_training(told: Told, tmp_path: Path) -> None:
    given = tmp_path / "given" / "TPS-Joint-0"
    given.mkdir(parents=True)
    (given / "model.pt").write_bytes(b"mine")
    (given / "settings.json").write_text(json.dumps({"settings": {"image_size": 64}, "finished": True}))
    recipe = Recipe(simulated=50, image_size=32, max_epochs=3, seeds=2, weights=str(tmp_path / "given"))
    mine, other = trained_networks(["TPS-Joint"], tmp_path / "out", recipe)
    assert (mine.weights, mine.image_size) == (given / "model.pt", 64)
    assert (other.weights, other.image_size) == (tmp_path / "out" / "TPS-Joint-1" / "model.pt", 32)
    assert [overrides["seed"] for _, overlays, overrides in told if not overlays] == [1]
    evaluation = next(overrides for _, overlays, overrides in told if overlays and overrides["seed"] == 0)
    assert (evaluation["image_size"], evaluation["checkpoint"]) == (64, str(given / "model.pt"))
    assert sorted(path.name for path in given.iterdir()) == ["model.pt", "settings.json"]


def test_a_folder_to_train_on_is_also_what_held_out_pairs_are_of() -> None:
    recipe = Recipe("mine", simulated=0)
    assert recipe.training("Affine", 4)["dataset_dir"] == "mine" and recipe.training("Affine", 4)["seed"] == 4
    assert recipe.training("Affine", 4)["validation_items"] == 96
    assert recipe.held_out() == {"dataset_dir": "mine", "simulated": 0, "validation_items": 400}


def test_a_training_that_fails_ends_the_run(told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("no nuclei")

    monkeypatch.setattr(runs, "run_bundle", fail)
    with pytest.raises(ValueError, match="no nuclei"):
        trained_networks(["TPS"], tmp_path, SMALL)


def test_unusable_recipes_are_refused(tmp_path: Path) -> None:
    for name in ("image_size", "max_epochs", "seeds", "made_pairs", "jobs"):
        with pytest.raises(ValueError, match=f"{name} is 0"):
            Recipe(**{name: 0})
    with pytest.raises(ValueError, match="simulated is 0; expected 1 or more, or a folder"):
        Recipe(simulated=0)
    with pytest.raises(FileNotFoundError, match="is not a folder; expected one with NAME-SEED/model.pt"):
        Recipe(weights=str(tmp_path / "absent"))
