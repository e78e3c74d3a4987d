"""What the commands share: how their help looks, the options of several, and how they end."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monai_cellreg.methods import Method

__all__ = [
    "BAD_INPUT",
    "DEFECT",
    "DONE",
    "EXIT_STATUS",
    "INTERRUPTED",
    "JUDGED_FAILED",
    "Commands",
    "add_command",
    "add_coordinates",
    "add_method",
    "add_quiet",
    "chosen_method",
    "metric_lines",
    "progress_line",
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


def add_coordinates(parser: argparse.ArgumentParser) -> None:
    """Adds ``--coordinates``."""
    parser.add_argument(
        "--coordinates",
        choices=("index", "corner", "world"),
        default="index",
        help="of points: pixels from the centre of the first one, pixels from its outer corner (QuPath), or world "
        "units (default: %(default)s)",
    )


def add_method(parser: argparse.ArgumentParser) -> None:
    """Adds ``--method``, ``--device`` and ``--time-limit``."""
    parser.add_argument(
        "--method", default="auto", help="name of the method (default: %(default)s; 'monai-cellreg methods' lists them)"
    )
    parser.add_argument(
        "--device", help="where a method that optimises one pair computes, such as cuda (default: the processor)"
    )
    parser.add_argument(
        "--time-limit",
        type=float,
        metavar="SECONDS",
        help="end the deformable stage of a method that optimises one pair after so long",
    )


def chosen_method(options: argparse.Namespace) -> str | Method:
    """The method that was asked for."""
    if options.device is None and options.time_limit is None:
        return options.method
    from monai_cellreg.methods import limited_method

    return limited_method(options.method, device=options.device, time_limit=options.time_limit)


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """Adds ``--quiet``."""
    parser.add_argument("--quiet", action="store_true", help="no progress bar, and print nothing but errors")


def shows_progress(options: argparse.Namespace) -> bool:
    """Whether a progress bar is wanted: not with ``--quiet``, nor where stderr is a file or a pipe."""
    return not options.quiet and sys.stderr.isatty()


@contextmanager
def progress_line(text: str, options: argparse.Namespace) -> Iterator[None]:
    """Says on stderr what is being done, and then how long it took, where a progress bar would be wanted."""
    shown = shows_progress(options)
    start = time.perf_counter()
    if shown:
        print(f"{text} ...", end="", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        if shown:
            print(f" {time.perf_counter() - start:.1f} s", file=sys.stderr)


def metric_lines(metrics: Mapping[str, float]) -> list[str]:
    """Names and values in two aligned columns."""
    width = max((len(name) for name in metrics), default=0)
    return [f"{name:>{width}}  {value:.4g}" for name, value in metrics.items()]
