"""The command line: ``monai-cellreg``, or ``python -m monai_cellreg``."""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Sequence
from typing import Any

EPILOG = """examples:
  monai-cellreg register day0.tif day1.tif --out result
  monai-cellreg register day0.tif day1.tif --method joint --moving-label day1_cells.png --out result
  monai-cellreg train joint --dataset_dir my_images --max_epochs 20
  monai-cellreg train joint --dataset_dir my_images --max_epochs 20 --resume True
  monai-cellreg evaluate joint --dataset_dir my_images --checkpoint runs/joint/model.pt
"""
OVERRIDES = """Any key of the bundle's {files} can be given as --KEY VALUE, nested ones with '::', such as
--train::dataloader::num_workers 2; a key that does not exist is refused. The same run without this check:
  python -m monai.bundle run {run} --KEY VALUE"""
COMMANDS = {  # what it does, its configuration, the id to run and the files as MONAI takes them
    "train": ("train the network of a bundle", "train.json", "training --config_file bundles/joint/train.json"),
    "evaluate": (
        "measure a bundle on held-out groups",
        "train.json and evaluate.json",
        "evaluating --config_file \"['bundles/joint/train.json','bundles/joint/evaluate.json']\"",
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and gives its exit status: 0 done, 2 for input that cannot be used."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and options.command not in ("train", "evaluate"):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        options.run(options, rest)
    except (ValueError, TypeError, KeyError, OSError, RuntimeError) as error:
        from monai_cellreg.engines import root_cause

        cause = root_cause(error)
        if not isinstance(cause, (ValueError, TypeError, KeyError, OSError)):
            raise
        text = str(cause.args[0] if len(cause.args) == 1 else cause)
        print(f"monai-cellreg: error: {' '.join(text.split())}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    from monai_cellreg import __version__

    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="monai-cellreg",
        description="Registration of microscopy and medical images.",
        epilog=EPILOG,
        formatter_class=form,
    )
    parser.add_argument("--version", action="version", version=f"monai-cellreg {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    register = commands.add_parser("register", help="align one image with another", epilog=EPILOG, formatter_class=form)
    register.add_argument("fixed", metavar="FIXED", help="image whose frame is kept (PNG, JPEG, TIFF, NIfTI)")
    register.add_argument("moving", metavar="MOVING", help="image to bring onto it")
    register.add_argument("--method", default="joint", help="name of the method (default: %(default)s; see 'methods')")
    register.add_argument(
        "--out",
        default="registration",
        metavar="DIR",
        help="folder for warped image, transform.h5, metrics.json and overlay.png (default: %(default)s)",
    )
    register.add_argument("--fixed-label", metavar="FILE", help="labels of the fixed image, for the metrics")
    register.add_argument("--moving-label", metavar="FILE", help="labels of the moving image, warped as well")
    register.set_defaults(run=_register)
    for name, (what, files, run) in COMMANDS.items():
        epilog = OVERRIDES.format(files=files, run=run)
        command = commands.add_parser(name, help=what, description=what, epilog=epilog, formatter_class=form)
        command.add_argument("bundle", metavar="BUNDLE", help="name of the bundle, e.g. joint")
        command.set_defaults(run=_run_bundle)
    methods = commands.add_parser("methods", help="list the methods")
    methods.set_defaults(run=_list_methods)
    return parser


def _register(options: argparse.Namespace, _: Sequence[str]) -> None:
    from monai_cellreg.methods import register_files

    result = register_files(
        options.fixed,
        options.moving,
        options.out,
        method=options.method,
        fixed_label=options.fixed_label,
        moving_label=options.moving_label,
    )
    for name, value in sorted(result.metrics.items()):
        print(f"{name:>18}  {value:.4g}")
    print(f"written to {options.out}")


def _run_bundle(options: argparse.Namespace, rest: Sequence[str]) -> None:
    from monai_cellreg.methods import run_bundle

    run_bundle(options.bundle, ["evaluate.json"] if options.command == "evaluate" else [], _overrides(rest))


def _list_methods(_: argparse.Namespace, __: Sequence[str]) -> None:
    from monai_cellreg.methods import method_names

    print("\n".join(method_names()))


def _overrides(rest: Sequence[str]) -> dict[str, Any]:
    """``--KEY VALUE`` pairs; values are Python literals where they are, else strings."""
    keys, values = list(rest[::2]), list(rest[1::2])
    flags = [part.startswith("--") for part in rest]
    if flags != [True, False] * len(values):
        raise ValueError(f"overrides are {' '.join(rest)!r}; expected --KEY VALUE pairs, such as --max_epochs 20")
    return {key[2:]: _literal(value) for key, value in zip(keys, values, strict=True)}


def _literal(value: str) -> Any:
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value
