"""What the files of every bundle name exists, says what MONAI looks for, and fits the network."""

from __future__ import annotations

import json
import logging
import pydoc
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigWorkflow
from monai.data import DistributedSampler

from monai_cellreg import __version__
from monai_cellreg.engines import StrictConfigWorkflow
from monai_cellreg.networks import PairAsChannels

ROOT = Path(__file__).resolve().parents[2]
OVERLAYS = ("evaluate.json", "inference.json", "multi_gpu_train.json")
CONFIGURATIONS = [
    (path.parent.name, path.name)
    for path in sorted((ROOT / "bundles").glob("*/*.json"))
    if path.name != "metadata.json"
]

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file")  # MONAI's reminder that a bundle is code


def test_training_and_run_are_the_same(bundle: Any) -> None:
    train, evaluate = bundle.content("train.json"), bundle.content("evaluate.json")
    assert train["training"] == train["run"] and evaluate["evaluating"] == evaluate["run"]


def test_every_bundle_has_the_common_files(bundle: Any) -> None:
    assert {"train.json", *OVERLAYS} <= {file for name, file in CONFIGURATIONS if name == bundle.name}


@pytest.mark.parametrize(("bundle", "file"), CONFIGURATIONS, indirect=["bundle"])
def test_all_that_a_file_names_exists(bundle: Any, file: str) -> None:
    text = bundle.text(file)
    targets = set(re.findall(r'"_target_": "([\w.]+)"', text)) | set(re.findall(r"\bmonai_cellreg(?:\.\w+)+", text))
    assert len(targets) > {"train.json": 15}.get(file, 0 if file in OVERLAYS else -1)
    assert [target for target in sorted(targets) if not callable(pydoc.locate(target))] == []
    train = StrictConfigWorkflow(str(bundle.folder / "train.json")).parser
    own = file not in OVERLAYS  # those bring keys of their own
    names = [key for key in bundle.content(file) if own or "::" in key]
    assert [key for key in names if key not in train and f"{key.rpartition('::')[0]}::_target_" not in train] == []


@pytest.mark.parametrize(("bundle", "file"), CONFIGURATIONS, indirect=["bundle"])
def test_all_that_a_file_refers_to_exists(bundle: Any, file: str) -> None:
    merged = StrictConfigWorkflow([str(bundle.folder / "train.json"), str(bundle.folder / file)]).parser
    references = set(re.findall(r"@(\w+(?:::\w+)*)", bundle.text(file)))
    assert [reference for reference in sorted(references) if reference not in merged] == []


@pytest.mark.parametrize("bundle", ["joint", "segreg"], indirect=True)
@pytest.mark.parametrize(
    ("file", "inferer"), [("evaluate.json", "validate::inferer::passes"), ("inference.json", "passes")]
)
def test_passes_reach_what_registers(bundle: Any, file: str, inferer: str) -> None:
    files = [str(bundle.folder / name) for name in ("train.json", file)]
    for overrides, expected in (({}, bundle.content(file)["passes"]), ({"passes": 7}, 7)):
        assert StrictConfigWorkflow(files, overrides=overrides).parser.get_parsed_content(inferer) == expected


@pytest.mark.parametrize("file", ["evaluate.json", "inference.json"])
def test_bundles_differ_in_nothing_but_their_training_passes_and_refinement(joint: Any, segreg: Any, file: str) -> None:
    contents = [json.loads(bundle.text(file).replace("segreg", "joint")) for bundle in (joint, segreg)]
    for content in contents:
        del content["passes"]
        content.pop("refinement", None)
    assert contents[0] == contents[1]


def test_files_of_the_bundle_are_its_own(bundle: Any) -> None:
    train = bundle.content("train.json")
    assert train["output_dir"] == f"runs/{bundle.name}"
    assert f"bundle_dir('{bundle.name}')" in train["bundle_root"]
    assert (bundle.folder / "models" / "model.pt").stat().st_size < 10_000_000  # small enough for git


