"""``monai-cellreg methods``: what there is to choose from."""

from __future__ import annotations

import argparse

from .options import DONE, Commands, add_command


def add(commands: Commands) -> None:
    """Adds the command."""
    add_command(commands, "methods", _run, what="list the methods", examples="monai-cellreg methods")


def _run(_: argparse.Namespace) -> int:
    from monai_cellreg.methods import METHODS

    width = max(map(len, METHODS))
    for name, entry in METHODS.items():
        dims = ", ".join(f"{d}D" for d in entry.dims)
        notes = ["heeds masks and landmarks"] * entry.is_guided
        notes += [f"needs pip install 'monai-cellreg[{entry.extra}]'"] * bool(entry.extra)
        print(f"{name:<{width}}  {dims:<6}  {'; '.join([entry.what, *notes])}")
    return DONE
