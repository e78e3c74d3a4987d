"""What the commands share: how their help looks, the options of several, and how they end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from typing import Any

__all__ = [
    "BAD_INPUT",
    "DEFECT",
    "DONE",
    "EXIT_STATUS",
    "INTERRUPTED",
    "JUDGED_FAILED",
    "Commands",
    "add_command",
    "add_method",
    "add_quiet",
    "metric_lines",
    "shows_progress",
]

DONE, JUDGED_FAILED, BAD_INPUT, DEFECT, INTERRUPTED = 0, 1, 2, 3, 130

EXIT_STATUS = f"""exit status:
  {DONE:<3} done
  {JUDGED_FAILED:<3} done, but the registration is judged to have failed
  {BAD_INPUT:<3} the input cannot be used; one line on stderr says why and what to do
  {DEFECT:<3} a defect of the program; its traceback is on stderr
  {INTERRUPTED:<3} interrupted; no file is left half-written"""

Commands = Any
"""What ``ArgumentParser.add_subparsers`` gives; argparse has no public name for it."""


def add_command(
    commands: Commands, name: str, run: Callable[[argparse.Namespace], int], *, what: str, examples: str
) -> argparse.ArgumentParser:
    """A command with its help.

    Args:
        commands: where it is added.
        name: what the user types.
        run: called with the options; gives the exit status.
        what: one line of help.
        examples: command lines, one a line.
    """
    lines = "".join(f"\n  {line}" for line in examples.strip().splitlines())
    parser = commands.add_parser(
        name,
        help=what,
        description=what[0].upper() + what[1:] + ".",
        epilog=f"examples:{lines}\n\n{EXIT_STATUS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    return parser


def add_method(parser: argparse.ArgumentParser) -> None:
    """Adds ``--method``."""
    parser.add_argument(
        "--method", default="auto", help="name of the method (default: %(default)s; 'monai-cellreg methods' lists them)"
    )


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """Adds ``--quiet``."""
    parser.add_argument("--quiet", action="store_true", help="no progress bar, and print nothing but errors")


def shows_progress(options: argparse.Namespace) -> bool:
    """Whether a progress bar is wanted: not with ``--quiet``, nor where stderr is a file or a pipe."""
    return not options.quiet and sys.stderr.isatty()


def metric_lines(metrics: Mapping[str, float]) -> list[str]:
    """Names and values in two aligned columns."""
    width = max((len(name) for name in metrics), default=0)
    return [f"{name:>{width}}  {value:.4g}" for name, value in metrics.items()]
