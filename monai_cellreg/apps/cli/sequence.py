"""``monai-cellreg sequence``: the frames of a movie onto one of them, or onto their mean."""

from __future__ import annotations

import argparse

from .options import DONE, Commands, add_command, add_method, add_quiet, chosen_method, metric_lines, shows_progress

EXAMPLES = """
monai-cellreg sequence film.tif --out stabilised
monai-cellreg sequence film.tif --reference mean --method joint --out stabilised
monai-cellreg sequence frames/ --reference 12 --device cuda
"""
WHAT = """Writes stabilised.ome.tif and stabilised.mp4, a transform a frame, metrics.csv, metrics.json, mean and
standard deviation over time, and report.html. Finished maps are kept in the folder: a run that was stopped goes on
from there."""


def add(commands: Commands) -> None:
    """Adds the command."""
    parser = add_command(commands, "sequence", _run, what="align the frames of a movie", examples=EXAMPLES)
    parser.description = f"{parser.description}\n\n{WHAT}"
    parser.add_argument("movie", metavar="MOVIE", help="file of several frames, or a folder of images")
    parser.add_argument(
        "--reference",
        default="first",
        type=_reference,
        metavar="first|previous|mean|N",
        help="what the frames are aligned with: the first one, each the one before it, their mean, or frame N from 0 "
        "(default: %(default)s)",
    )
    add_method(parser)
    parser.add_argument(
        "--out", default="sequence", metavar="DIR", help="folder for the results (default: %(default)s)"
    )
    add_quiet(parser)


def _reference(text: str) -> str | int:
    return int(text) if text.isdecimal() else text


def _run(options: argparse.Namespace) -> int:
    from monai_cellreg.methods.sequence import register_sequence

    method = chosen_method(options)
    try:
        result = register_sequence(
            options.movie,
            method=method,
            reference=options.reference,
            out=options.out,
            progress=shows_progress(options),
        )
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(f"the maps found so far are kept in {options.out}; run the command again") from error
    if not options.quiet:
        figures = {name: value for name, value in result.summary.items() if isinstance(value, int | float)}
        print("\n".join(metric_lines(figures)))
        print(f"written to {options.out}")
    return DONE
