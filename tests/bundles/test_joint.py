"""The joint bundle: the paper's settings, its ablations, a start from a registration alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from monai_cellreg.methods import run_bundle

Settings = dict[str, Any]

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file")  # MONAI's reminder that a bundle is code


def test_paper_settings(joint: Any) -> None:
    train = joint.content("train.json")
    terms = train["objective"]["terms"]
    assert (train["control_shape"], train["registers"]) == ([5, 5], "masks")
    assert train["learning_rate"] == 0.001 and train["train"]["optimizer"]["_target_"] == "torch.optim.Adam"
    assert (terms["transformation"]["weight"], terms["cycle"]["weight"]) == (1.0, 0.1)


def test_ablations_are_single_overrides(joint: Any, tiny: Settings, tmp_path: Path) -> None:
    """Without the cycle loss, and with the heat maps as they are, of other transformation models."""
    changes = {"transformer": "affine_flownet", "registers": "heat_maps", "objective::terms::cycle::weight": 0.0}
    run_bundle("joint", [], {**tiny, **changes, "output_dir": str(tmp_path)})
    names = {name.split(".")[0] for name in torch.load(tmp_path / "model.pt")}
    assert names == {"segmentation", "registration"}


def test_joint_training_starts_from_a_registration_trained_on_segmentations(
    joint: Any, segreg: Any, tiny: Settings, tmp_path: Path
) -> None:
    same = {**tiny, "transformer": "tps", "learning_rate": 0.01}
    run_bundle("segreg", [], {**same, "output_dir": str(tmp_path / "alone")})
    weights = torch.load(tmp_path / "alone" / "model.pt")
    out = "registration.stages.0.network.out.weight"
    assert all(name.startswith("registration.") for name in weights) and weights[out].abs().max() > 0
    start = {**same, "initial_weights": str(tmp_path / "alone" / "model.pt")}
    trained = {}
    for name, more in (("frozen", {"frozen": ["registration"]}), ("free", {"frozen": []})):
        joint.run_as_typed("--initial_weights", {**start, **more, "output_dir": str(tmp_path / name)})
        trained[name] = torch.load(tmp_path / name / "last.pt")["network"]
    learnt = [name for name in weights if name.endswith((".weight", ".bias"))]
    assert [name for name in learnt if not torch.equal(trained["frozen"][name], weights[name])] == []
    assert not torch.equal(trained["free"][out], weights[out])
    assert torch.load(tmp_path / "frozen" / "last.pt")["optimizer"]["state"]  # the segmentation was trained
    start["initial_weights"] = str(segreg.run_dir / "model.pt")  # of another transformer
    with pytest.raises(RuntimeError, match="load_weights") as caught:
        run_bundle("joint", [], {**start, "output_dir": str(tmp_path / "refused")})
    assert "is not of this network" in str(caught.value.__cause__)
