"""The package's door: quick to import, complete, and with the version that the metadata states."""

from __future__ import annotations

import configparser
import doctest
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import monai_cellreg

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "monai_cellreg"
MODULES_WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in FOLDER.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


def test_import_loads_no_heavy_library() -> None:
    code = "import sys, monai_cellreg; print(sorted({'torch', 'monai', 'itk', 'numpy'} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_every_folder_is_reached_from_the_top() -> None:
    folders = {path.parent.name for path in FOLDER.glob("*/__init__.py")}
    assert set(monai_cellreg.__all__) == folders | {"apply_transform", "register", "register_sequence"}


@pytest.mark.parametrize("name", monai_cellreg.__all__)
def test_public_name_is_importable(name: str) -> None:
    assert getattr(monai_cellreg, name) is not None


def test_version_matches_metadata() -> None:
    metadata = configparser.ConfigParser()
    metadata.read(ROOT / "setup.cfg")
    assert monai_cellreg.__version__ == metadata["metadata"]["version"]


def test_every_direct_requirement_has_a_tested_pin() -> None:
    metadata = configparser.ConfigParser()
    metadata.read(ROOT / "setup.cfg")
    blocks = [metadata["options"]["install_requires"], *metadata["options.extras_require"].values()]
    wanted = {requirement_name(line) for block in blocks for line in block.splitlines() if line}
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {requirement_name(line) for line in pins if "==" in line}
    assert wanted - pinned == set()


def requirement_name(line: str) -> str:
    """The normalised project name at the start of a requirement: ``dicomweb-client[gcp]<1`` is ``dicomweb-client``."""
    name = line
    for mark in "[<>=!~; ":
        name = name.partition(mark)[0]
    return name.lower().replace("_", "-")


@pytest.mark.parametrize("module", MODULES_WITH_EXAMPLES)
def test_docstring_examples_run(module: str) -> None:
    result = doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0
