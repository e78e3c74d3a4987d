"""The segreg bundle: the paper's transformation models by one override, and registration of masks and labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

from monai_cellreg.methods import PairFiles, bundle_method, register_files, run_bundle
from monai_cellreg.networks import cascade_of

Settings = dict[str, Any]
PAPER = ("affine", "gaussian", "tps", "flownet", "affine_flownet", "gaussian_flownet", "tps_flownet")

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file")  # MONAI's reminder that a bundle is code


def test_paper_settings(segreg: Any) -> None:
    train = segreg.content("train.json")
    assert (train["transformer"], train["control_shape"]) == ("tps_flownet", [5, 5])
    assert train["learning_rate"] == 0.001 and train["train"]["optimizer"]["_target_"] == "torch.optim.Adam"
    assert train["objective"]["terms"]["transformation"]["weight"] == 1.0
    assert not train["network_def"]["segment"] and train["train"]["prepare_batch"]["labels_only"]


@pytest.mark.parametrize("transformer", PAPER)
def test_every_transformer_of_the_paper_by_one_override(transformer: str, tiny: Settings, tmp_path: Path) -> None:
    changes = {"transformer": transformer, "learning_rate": 0.01}
    run_bundle("segreg", [], {**tiny, **changes, "output_dir": str(tmp_path)})
    weights = torch.load(tmp_path / "last.pt")["network"]
    expected = cascade_of(transformer, (32, 32)).state_dict()
    assert {name: value.shape for name, value in weights.items()} == {
        f"registration.{name}": value.shape for name, value in expected.items()
    }
    for stage, name in enumerate(transformer.split("_")):  # those that start at zero
        last = ["flows.0", "flows.1", "flows.2"] if name == "flownet" else ["out"]
        layers = [f"registration.stages.{stage}.network.{layer}" for layer in last]
        assert all(weights[f"{layer}{'.conv' * (name == 'flownet')}.weight"].abs().max() > 0 for layer in layers)


def test_unknown_transformer_is_told_the_known_ones(tiny: Settings, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError) as caught:
        run_bundle("segreg", [], {**tiny, "transformer": "tps-flownet", "output_dir": str(tmp_path)})
    cause: BaseException | None = caught.value
    while cause is not None and "transformer is 'tps-flownet'" not in str(cause):
        cause = cause.__cause__
    assert "expected one of affine, gaussian, tps, flownet, or several joined" in str(cause)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float(((one > 0) & (other > 0)).sum() / ((one > 0) | (other > 0)).sum())


def overlaps(folder: Path, warped: str) -> tuple[float, float]:
    """IoU of the labels of a film before and after."""
    fixed, moving = (tifffile.imread(folder / f"label{t}.tif") for t in range(2))
    return iou(fixed, moving), iou(fixed, tifffile.imread(folder / "out" / warped))


def test_inference_registers_two_label_files(segreg: Any, film_files: Path) -> None:
    fixed, moving = (str(film_files / f"label{t}.tif") for t in range(2))
    segreg.run_as_typed("inference.json", {"fixed": fixed, "moving": moving, "output_dir": str(film_files / "out")})
    before, after = overlaps(film_files, "warped.tif")
    assert after > before + 0.02 and after > 0.9


def test_labels_beside_the_images_are_registered(film_files: Path) -> None:
    images = [film_files / f"day{t}.tif" for t in range(2)]
    known = PairFiles(fixed_label=film_files / "label0.tif", moving_label=film_files / "label1.tif")
    register_files(*images, film_files / "out", method=bundle_method("segreg"), known=known)
    before, after = overlaps(film_files, "warped_label.tif")
    assert after > before + 0.02 and after > 0.9
    told = json.loads((film_files / "out" / "metrics.json").read_text())
    assert any("The given labels were registered" in sentence for sentence in told["account"])
