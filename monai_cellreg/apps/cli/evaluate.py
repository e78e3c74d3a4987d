"""``monai-cellreg evaluate``: scores of a finished registration."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import fields

from .options import DONE, Commands, add_command, add_coordinates, metric_lines

EXAMPLES = """
monai-cellreg evaluate --fixed-label cells0.png --warped-label result/warped_label.png
monai-cellreg evaluate --fixed-label cells0.png --moving-label cells1.png --transform result/transform.h5
monai-cellreg evaluate --fixed-points a.csv --moving-points b.csv --transform result/transform.h5 --fixed day0.tif
monai-cellreg evaluate --transform result/transform.h5 --fixed day0.tif --out scores.json
"""
WHAT = """Labels give Dice, IoU, the 95th percentile of the Hausdorff distance and the mean surface distance, for each
label of the fixed image. Landmarks correspond row by row and give the target registration error; with --fixed also as a
share of the image's diagonal (rTRE). A transform gives the share of the image where it folds."""


def add(commands: Commands) -> None:
    """Adds the command."""
    what = "measure a registration by labels, landmarks and its map"
    parser = add_command(commands, "evaluate", _run, what=what, examples=EXAMPLES)
    parser.description = f"{parser.description}\n\n{WHAT}"
    parser.add_argument("--fixed", metavar="FILE", help="the fixed image: where the map is looked at, and the diagonal")
    parser.add_argument("--moving", metavar="FILE", help="the moving image, where its pixels have a size")
    parser.add_argument("--fixed-label", metavar="FILE", help="labels of the fixed image")
    parser.add_argument("--warped-label", metavar="FILE", help="moving labels that lie on the fixed image already")
    parser.add_argument("--moving-label", metavar="FILE", help="moving labels to be warped by --transform")
    parser.add_argument("--fixed-points", metavar="FILE", help="landmarks of the fixed image")
    parser.add_argument("--moving-points", metavar="FILE", help="landmarks of the moving image")
    add_coordinates(parser)
    parser.add_argument("--transform", metavar="FILE", help="fixed-to-moving map, as 'register' writes it")
    parser.add_argument("--out", metavar="FILE", help="write the scores as JSON too")


def _run(options: argparse.Namespace) -> int:
    from monai_cellreg.methods import EvaluationFiles, evaluate_files

    files = EvaluationFiles(**{entry.name: getattr(options, entry.name) for entry in fields(EvaluationFiles)})
    found = evaluate_files(files, out=options.out)
    if found.labels:
        print("\n".join(_label_table({**{str(k): row for k, row in found.labels.items()}, "mean": found.mean})))
    for part in (found.landmarks, found.transform):
        print("\n".join(metric_lines(part)), end="\n" if part else "")
    return DONE


def _label_table(rows: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Label by label, in aligned columns."""
    names = list(rows["mean"])
    width = max(len("label"), *(len(label) for label in rows))
    lines = ["  ".join(["label".rjust(width), *(name.rjust(8) for name in names)])]
    return lines + [
        "  ".join([label.rjust(width), *(f"{row[name]:8.4f}" for name in names)]) for label, row in rows.items()
    ]
