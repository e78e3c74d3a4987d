"""``monai-cellreg bundle pack``: a bundle in the layout of MONAI's model zoo."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .options import DONE, Commands, add_command

if TYPE_CHECKING:
    from monai_cellreg.methods import PackCheck

EXAMPLES = """monai-cellreg bundle pack joint --out packs --check
monai-cellreg bundle pack dirnet --out packs --replace"""
WORDS = {True: "passed", False: "FAILED", None: "not run"}


def add(steps: Commands) -> None:
    """Adds the step."""
    what = "write a bundle in the layout of MONAI's model zoo, to be shared"
    parser = add_command(steps, "pack", _run, what=what, examples=EXAMPLES)
    parser.description = f"""{parser.description}

OUT/NAME gets configs/, models/ (the weights), docs/ and LICENSE. It is used by python -m monai.bundle, by
monai.bundle.load and by MONAI Label's bundle app where monai_cellreg is installed; its docs/README.md says how."""
    parser.add_argument("bundle", metavar="NAME", help="name of the bundle, e.g. joint")
    parser.add_argument(
        "--out", default="runs/packs", metavar="DIR", help="folder in which NAME is made (default: %(default)s)"
    )
    parser.add_argument("--replace", action="store_true", help="take the place of an earlier pack")
    parser.add_argument(
        "--check",
        action="store_true",
        help="try what MONAI's tools ask of bundles, the exports to TorchScript and ONNX among them, and print a table",
    )


def _run(options: argparse.Namespace) -> int:
    from monai_cellreg.methods import check_pack, pack_bundle

    folder = pack_bundle(options.bundle, options.out, replace=options.replace)
    print(f"packed {folder}")
    if options.check:
        checks = check_pack(folder)
        print("\n".join(table(checks)))
        if failed := [check.name for check in checks if check.passed is False]:
            raise ValueError(
                f"pack {folder} fails {', '.join(failed)}; expected it to pass all checks. The table says what "
                "is wrong: correct the bundle, and pack it again with --replace"
            )
    return DONE


def table(checks: Sequence[PackCheck]) -> list[str]:
    """Names, outcomes and details in three columns."""
    width = max(len(check.name) for check in checks)
    return [f"{check.name:<{width}}  {WORDS[check.passed]:<7}  {check.detail}" for check in checks]
