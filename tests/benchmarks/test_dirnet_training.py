"""What trainings of DIRNet are told, what is used again, and how networks take part."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from monai_cellreg.benchmarks import runs, side_by_side
from monai_cellreg.benchmarks.dirnet_networks import DIGITS, HEARTS
from monai_cellreg.benchmarks.dirnet_training import DirnetRecipe, trained_dirnets
from monai_cellreg.engines import StrictConfigWorkflow
from monai_cellreg.geometry import Pair, SamplingGrid
from monai_cellreg.methods import LearnedMethod, bundle_dir

Told = list[tuple[list[str], dict[str, Any]]]
RECIPE = DirnetRecipe("train_cardiac.json", {"simulated": 3}, {"max_epochs": 2, "image_size": [32, 48]}, seeds=2)
POINTS = np.argwhere(np.ones((32, 48))).astype(float)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """What the bundle is told, in place of training: the weights are those that it begins with, a little changed."""
    calls: Told = []

    def listen(name: str, overlays: list[str], overrides: Mapping[str, Any]) -> None:
        files = [str(bundle_dir(name) / file) for file in ("train.json", *overlays)]
        workflow = StrictConfigWorkflow(files, overrides=overrides)
        calls.append((overlays, dict(overrides)))
        torch.manual_seed(overrides["seed"])
        weights = workflow.parser.get_parsed_content("network_def").state_dict()
        for key, value in weights.items():
            if value.dtype.is_floating_point and "running" not in key:
                value += 0.02 * torch.randn(value.shape)
        torch.save(weights, Path(overrides["output_dir"]) / "model.pt")
        print("epoch 1/2: registration_ncc 0.5000\nepoch 2/2: registration_ncc 0.7500")

    monkeypatch.setattr(runs, "run_bundle", listen)
    monkeypatch.setattr(side_by_side, "ProcessPoolExecutor", lambda count, mp_context: ThreadPoolExecutor(1))
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    return calls


def entries(*names: str) -> dict[str, Any]:
    return {name: HEARTS[name] for name in names}


def test_all_networks_have_one_recipe_and_every_seed(told: Told, tmp_path: Path) -> None:
    found = trained_dirnets(entries("DIRNet-A1", "DIRNet-best"), tmp_path, RECIPE)
    assert [(n.name, n.seed) for n in found] == [
        ("DIRNet-A1", 0),
        ("DIRNet-A1", 1),
        ("DIRNet-best", 0),
        ("DIRNet-best", 1),
    ]
    assert [n.weights.parent.name for n in found] == ["DIRNet-A1-0", "DIRNet-A1-1", "DIRNet-best-0", "DIRNet-best-1"]
    assert all(n.curve == {1: 0.5, 2: 0.75} for n in found)
    same = {"simulated": 3, "max_epochs": 2, "image_size": [32, 48]}
    assert all(same.items() <= overrides.items() for _, overrides in told)
    assert [(o, v.get("variant"), v["seed"]) for o, v in told] == [
        (["train_cardiac.json", "paper.json"], "A1", 0), (["train_cardiac.json", "paper.json"], "A1", 1),
        (["train_cardiac.json"], None, 0), (["train_cardiac.json"], None, 1),
    ]  # fmt: skip
    assert trained_dirnets(entries("DIRNet-A1", "DIRNet-best"), tmp_path, RECIPE) == found and len(told) == 4
    trained_dirnets(entries("DIRNet-A1"), tmp_path, RECIPE, resume=False)
    assert len(told) == 6
    other = DirnetRecipe("train_cardiac.json", {"simulated": 4}, RECIPE.settings)
    with pytest.raises(ValueError, match="holds a training with the settings"):
        trained_dirnets(entries("DIRNet-A1"), tmp_path, other)


def test_a_contender_is_the_network_in_one_pass_or_refined(told: Told, tmp_path: Path) -> None:
    (network, _) = trained_dirnets(entries("DIRNet-B1"), tmp_path, RECIPE)
    single, refined = network.contender("DIRNet-B1"), network.contender("mine", refined=True)
    assert (single.label, refined.label, refined.name) == ("DIRNet-B1-0", "mine-0", "mine")
    assert single.weights == refined.weights != ""
    assert isinstance(single.method, LearnedMethod) and isinstance(refined.method, LearnedMethod)
    assert single.method.refinement is None and refined.method.refinement is not None
    kept = torch.load(network.weights, weights_only=True)
    assert all(torch.equal(value, kept[key]) for key, value in single.method.network.state_dict().items())
    assert single.method.network.image_size == (32, 48)
    axes = torch.meshgrid(torch.arange(32.0), torch.arange(48.0), indexing="ij")
    fixed, moving = (torch.exp(-((axes[0] - 14 - s) ** 2 + (axes[1] - 24) ** 2) / 60)[None] for s in (0, 3))
    pair = Pair(fixed, moving, SamplingGrid((32, 48)), SamplingGrid((32, 48)))
    maps = [c.register([pair])[0].transform for c in (single, refined)]
    first, second = (np.asarray(found.points(POINTS)) for found in maps if found is not None)
    assert np.abs(first - second).max() > 0.1


def test_given_weights_need_no_training(told: Told, tmp_path: Path) -> None:
    trained_dirnets(entries("DIRNet-C1"), tmp_path / "given", RECIPE)
    folder = tmp_path / "given" / "DIRNet-C1-0"
    other = DirnetRecipe("train_cardiac.json", {"simulated": 9}, weights=str(tmp_path / "given"))
    (found,) = trained_dirnets(entries("DIRNet-C1"), tmp_path / "out", other)
    assert found.weights == folder / "model.pt" and found.shape["image_size"] == [32, 48] and len(told) == 2
    assert found.overlays == ["train_cardiac.json", "paper.json"] and found.curve == {1: 0.5, 2: 0.75}
    single = DirnetRecipe("train_mnist.json", {"dataset_dir": "d"}, weights=str(folder / "model.pt"))
    (found,) = trained_dirnets({"DIRNet": DIGITS["DIRNet"]}, tmp_path / "out", single)
    assert found.weights == folder / "model.pt" and not (tmp_path / "out").exists()
    trained_dirnets(entries("DIRNet-A2"), tmp_path / "out", other)
    assert told[-1][1]["simulated"] == 9
    (folder / "settings.json").write_text(json.dumps({}))
    (bare,) = trained_dirnets(entries("DIRNet-C1"), tmp_path / "out", other)
    assert bare.shape == {"variant": "C1"}


def test_recipes_say_what_they_are_and_are_checked(tmp_path: Path) -> None:
    assert RECIPE.in_words() == "train_cardiac.json, simulated 3, max_epochs 2, image_size [32, 48], seeds: 2"
    words = DirnetRecipe("a.json", {}, weights=str(tmp_path)).in_words()
    assert words.startswith(f"weights of {tmp_path} where it has them, else a.json")
    for name in ("seeds", "jobs"):
        with pytest.raises(ValueError, match=f"{name} is 0"):
            DirnetRecipe("a.json", {}, **{name: 0})
    for name in ("max_epochs", "pairs_per_epoch"):
        with pytest.raises(ValueError, match=f"{name} is 0"):
            DirnetRecipe("a.json", {}, {name: 0})
    with pytest.raises(FileNotFoundError, match="does not exist; expected a folder with NAME-SEED/model.pt"):
        DirnetRecipe("a.json", {}, weights=str(tmp_path / "absent"))
