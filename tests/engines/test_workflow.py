"""Overrides that name no key are refused with a suggestion; all others reach the configuration."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from monai_cellreg.engines import StrictConfigWorkflow

TRAIN = Path(__file__).resolve().parents[2] / "bundles" / "joint" / "train.json"


def workflow(**overrides: Any) -> StrictConfigWorkflow:
    return StrictConfigWorkflow(str(TRAIN), overrides={key.replace("__", "::"): v for key, v in overrides.items()})


@pytest.mark.parametrize(
    "key, value",
    [
        ("max_epochs", 3),
        ("objective::terms::cycle::weight", 0.5),
        ("objective#terms#cycle#weight", 0.5),
        ("network_def::features::5", 4),
        ("train::handlers::1::interval", 2),
        ("train::sampler::rank", None),
    ],
)
def test_existing_key_is_replaced(key: str, value: Any) -> None:
    before = StrictConfigWorkflow(str(TRAIN)).parser[key]
    after = StrictConfigWorkflow(str(TRAIN), overrides={key: value}).parser[key]
    assert before != after == value


@pytest.mark.parametrize(
    "key, suggestion",
    [
        ("max_epoch", "did you mean max_epochs"),
        ("learningrate", "did you mean learning_rate"),
        ("train::trainer::max_epoch", "did you mean train::trainer::max_epochs"),
        ("train#trainer#max_epoch", "did you mean train::trainer::max_epochs"),
        ("objective::terms::cicle::weight", "did you mean objective::terms::cycle::weight"),
        ("alpha", "objective::terms::cycle::loss::alpha"),
        ("network_def::features::6", "did you mean network_def::features"),
        ("max_epochs::nested", "did you mean max_epochs"),
        ("zzzzzz", "expected one of imports, dataset_dir, simulated, crops, output_dir"),
    ],
)
def test_unknown_key_is_refused_with_a_suggestion(key: str, suggestion: str) -> None:
    text = rf"override --{re.escape(key)} names no key of .*: .*{re.escape(suggestion)}"
    with pytest.raises(KeyError, match=text):
        StrictConfigWorkflow(str(TRAIN), overrides={key: 1})


def test_references_follow_an_override() -> None:
    tiny = workflow(image_size=32, control_shape=[3, 4])
    tiny.initialize()
    network = tiny.parser.get_parsed_content("network")
    assert network.registration.stages[0].field.parameter_shape == (12, 2)
    assert network.image_size == (32, 32)
    tiny.finalize()


def test_files_are_merged_before_overrides_are_checked(tmp_path: Path) -> None:
    (tmp_path / "base.json").write_text(json.dumps({"a": 1, "run": ["$@a + @b"]}))
    (tmp_path / "more.json").write_text(json.dumps({"b": 10}))
    files = [str(tmp_path / "base.json"), str(tmp_path / "more.json")]
    merged = StrictConfigWorkflow(files, overrides={"b": 20})
    merged.initialize()
    assert merged.run() == [21]


def test_missing_configuration_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"Cannot find the config file: .*none\.json"):
        StrictConfigWorkflow(str(tmp_path / "none.json"))


def test_folder_that_cannot_be_written_stops_the_bundle_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    training = workflow(output_dir=str(tmp_path / "file" / "run"))
    with pytest.raises(RuntimeError, match="ensure_writable_dir") as caught:
        training.initialize()
    assert isinstance(caught.value.__cause__, NotADirectoryError)
    assert f"because {tmp_path / 'file'} is not a folder" in str(caught.value.__cause__)
