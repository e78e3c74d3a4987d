"""``monai-cellreg apply``: images, labels, points and outlines by a transform that was found before."""

from __future__ import annotations

import argparse
from pathlib import Path

from .options import DONE, Commands, add_command, add_coordinates, add_quiet

EXAMPLES = """
monai-cellreg apply result/transform.h5 day1_red.tif --reference day0.tif
monai-cellreg apply result/transform.h5 day1_cells.png --reference day0.tif --kind labels --out cells_on_day0.png
monai-cellreg apply result/transform.h5 spots.csv --reference day0.tif
monai-cellreg apply result/transform.h5 regions.geojson --from fixed --coordinates corner --out on_day1.geojson
"""
WHAT = """What belongs to the moving image goes onto the fixed one (--from moving, the default), or the other way round
(--from fixed). Tables (CSV, TSV) have the columns x, y or row, col; outlines come as GeoJSON, such as QuPath's."""


def add(commands: Commands) -> None:
    """Adds the command."""
    what = "move an image, labels or points by a transform"
    parser = add_command(commands, "apply", _run, what=what, examples=EXAMPLES)
    parser.description = f"{parser.description}\n\n{WHAT}"
    parser.add_argument("transform", metavar="TRANSFORM", help="fixed-to-moving map, as 'register' writes it")
    parser.add_argument("input", metavar="INPUT", help="image, labels, CSV, TSV or GeoJSON")
    parser.add_argument("--reference", metavar="FIXED", help="the fixed image: grid of the result, place of its pixels")
    parser.add_argument("--moving", metavar="FILE", help="the moving image, where its pixels have a size")
    parser.add_argument(
        "--out", metavar="FILE", help="file to write (default: the input's name with _moved, in the working folder)"
    )
    parser.add_argument(
        "--from",
        dest="origin",
        choices=("fixed", "moving"),
        default="moving",
        help="image that the input belongs to (default: %(default)s)",
    )
    parser.add_argument(
        "--kind",
        choices=("auto", "image", "labels", "points"),
        default="auto",
        help="labels are read without mixing their numbers (default: %(default)s)",
    )
    add_coordinates(parser)
    parser.add_argument(
        "--interpolation", choices=("linear", "cubic"), default="linear", help="of images (default: %(default)s)"
    )
    add_quiet(parser)


def _run(options: argparse.Namespace) -> int:
    from monai_cellreg.data.formats import file_suffix
    from monai_cellreg.methods import ApplyOptions, apply_transform

    name, suffix = Path(options.input).name, file_suffix(options.input)
    applied = apply_transform(
        options.transform,
        options.input,
        options.out or f"{name[: len(name) - len(suffix)]}_moved{suffix}",
        reference=options.reference,
        kind=options.kind,
        options=ApplyOptions(options.origin, options.coordinates, options.interpolation, options.moving),
    )
    if not options.quiet:
        print(f"{applied.kind} written to {applied.path}")
    return DONE
