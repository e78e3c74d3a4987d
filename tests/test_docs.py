"""What the READMEs show works: every Python block runs, every command is one that the programs take."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from monai_cellreg.apps.cli import build_parser, main
from monai_cellreg.apps.cli.bundle import overlays_of, parse_overrides
from monai_cellreg.engines import StrictConfigWorkflow
from monai_cellreg.methods import bundle_dir, method_names
from monai_cellreg.methods.bundles import bundle_files

ROOT = Path(__file__).resolve().parents[1]
BUNDLES = ("joint", "segreg", "dirnet")
NUCLEI = ("joint", "segreg")
PAGES = ("README.md", "docs/label_server.md", *(f"bundles/{name}/README.md" for name in BUNDLES))
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return [block for name, block in FENCE.findall(text) if name == language]


def commands(*programs: str) -> list[list[str]]:
    """The words of every command line of a page that starts with one of the programs."""
    lines = [line for page in PAGES for block in blocks(page, "bash") for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith(programs)]


def in_words(words: list[str]) -> str:
    return " ".join(words)


def overrides(words: list[str]) -> dict[str, Any]:
    """``--KEY VALUE`` pairs."""
    assert len(words) % 2 == 0 and all(key.startswith("--") for key in words[::2]), words
    return {key.removeprefix("--"): value for key, value in zip(words[::2], words[1::2], strict=True)}


def test_there_is_something_to_check() -> None:
    assert blocks("README.md", "python")
    assert len(commands("monai-cellreg")) >= 4
    assert len(commands("python -m monai.bundle", "torchrun")) >= 12


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python") and "server" not in page])
def test_python_blocks_run_one_after_the_other(page: str, film_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(film_files)
    weights = film_files / "runs" / "joint" / "model.pt"  # of a training at 320 pixels, as the page says
    weights.parent.mkdir(parents=True)
    bundle = StrictConfigWorkflow(str(bundle_dir("joint") / "train.json"), overrides={"image_size": 320})
    torch.save(bundle.parser.get_parsed_content("network_def").state_dict(), weights)
    namespace: dict[str, Any] = {}
    for number, block in enumerate(blocks(page, "python")):
        exec(compile(block, f"{page}, Python block {number}", "exec"), namespace)
    assert tuple(namespace["result"].warped.shape[-2:]) == namespace["result"].pair.fixed_grid.shape


@pytest.mark.parametrize("words", commands("monai-cellreg"), ids=in_words)
def test_commands_of_ours_are_understood(words: list[str]) -> None:
    if "--help" in words:
        with pytest.raises(SystemExit, match="^0$"):
            main(words[1:])
        return
    options, rest = build_parser().parse_known_args(words[1:])
    if options.takes_overrides:
        StrictConfigWorkflow(bundle_files(options.bundle, overlays_of(options)), overrides=parse_overrides(rest))
    else:
        assert rest == [] and getattr(options, "method", "auto") in method_names()
        assert set(getattr(options, "methods", [])) <= set(method_names())


@pytest.mark.parametrize("words", commands("python -m monai.bundle", "torchrun"), ids=in_words)
def test_commands_of_monai_are_understood(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    words = words[words.index("monai.bundle") + 1 :]
    assert words[0] == "run"
    run_id = "run" if words[1].startswith("--") else words[1]
    given = overrides(words[1 if run_id == "run" else 2 :])
    config = given.pop("config_file")
    files = ast.literal_eval(config) if config.startswith("[") else [config]
    assert run_id in StrictConfigWorkflow(files, overrides=given).parser


def test_targets_of_make_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    used = {words[1] for words in commands("make ")}
    assert used == {"demo", "label-server", "test"}
    assert used <= targets


def settings_of_the_table(bundle: str) -> Iterator[tuple[str, str]]:
    """Every key in the first column of a bundle's table of settings, with its row."""
    for line in (ROOT / "bundles" / bundle / "README.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            yield from ((key, line) for key in re.findall(r"`([^`]+)`", line.split("|")[1]))


@pytest.mark.parametrize("bundle", BUNDLES)
def test_settings_of_the_table_exist(bundle: str) -> None:
    assert len(list(settings_of_the_table(bundle))) > 10
    overlays = {"evaluation": "evaluate.json", "inference": "inference.json"}
    for key, row in settings_of_the_table(bundle):
        used_in = [[name] for word, name in overlays.items() if word in row.split("|")[1]]
        for more in used_in or [[]]:
            files = [str(bundle_dir(bundle) / name) for name in ("train.json", *more)]
            StrictConfigWorkflow(files, overrides={key: None})


@pytest.mark.parametrize(
    ("bundle", "key"),
    [
        *((bundle, key) for bundle in NUCLEI for key in ("image_size", "transformer", "control_shape")),
        *((bundle, f"objective::terms::{term}::weight") for bundle in NUCLEI for term in ("bending", "flow")),
        *(("dirnet", key) for key in ("image_size", "variant", "affine", "held_out", "validation_subjects")),
        ("joint", "registers"),
        ("joint", "frozen"),
        ("joint", "patience"),
        ("joint", "objective::terms::cycle::weight"),
        ("joint", "objective::terms::cycle::loss::alpha"),
        ("segreg", "objective::terms::transformation::weight"),
        ("segreg", "objective::terms::overlap::weight"),
    ],
)
def test_defaults_of_the_table_are_those_of_the_bundle(bundle: str, key: str) -> None:
    parser = StrictConfigWorkflow(str(bundle_dir(bundle) / "train.json")).parser
    (row,) = {row for name, row in settings_of_the_table(bundle) if name == key}
    assert row.split("|")[2].strip() == str(parser[key])
