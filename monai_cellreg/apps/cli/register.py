"""``monai-cellreg register``: one image onto another."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .options import (
    DONE,
    JUDGED_FAILED,
    Commands,
    add_command,
    add_coordinates,
    add_method,
    add_quiet,
    chosen_method,
    metric_lines,
    progress_line,
)

if TYPE_CHECKING:
    from monai_cellreg.methods import Method

EXAMPLES = """
monai-cellreg register day0.tif day1.tif --out result
monai-cellreg register day0.tif day1.tif --method joint --moving-label day1_cells.png --out result
monai-cellreg register fixed.nii.gz moving.nii.gz --transform-format nii.gz --no-report
monai-cellreg register film.tif film.tif --fixed-page 0 --moving-page 9
monai-cellreg register he.png ihc.png --fixed-points he.csv --moving-points ihc.csv --time-limit 20
monai-cellreg register fixed.mha moving.mha --parameter-map rigid.txt bspline.txt
"""
PAGES = {"fixed_page": "page of the fixed file", "moving_page": "page of the moving file"}
FILES = {
    "fixed_label": "labels of the fixed image, for the metrics",
    "moving_label": "labels of the moving image, warped as well",
    "fixed_mask": "mask of the fixed image: only where it is above 0 is compared",
    "moving_mask": "mask of the moving image",
    "fixed_points": "landmarks of the fixed image, a table with x, y or row, col; they guide",
    "moving_points": "landmarks of the moving image, row by row those of the fixed one",
}


def add(commands: Commands) -> None:
    """Adds the command."""
    parser = add_command(commands, "register", _run, what="align one image with another", examples=EXAMPLES)
    parser.add_argument("fixed", metavar="FIXED", help="image whose frame is kept")
    parser.add_argument("moving", metavar="MOVING", help="image to bring onto it")
    add_method(parser)
    parser.add_argument(
        "--parameter-map", nargs="+", metavar="FILE", help="parameter files of elastix, run one after the other"
    )
    parser.add_argument(
        "--out",
        default="registration",
        metavar="DIR",
        help="folder for warped image, transform, metrics.json, report.html and overlay.png (default: %(default)s)",
    )
    for name, what in FILES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="FILE", help=what)
    add_coordinates(parser)
    parser.add_argument("--page", type=int, metavar="N", help="page of both files, from 0, where they have several")
    for name, what in PAGES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N", help=f"{what}, in place of --page")
    parser.add_argument(
        "--transform-format",
        choices=("h5", "tfm", "txt", "nii.gz"),
        default="h5",
        help="file of the transform: ITK's HDF5, ITK's text (tfm, txt) or a displacement field (default: %(default)s)",
    )
    parser.add_argument("--no-report", action="store_true", help="write no report.html")
    add_quiet(parser)


def _run(options: argparse.Namespace) -> int:
    from monai_cellreg.methods import OutputOptions, PairFiles, judge, register_files

    pages = {name: options.page if getattr(options, name) is None else getattr(options, name) for name in PAGES}
    files = {name: getattr(options, name) for name in FILES}
    method = _method(options)
    with progress_line(f"registering {options.moving} onto {options.fixed}", options):
        result = register_files(
            options.fixed,
            options.moving,
            options.out,
            method=method,
            known=PairFiles(**pages, **files, coordinates=options.coordinates),
            written=OutputOptions(options.transform_format, not options.no_report, {"Command": options.typed}),
        )
    verdict = judge(result)
    if not options.quiet:
        print("\n".join([*metric_lines(dict(sorted(result.metrics.items()))), *result.account]))
        print(f"{verdict.headline}: {' '.join(verdict.reasons)}")
        print(f"written to {options.out}")
    return JUDGED_FAILED if verdict.level == "failed" else DONE


def _method(options: argparse.Namespace) -> str | Method:
    if not options.parameter_map:
        return chosen_method(options)
    if options.method not in ("auto", "elastix") or (options.device, options.time_limit) != (None, None):
        raise ValueError(
            "--parameter-map is given with another method, device or time limit; expected it alone, since elastix "
            "takes none of them. Leave one out"
        )
    from monai_cellreg.baselines import Elastix

    return Elastix(options.parameter_map)
