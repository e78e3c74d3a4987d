"""``monai-cellreg bundle``: training, evaluation and packing of a network by its MONAI bundle."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Sequence
from typing import Any

from . import bundle_pack
from .options import DONE, Commands, add_command

OVERRIDES = """Any key of the bundle's {files} can be given as --KEY VALUE, nested ones with '::', such as
--train::dataloader::num_workers 2; a key that does not exist is refused. The same run without this check:
  python -m monai.bundle run {run} --KEY VALUE"""
STEPS = {  # what it does, the overlays that it needs, the run as MONAI takes it, examples
    "train": (
        "train the network of a bundle",
        [],
        "training --config_file bundles/joint/train.json",
        "monai-cellreg bundle train joint --dataset_dir my_images --max_epochs 20\n"
        "monai-cellreg bundle train joint --dataset_dir my_images --max_epochs 20 --resume True\n"
        "monai-cellreg bundle train dirnet --overlays train_mnist.json --dataset_dir mnist",
    ),
    "evaluate": (
        "measure a bundle on held-out groups",
        ["evaluate.json"],
        "evaluating --config_file \"['bundles/joint/train.json','bundles/joint/evaluate.json']\"",
        "monai-cellreg bundle evaluate joint --dataset_dir my_images --checkpoint runs/joint/model.pt\n"
        "monai-cellreg bundle evaluate dirnet --overlays train_mnist.json --dataset_dir mnist",
    ),
}


def add(commands: Commands) -> None:
    """Adds the command."""
    what = "train, evaluate and share the networks"
    bundle = commands.add_parser("bundle", help=what, description=what[0].upper() + what[1:] + ".")
    steps = bundle.add_subparsers(dest="step", required=True, metavar="STEP")
    for name, (what, overlays, command, examples) in STEPS.items():
        parser = add_command(steps, name, _run, what=what, examples=examples)
        files = " and ".join(["train.json", *overlays])
        parser.description = f"{parser.description}\n\n{OVERRIDES.format(files=files, run=command)}"
        parser.add_argument("bundle", metavar="NAME", help="name of the bundle, e.g. joint")
        parser.add_argument(
            "--overlays",
            nargs="+",
            default=[],
            metavar="FILE",
            help="further configuration files of the bundle that change its train.json, such as dirnet's "
            "train_mnist.json; later ones win",
        )
        parser.set_defaults(takes_overrides=True)
    bundle_pack.add(steps)


def _run(options: argparse.Namespace) -> int:
    from monai_cellreg.methods import run_bundle

    run_bundle(options.bundle, overlays_of(options), parse_overrides(options.rest))
    return DONE


def overlays_of(options: argparse.Namespace) -> list[str]:
    """The overlays that were asked for, and then those of the step."""
    return [*options.overlays, *STEPS[options.step][1]]


def parse_overrides(words: Sequence[str]) -> dict[str, Any]:
    """``--KEY VALUE`` pairs; values are Python literals where they are, else strings.

    Raises:
        ValueError: for words that are no such pairs.

    Example:
        >>> parse_overrides(["--max_epochs", "20", "--dataset_dir", "my images"])
        {'max_epochs': 20, 'dataset_dir': 'my images'}
    """
    keys, values = list(words[::2]), list(words[1::2])
    if [word.startswith("--") for word in words] != [True, False] * len(values):
        raise ValueError(f"overrides are {' '.join(words)!r}; expected --KEY VALUE pairs, such as --max_epochs 20")
    return {key[2:]: _literal(value) for key, value in zip(keys, values, strict=True)}


def _literal(value: str) -> Any:
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value
