"""``monai-cellreg report``: the page of a finished registration, made anew."""

from __future__ import annotations

import argparse
import webbrowser

from .options import DONE, Commands, add_command

EXAMPLES = """
monai-cellreg report result
monai-cellreg report result --open
"""


def add(commands: Commands) -> None:
    """Adds the command."""
    what = "write the report of a finished registration anew"
    parser = add_command(commands, "report", _run, what=what, examples=EXAMPLES)
    parser.add_argument("folder", metavar="DIR", help="folder that 'register' has written to")
    parser.add_argument("--open", action="store_true", help="show it in the browser")


def _run(options: argparse.Namespace) -> int:
    from monai_cellreg.methods import report_files

    page = report_files(options.folder)
    print(f"written to {page}")
    if options.open:
        webbrowser.open(page.resolve().as_uri())
    return DONE
