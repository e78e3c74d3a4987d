"""``monai-cellreg methods``: what there is to choose from."""

from __future__ import annotations

import argparse

from .options import DONE, Commands, add_command


def add(commands: Commands) -> None:
    """Adds the command."""
    add_command(commands, "methods", _run, what="list the methods", examples="monai-cellreg methods")


def _run(_: argparse.Namespace) -> int:
    from monai_cellreg.methods import method_names

    print("\n".join(method_names()))
    return DONE
