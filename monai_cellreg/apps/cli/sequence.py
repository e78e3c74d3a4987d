"""``monai-cellreg sequence``: the frames of a movie onto one of them, or onto their mean."""

from __future__ import annotations

import argparse

from .options import (
    DONE,
    JUDGED_FAILED,
    Commands,
    add_command,
    add_method,
    add_quiet,
    chosen_method,
    metric_lines,
    shows_progress,
)

COORDINATES = ("index", "corner", "world")

EXAMPLES = """
monai-cellreg sequence film.tif --out stabilised
monai-cellreg sequence film.tif --reference mean --method joint --out stabilised
monai-cellreg sequence frames/ --reference 12 --device cuda
monai-cellreg sequence film.tif --labels nuclei_in_frame_0.tif
monai-cellreg sequence film.tif --reference mean --labels nuclei.png --labels-frame 4 --smooth 1.5
monai-cellreg sequence film.tif --tracks spots.csv --out relative_motion
"""
WHAT = """Writes stabilised.ome.tif and stabilised.mp4, a transform a frame, metrics.csv, metrics.json, mean and
standard deviation over time, and report.html. Finished maps are kept in the folder: a run that was stopped goes on
from there.

Labels of one frame (--labels) are carried to all: labels.ome.tif, and labels_ctc as the Cell Tracking Challenge has it.
Structures that were followed through the movie (--tracks) are brought onto the reference, without the motion of what
they lie in: tracks_reference.csv, motion.csv and motion.png. Their table has the columns frame (or t), x and y (or row
and col, axis-0 to axis-2 of napari, POSITION_X of TrackMate), and track_id (or track, particle). A method that sees
the outline alone ('joint') leaves turns of what is inside in the tracks; one that bends finely ('auto', 'bspline')
takes out some of the motion of structures that the film itself shows; 'affine' does not, but leaves the bending."""


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
    parser.add_argument("--labels", metavar="FILE", help="instance labels of one frame, to carry to all frames")
    parser.add_argument(
        "--labels-frame", type=int, metavar="N", help="frame of the labels, from 0 (default: that of the reference)"
    )
    parser.add_argument("--tracks", metavar="FILE", help="CSV or TSV of structures as they were seen in the frames")
    parser.add_argument(
        "--coordinates",
        choices=COORDINATES,
        help="of the tracks: pixels from the centre of the first one, pixels from its outer corner, or units of the "
        "movie (default: world for the columns of TrackMate, else index)",
    )
    parser.add_argument(
        "--smooth",
        type=float,
        default=0.0,
        metavar="SIGMA",
        help="smooth the maps over time by a Gaussian of so many frames (default: %(default)g, off)",
    )
    parser.add_argument(
        "--out", default="sequence", metavar="DIR", help="folder for the results (default: %(default)s)"
    )
    add_quiet(parser)


def _reference(text: str) -> str | int:
    return int(text) if text.isdecimal() else text


def _run(options: argparse.Namespace) -> int:
    from monai_cellreg.methods import SequenceOptions
    from monai_cellreg.methods.sequence import register_sequence

    method = chosen_method(options)
    carried = SequenceOptions(options.labels, options.labels_frame, options.tracks, options.coordinates, options.smooth)
    try:
        result = register_sequence(
            options.movie,
            method=method,
            reference=options.reference,
            out=options.out,
            options=carried,
            progress=shows_progress(options),
        )
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(f"the maps found so far are kept in {options.out}; run the command again") from error
    verdict = result.verdict
    if not options.quiet:
        figures = {name: value for name, value in result.summary.items() if isinstance(value, int | float)}
        print("\n".join(metric_lines(figures)))
        print(f"{verdict.headline}: {' '.join(verdict.reasons)}")
        print(f"written to {options.out}")
    return JUDGED_FAILED if verdict.level == "failed" else DONE