def test_monai_finds_the_parts_that_it_looks_for(bundle: Any, tmp_path: Path) -> None:
    path = str(bundle.folder / "train.json")
    workflow = ConfigWorkflow(path, workflow_type="train", **bundle.tiny, output_dir=str(tmp_path))
    workflow.initialize()
    assert workflow.check_properties() == []
    assert Path(workflow.bundle_root).resolve() == bundle.folder
    assert workflow.max_epochs == bundle.tiny["max_epochs"]
    assert len(workflow.train_dataset) == bundle.tiny[bundle.count_key]
    workflow.finalize()


def test_average_of_the_weights_is_kept_for_a_resume(bundle: Any) -> None:
    handlers = bundle.content("train.json")["train"]["handlers"]
    names = [handler["_target_"].split(".")[-1] for handler in handlers]
    assert names.index("WeightAverage") < names.index("Checkpoints")
    kept = handlers[names.index("Checkpoints")]["state"]["average"]
    assert kept == f"@train::handlers::{names.index('WeightAverage')}"


def test_metadata_is_what_monai_expects(bundle: Any) -> None:
    metadata = bundle.content("metadata.json")
    required = {"version", "changelog", "monai_version", "pytorch_version", "numpy_version", "task", "description"}
    required |= {"required_packages_version", "authors", "copyright", "network_data_format", "schema"}
    assert required - set(metadata) == set() and "monai_cellreg" in metadata["required_packages_version"]
    assert metadata["version"] in metadata["changelog"]
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE))
    keys = {"monai": "monai_version", "torch": "pytorch_version", "numpy": "numpy_version"}
    versions = {name: metadata[key] for name, key in keys.items()}
    versions |= metadata["required_packages_version"]
    assert versions == {name: __version__ if name == "monai_cellreg" else pins[name] for name in versions}
    size = bundle.content("train.json")["image_size"]
    form = metadata["network_data_format"]
    for part in (*form["inputs"].values(), *form["outputs"].values()):
        assert part["spatial_shape"] == (size if isinstance(size, list) else [size, size])
        assert len(part["channel_def"]) == part["num_channels"]


def test_metadata_names_what_the_exported_network_takes_and_gives(bundle: Any) -> None:
    """One tensor each, under the names that MONAI's tools look for."""
    form = bundle.content("metadata.json")["network_data_format"]
    assert list(form["inputs"]) == ["image"] and list(form["outputs"]) == ["pred"]
    image, pred = form["inputs"]["image"], form["outputs"]["pred"]
    network = StrictConfigWorkflow(str(bundle.folder / "train.json")).parser.get_parsed_content("network_def")
    given = torch.rand(1, image["num_channels"], *image["spatial_shape"], dtype=getattr(torch, image["dtype"]))
    with torch.no_grad():
        answer = PairAsChannels(network.eval())(given)
    assert answer.shape == (1, pred["num_channels"], *pred["spatial_shape"])
    assert answer.dtype == getattr(torch, pred["dtype"])


def test_logging_goes_to_the_console_and_ignite_only_warns(bundle: Any) -> None:
    StrictConfigWorkflow(str(bundle.folder / "train.json"))
    root, ignite = logging.getLogger(), logging.getLogger("ignite")
    assert root.getEffectiveLevel() == logging.INFO
    assert [handler.stream for handler in root.handlers if type(handler) is logging.StreamHandler] == [sys.stdout]
    assert ignite.getEffectiveLevel() == logging.WARNING and ignite.propagate


def test_processes_validate_as_many_batches_each(bundle: Any) -> None:
    """Where one process had a batch more, its collective operations would wait for the others for ever."""
    options = bundle.content("multi_gpu_train.json")["validate::sampler"]
    options = {name: value for name, value in options.items() if name not in ("_target_", "dataset")}
    parts = [list(DistributedSampler(range(5), num_replicas=2, rank=rank, **options)) for rank in range(2)]
    assert len(parts[0]) == len(parts[1]) and set(parts[0]) | set(parts[1]) == set(range(5))
