"""The joint bundle trains as it is documented to be called, and all that its configuration names exists."""

from __future__ import annotations

import json
import os
import pydoc
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]
TRAIN = "bundles/joint/train.json"
TINY = ("--image_size=32", "--simulated=8", "--batch_size=4", "--max_epochs=1", "--validation_items=4")


def configuration() -> dict[str, Any]:
    return json.loads((ROOT / TRAIN).read_text(encoding="utf-8"))


def values(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every innermost key and value; those of a list under the key of the list."""
    if isinstance(node, dict | list):
        for name, part in node.items() if isinstance(node, dict) else ((key, part) for part in node):
            yield from values(part, name)
    else:
        yield key, node


def test_two_iterations_by_the_documented_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", TRAIN, *TINY]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, f"--output_dir={tmp_path / 'run'}"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    last = torch.load(tmp_path / "run" / "last.pt")
    assert (last["run"]["epoch"], last["run"]["iteration"]) == (1, 2)
    assert (tmp_path / "run" / "model.pt").is_file()
    assert list((tmp_path / "run" / "tensorboard").glob("events.out.*"))
    assert re.search(r"epoch 1/1: .*registration_iou 0\.\d+", done.stdout + done.stderr)
    assert re.search(r"segmentation=.*transformation=.*cycle=.*loss=", done.stdout + done.stderr)


def test_training_and_run_are_the_same() -> None:
    assert configuration()["training"] == configuration()["run"]


def test_every_target_can_be_called() -> None:
    targets = {value for key, value in values(configuration()) if key == "_target_"}
    assert len(targets) > 10
    assert [target for target in sorted(targets) if not callable(pydoc.locate(target))] == []


def test_every_name_of_the_package_in_an_expression_exists() -> None:
    expressions = [value for _, value in values(configuration()) if isinstance(value, str) and value.startswith("$")]
    names = {name for expression in expressions for name in re.findall(r"\bmonai_cellreg(?:\.\w+)+", expression)}
    assert len(names) > 5
    assert [name for name in sorted(names) if pydoc.locate(name) is None] == []


def test_paper_settings() -> None:
    train = configuration()
    terms = train["objective"]["terms"]
    assert train["control_shape"] == [5, 5]
    assert train["learning_rate"] == 0.001 and train["train"]["optimizer"]["_target_"] == "torch.optim.Adam"
    assert (terms["transformation"]["weight"], terms["cycle"]["weight"]) == (1.0, 0.1)
