"""The bundles, each with its configuration, the commands that its README documents and a tiny training."""

from __future__ import annotations

import ast
import json
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import run

from monai_cellreg.methods import run_bundle

ROOT = Path(__file__).resolve().parents[2]
BUNDLES = ("joint", "segreg", "dirnet")
Settings = dict[str, Any]
TINY_DIRNET = {
    "image_size": [32, 32],
    "simulated": 1,
    "variant": "B",
    "levels": [2],
    "channels": 4,
    "pairs_per_epoch": 8,
    "batch_size": 4,
    "max_epochs": 1,
    "validation_items": 4,
}


@dataclass(frozen=True)
class Bundle:
    """A bundle of the checkout.

    Args:
        name: of its folder.
        tiny: overrides with which it trains in seconds.
        trained: folder of a finished tiny training of a bundle, by its name.
    """

    name: str
    tiny: Settings
    trained: Callable[[str], Path]

    @property
    def folder(self) -> Path:
        return ROOT / "bundles" / self.name

    @property
    def count_key(self) -> str:
        """The setting that says how many pairs an epoch has."""
        return "pairs_per_epoch" if "pairs_per_epoch" in self.tiny else "simulated"

    @property
    def run_dir(self) -> Path:
        """Folder of a finished tiny training."""
        return self.trained(self.name)

    def text(self, file: str) -> str:
        return (self.folder / file).read_text(encoding="utf-8")

    def content(self, file: str) -> Settings:
        """A configuration file."""
        return json.loads(self.text(file))

    def typed(self, mark: str) -> tuple[str, list[str]]:
        """Run id and configuration of the first command in the bundle's README that contains ``mark``."""
        words = shlex.split(
            next(line for line in self.text("README.md").splitlines() if "monai.bundle run" in line and mark in line)
        )
        start = words.index("run") + 1
        config = words[words.index("--config_file") + 1]
        files = ast.literal_eval(config) if config.startswith("[") else [config]
        return ("run" if words[start].startswith("--") else words[start]), files

    def run_as_typed(self, mark: str, overrides: Settings) -> None:
        """What the documented command does, in this process and with other overrides."""
        run_id, files = self.typed(mark)
        run(run_id=run_id, config_file=files, **overrides)


@pytest.fixture(scope="session")
def tinies(tiny: Settings) -> dict[str, Settings]:
    """The overrides with which each bundle trains in seconds."""
    return {name: TINY_DIRNET if name == "dirnet" else tiny for name in BUNDLES}


@pytest.fixture(scope="session")
def trained(
    tinies: dict[str, Settings], tiny_run: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Gives a function from the name of a bundle to the folder of a finished tiny training."""
    folders = {"joint": tiny_run}

    def made(name: str) -> Path:
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp("tiny") / name
            run_bundle(name, [], {**tinies[name], "output_dir": str(folders[name])})
        return folders[name]

    return made


@pytest.fixture(scope="session")
def bundles(tinies: dict[str, Settings], trained: Callable[[str], Path]) -> dict[str, Bundle]:
    """The bundles by name."""
    return {name: Bundle(name, tinies[name], trained) for name in BUNDLES}


@pytest.fixture(params=BUNDLES)
def bundle(request: pytest.FixtureRequest, bundles: dict[str, Bundle]) -> Bundle:
    """Every bundle."""
    return bundles[request.param]


@pytest.fixture
def joint(bundles: dict[str, Bundle]) -> Bundle:
    return bundles["joint"]


@pytest.fixture
def segreg(bundles: dict[str, Bundle]) -> Bundle:
    return bundles["segreg"]


@pytest.fixture
def dirnet(bundles: dict[str, Bundle]) -> Bundle:
    return bundles["dirnet"]


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The documented commands name their files from the root of the repository."""
    monkeypatch.chdir(ROOT)


@pytest.fixture
def environment() -> dict[str, str]:
    """Of a subprocess that must compute as this process does."""
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(torch.get_num_threads())}


@pytest.fixture
def arguments() -> Callable[[Settings], list[str]]:
    """Gives a function from overrides to words as they are typed."""
    return lambda overrides: [f"--{key}={value}" for key, value in overrides.items()]
