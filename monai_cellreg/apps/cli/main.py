"""The program: its commands, and how each of them ends."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from ... import __version__
from . import apply, benchmark, bundle, evaluate, label_server, methods, register, report, sequence
from .options import BAD_INPUT, DEFECT, EXIT_STATUS, INTERRUPTED

__all__ = ["build_parser", "main"]

EPILOG = f"""examples:
  monai-cellreg register day0.tif day1.tif --out result
  monai-cellreg apply result/transform.h5 cells.csv --reference day0.tif --kind points --from moving
  monai-cellreg evaluate --fixed-label day0_cells.png --warped-label result/warped_label.png
  monai-cellreg benchmark simulated-nuclei --methods auto elastix --quick
  monai-cellreg register --help

{EXIT_STATUS}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and gives its exit status; see ``monai-cellreg --help`` for what each means."""
    parser = build_parser()
    words = list(sys.argv[1:] if arguments is None else arguments)
    options, options.rest = parser.parse_known_args(words)
    if options.rest and not options.takes_overrides:
        parser.error(f"unrecognized arguments: {' '.join(options.rest)}")
    options.typed = shlex.join([parser.prog, *words])
    try:
        with _interruptible(), warnings.catch_warnings():
            if not sys.warnoptions:  # deprecations inside of libraries are nothing a user can act on
                warnings.simplefilter("ignore")
            return options.run(options)
    except KeyboardInterrupt as error:
        print(f"monai-cellreg: interrupted: {str(error) or 'no file was left half-written'}", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        from monai_cellreg.engines import root_cause

        cause = root_cause(error)
        if not isinstance(cause, (ValueError, TypeError, KeyError, OSError, ImportError)):
            traceback.print_exc()
            return DEFECT
        text = str(cause.args[0] if len(cause.args) == 1 else cause)
        print(f"monai-cellreg: error: {' '.join(text.split())}", file=sys.stderr)
        return BAD_INPUT


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; libraries are imported only when a command runs."""
    parser = argparse.ArgumentParser(
        prog="monai-cellreg",
        description="Registration of microscopy and medical images.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"monai-cellreg {__version__}")
    parser.set_defaults(takes_overrides=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (register, sequence, apply, evaluate, benchmark, methods, report, bundle, label_server):
        module.add(commands)
    return parser


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lets a request to end (SIGTERM, as of a batch system) unwind like Ctrl-C, so that temporary files are removed."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
