"""A bundle is found, run and turned into a method; it takes overrides and says what is wrong with them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from monai_cellreg.data.synthetic_sequence import NucleusSequence
from monai_cellreg.geometry import Pair
from monai_cellreg.methods import LearnedMethod, bundle_dir, bundle_method, run_bundle
from monai_cellreg.networks import JointSegmentationRegistration

ROOT = Path(__file__).resolve().parents[2]
POINTS = np.array([[10.0, 20.0], [40.0, 33.0]])


def pair(film: NucleusSequence) -> Pair:
    return Pair.of(*torch.from_numpy(film.images))


def test_unknown_bundle_is_told_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(ValueError, match=r"bundle is 'jiont', expected one of 'dirnet', 'joint', 'segreg'; did"):
        bundle_dir("jiont")
    with pytest.raises(
        ValueError, match=r"bundle is '\.\./joint', which is no folder with a train\.json; .* 'joint', "
    ):
        bundle_dir("../joint")
    with pytest.raises(ValueError, match=r"bundle is 'tests', a folder without a train\.json; expected .* as overlay"):
        bundle_dir("tests")


def test_unknown_overlay_is_told_the_known_ones() -> None:
    known = "'evaluate.json', .*, 'paper.json', 'train_brain.json', 'train_cardiac.json', 'train_mnist.json'; did"
    with pytest.raises(ValueError, match=f"overlay of dirnet is 'train_mnits.json', expected one of {known}"):
        run_bundle("dirnet", ["train_mnits.json"], {})
    with pytest.raises(ValueError, match="overlay of joint is 'metadata.json', expected one of 'evaluate.json', "):
        bundle_method("joint", overlays=["metadata.json"])
    with pytest.raises(FileNotFoundError, match="overlay 'mine/own.json' does not exist; .* or one of evaluate.json, "):
        bundle_method("joint", overlays=["mine/own.json"])


@pytest.mark.parametrize("name", ["joint", "segreg"])
def test_bundle_is_found_from_another_folder(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert bundle_dir(name).resolve() == ROOT / "bundles" / name
    method = bundle_method(name)
    assert isinstance(method, LearnedMethod) and method.network.takes_segmentations == (name == "segreg")


def test_overrides_reach_the_method(film: NucleusSequence, tmp_path: Path) -> None:
    """The weights are those of the file: with all control points moved alike, every point moves by that much."""
    told = JointSegmentationRegistration((32, 32), transformer="tps")
    told.registration.stages[0].network.out.bias.data = torch.tensor([0.1, -0.2]).repeat(25)
    torch.save(told.state_dict(), tmp_path / "told.pt")
    overrides = {"checkpoint": str(tmp_path / "told.pt"), "image_size": 32, "transformer": "tps", "refinement": None}
    for passes in (1, 2):
        moved = bundle_method("joint", {**overrides, "passes": passes}).register(pair(film)).points(POINTS) - POINTS
        pixel = 64 / 32  # of the network's picture
        np.testing.assert_allclose(moved, passes * pixel * 31 / 2 * np.array([[0.1, -0.2]] * 2), atol=1e-4)


def test_weights_of_a_training_that_goes_on_are_taken(film: NucleusSequence, tiny_run: Path) -> None:
    found = []
    for name in ("model.pt", "last.pt"):
        overrides = {"checkpoint": str(tiny_run / name), "image_size": 32, "refinement": None}
        found.append(bundle_method("joint", overrides).register(pair(film)).points(POINTS))
    np.testing.assert_array_equal(*found)


def test_misspelt_override_is_refused() -> None:
    with pytest.raises(KeyError, match="override --imagesize names no key .*: did you mean image_size"):
        bundle_method("joint", {"imagesize": 32})


def test_unusable_weights_are_told(tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"checkpoint '.*none\.pt' does not exist; .* Train first"):
        bundle_method("joint", {"checkpoint": str(tmp_path / "none.pt")})
    with pytest.raises(
        ValueError, match=r"checkpoint .*model\.pt' is not of this network (?s:.*) same settings \(image_size"
    ):
        bundle_method("joint", {"checkpoint": str(tiny_run / "model.pt")})
    (tmp_path / "cut.pt").write_bytes((tiny_run / "model.pt").read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"checkpoint .*cut\.pt' cannot be read .* may be cut off"):
        bundle_method("joint", {"checkpoint": str(tmp_path / "cut.pt")})
    torch.save({"encoder.weight": torch.zeros(3)}, tmp_path / "foreign.pt")
    with pytest.raises(ValueError, match=r"checkpoint .*foreign\.pt' is not of this network"):
        bundle_method("joint", {"checkpoint": str(tmp_path / "foreign.pt")})
    with pytest.raises(ValueError, match="passes is 0; expected at least 1"):
        bundle_method("joint", {"passes": 0, "checkpoint": str(tiny_run / "model.pt"), "image_size": 32})


def test_overrides_reach_the_run_and_misspelt_ones_are_refused(tiny: dict[str, Any], tmp_path: Path) -> None:
    run_bundle("joint", [], {**tiny, "output_dir": str(tmp_path / "run"), "control_shape": [3, 3]})
    assert torch.load(tmp_path / "run" / "model.pt")["registration.stages.0.network.out.weight"].shape[0] == 18
    with pytest.raises(KeyError, match="override --epochs names no key"):
        run_bundle("joint", [], {"epochs": 1})


def own_bundle(root: Path, configs: str, run: Path) -> Path:
    """A bundle of one's own: the files of the shipped one, changed, with the weights of a training in small."""
    folder = root / "mine"
    (folder / configs).mkdir(parents=True)
    for path in bundle_dir("joint").glob("*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        if path.name == "train.json":
            content |= {"bundle_root": ".", "image_size": 32}
        (folder / configs / path.name).write_text(json.dumps(content), encoding="utf-8")
    (folder / "models").mkdir()
    shutil.copy(run / "model.pt", folder / "models")
    return folder


@pytest.mark.parametrize("configs", [".", "configs"])
def test_own_bundle_is_taken_by_its_path(
    configs: str, film: NucleusSequence, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its own settings and weights, wherever it is called from and whatever it says of its folder."""
    folder = own_bundle(tmp_path, configs, tiny_run)
    expected = bundle_method("joint", {"checkpoint": str(tiny_run / "model.pt"), "image_size": 32})
    for path, place in ((folder, ROOT), (Path("mine"), tmp_path), (str(folder), ROOT)):
        monkeypatch.chdir(place)
        assert bundle_dir(path) == Path(path)
        np.testing.assert_array_equal(*(m.register(pair(film)).points(POINTS) for m in (bundle_method(path), expected)))


def test_own_bundle_is_measured_and_says_what_it_has(tiny: dict[str, Any], tiny_run: Path, tmp_path: Path) -> None:
    folder = own_bundle(tmp_path, "configs", tiny_run)
    run_bundle(folder, ["evaluate.json"], {**tiny, "output_dir": str(tmp_path / "measured")})
    assert (tmp_path / "measured" / "metrics.json").is_file()
    (folder / "models" / "model.pt").unlink()
    with pytest.raises(FileNotFoundError, match=r"checkpoint '.*mine/models/model\.pt' does not exist"):
        bundle_method(folder)
    (folder / "configs" / "inference.json").unlink()
    with pytest.raises(ValueError, match=r"overlay of .*mine is 'inference\.json', expected one of 'evaluate\.json', "):
        bundle_method(folder)


def test_a_shipped_name_wins_over_a_folder_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "joint").mkdir()
    (tmp_path / "joint" / "train.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert bundle_dir("joint").resolve() == ROOT / "bundles" / "joint"
    assert bundle_dir("./joint").resolve() == tmp_path / "joint"


def test_own_overlay_changes_a_shipped_bundle(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order in which overlays are given, by a path or the name of a file where the program runs."""
    weights = {"checkpoint": str(tiny_run / "model.pt")}
    for name, size in (("small.json", 32), ("large.json", 64)):
        (tmp_path / name).write_text(json.dumps({"image_size": size}))
    monkeypatch.chdir(tmp_path)
    for last, other in ((Path("small.json"), tmp_path / "large.json"), (str(tmp_path / "small.json"), "large.json")):
        assert isinstance(bundle_method("joint", weights, overlays=[other, last]), LearnedMethod)
        with pytest.raises(ValueError, match="is not of this network"):
            bundle_method("joint", weights, overlays=[last, other])
