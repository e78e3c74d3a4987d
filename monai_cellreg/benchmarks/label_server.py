"""Labels carried from image to image by a running label server, scored against the truth.

Example:
    python -m monai_cellreg.benchmarks.label_server prepare studies --acdc ACDC --nuclei Fluo-N2DH-SIM+
    make label-server STUDIES=studies
    python -m monai_cellreg.benchmarks.label_server measure studies --url http://127.0.0.1:8000
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from ..methods.json_files import write_json
from ..utils import atomic_path
from .label_client import LabelClient, LabelServerError
from .label_overlap import Overlap, carried_by_itk, count_overlap
from .label_studies import GROUPS, NUCLEI, LabelPair, prepare_studies, read_pairs, truth_folder
from .markdown import markdown_table

__all__ = ["Carried", "main", "measure", "summary"]

ENDS = (".nii.gz", ".tif")  # of files, longest first


@dataclass(frozen=True)
class Carried:
    """What became of one pair.

    Args:
        pair: what was asked.
        method: by which.
        before: overlap of the reference's label as it is and the truth.
        after: overlap of the answer and the truth.
        verdict: level of the server's verdict.
        reasons: its sentences.
        seconds: until the answer.
        itk_differs: voxels where SimpleITK, given the transform file, finds another label.
        refused: why there is no answer; the figures above are then empty.
    """

    pair: LabelPair
    method: str
    before: Overlap | None = None
    after: Overlap | None = None
    verdict: str = ""
    reasons: tuple[str, ...] = ()
    seconds: float = 0.0
    itk_differs: int | None = None
    refused: str = ""


def measure(client: LabelClient, studies: Path, pairs: Sequence[LabelPair], method: str) -> Iterator[Carried]:
    """Carries the labels of references to images, and scores them.

    Nuclei are asked for in one batch, everything else one by one. Each answer is checked against SimpleITK.

    Args:
        client: of the server, which serves that folder.
        studies: folder of images.
        pairs: what to ask.
        method: name of a method that the server knows.
    """
    for pair in pairs:
        if pair.group != NUCLEI:
            yield _guarded(client, studies, pair, method)
    film = [pair for pair in pairs if pair.group == NUCLEI]
    for reference, group in groupby(film, key=lambda pair: pair.reference):
        yield from _in_one_batch(client, studies, list(group), {"reference": reference, "method": method})


def _guarded(client: LabelClient, studies: Path, pair: LabelPair, method: str) -> Carried:
    asked = {"reference": pair.reference, "method": method}
    try:
        answer = client.infer("propagate_labels", pair.image, {**asked, "result_extension": _end(pair.image_file)})
        return _scored(
            client, studies, replace(Carried(pair, method), seconds=answer.seconds), answer.file, answer.told
        )
    except LabelServerError as error:
        return Carried(pair, method, refused=str(error))


def _in_one_batch(
    client: LabelClient, studies: Path, pairs: Sequence[LabelPair], asked: Mapping[str, str]
) -> Iterator[Carried]:
    end = _end(pairs[0].image_file)
    try:
        seconds = client.batch("propagate_labels", [p.image for p in pairs], {**asked, "result_extension": end})
    except LabelServerError as error:
        yield from (Carried(pair, asked["method"], refused=str(error)) for pair in pairs)
        return
    for pair in pairs:
        file, info = client.label(pair.image)
        one = Carried(pair, asked["method"], seconds=seconds / len(pairs))
        yield _scored(client, studies, one, file, info["params"])


def _scored(client: LabelClient, studies: Path, carried: Carried, file: bytes, told: Mapping[str, Any]) -> Carried:
    """Compares an answer with the truth, and with what SimpleITK makes of the transform file."""
    pair = carried.pair
    asked = {"reference": pair.reference, "method": carried.method, "result_extension": ".h5"}
    transform = client.infer("transform", pair.image, asked)
    with tempfile.TemporaryDirectory() as folder:
        label_path, transform_path = Path(folder, f"label{_end(pair.image_file)}"), Path(folder, "transform.h5")
        label_path.write_bytes(file)
        transform_path.write_bytes(transform.file)
        label = _read(label_path)
        by_itk = carried_by_itk(transform_path, studies / pair.reference_label, studies / pair.image_file)
    truth = _read(truth_folder(studies) / pair.truth)
    return replace(
        carried,
        before=count_overlap(_read(studies / pair.reference_label), truth),
        after=count_overlap(label, truth),
        verdict=told["verdict"]["level"],
        reasons=tuple(told["verdict"]["reasons"]),
        itk_differs=int((by_itk != label).sum()),
    )


def _read(path: Path) -> Any:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def _end(file: str) -> str:
    return next((end for end in ENDS if file.endswith(end)), Path(file).suffix)


def summary(carried: Sequence[Carried]) -> list[dict[str, Any]]:
    """A line a kind of image and method: means over cases, whose images are counted together.

    Labels are those that reference and truth share.

    Args:
        carried: results of :func:`measure`.
    """

    def kind(one: Carried) -> tuple[int, str]:
        return GROUPS.index(one.pair.group), one.method

    lines = []
    for (group, method), found in groupby(sorted(carried, key=kind), key=kind):
        rows = list(found)
        done = [one for one in rows if not one.refused]
        line: dict[str, Any] = {"images": GROUPS[group], "method": method, "asked": len(rows), "answered": len(done)}
        lines.append(line | _figures(done) if done else line)
    return lines


def _figures(done: Sequence[Carried]) -> dict[str, Any]:
    cases: dict[str, list[Carried]] = {}
    for one in done:
        cases.setdefault(one.pair.case, []).append(one)
    found = []
    for rows in cases.values():
        before, after = (Overlap.total(getattr(one, side) for one in rows) for side in ("before", "after"))
        shared = before.shared
        found.append([score(shared) for side in (before, after) for score in (side.dice, side.iou)])
    dice_before, iou_before, dice_after, iou_after = zip(*found, strict=True)
    return {
        "cases": len(cases),
        "dice_before": statistics.mean(dice_before),
        "dice_after": statistics.mean(dice_after),
        "dice_worst": min(dice_after),
        "iou_before": statistics.mean(iou_before),
        "iou_after": statistics.mean(iou_after),
        "verdicts": dict(Counter(one.verdict for one in done)),
        "seconds": statistics.median(one.seconds for one in done),
        "itk_differs": sum(one.itk_differs or 0 for one in done),
    }


def table(lines: Sequence[Mapping[str, Any]]) -> str:
    """The lines of :func:`summary` as Markdown."""

    def column(name: str, form: str = "") -> list[str]:
        return [format(line[name], form) if name in line else "-" for line in lines]

    return markdown_table(
        {
            "images": column("images"),
            "method": column("method"),
            "answered": [f"{line['answered']} of {line['asked']}" for line in lines],
            "Dice before": column("dice_before", ".3f"),
            "after": column("dice_after", ".3f"),
            "worst case": column("dice_worst", ".3f"),
            "IoU before": column("iou_before", ".3f"),
            "after ": column("iou_after", ".3f"),
            "verdicts": [
                ", ".join(f"{level} {count}" for level, count in sorted(line.get("verdicts", {}).items())) or "-"
                for line in lines
            ],
            "s an image": column("seconds", ".2f"),
            "voxels that SimpleITK finds otherwise": column("itk_differs"),
        }
    )


def _row(one: Carried) -> dict[str, Any]:
    """A pair for the JSON file."""
    figures = _figures([one]) if not one.refused else {}
    kept = {k: v for k, v in figures.items() if k not in ("cases", "dice_worst", "verdicts", "seconds", "itk_differs")}
    told = {"verdict": one.verdict, "reasons": list(one.reasons), "seconds": one.seconds, "refused": one.refused}
    named = {"images": one.pair.group, "case": one.pair.case, "image": one.pair.image, "reference": one.pair.reference}
    return {**named, "method": one.method, **kept, **told, "itk_differs": one.itk_differs}


def _measure(options: argparse.Namespace) -> None:
    password = os.environ.get("LABEL_SERVER_PASSWORD")
    client = LabelClient(options.url, user=options.user, password=password)
    pairs = [pair for pair in read_pairs(options.studies) if pair.group in options.only]
    found: list[Carried] = []
    for method in options.method:
        for one in measure(client, options.studies, pairs, method):
            found.append(one)
            print(f"{method} {one.pair.image}: {one.refused or one.verdict}", file=sys.stderr)
    lines = summary(found)
    write_json(options.out / "results.json", {"lines": lines, "pairs": [_row(one) for one in found]})
    with atomic_path(options.out / "table.md") as temporary:
        temporary.write_text(table(lines) + "\n", encoding="utf-8")
    print(f"{table(lines)}\nwritten to {options.out}")


def _prepare(options: argparse.Namespace) -> None:
    pairs = prepare_studies(
        options.studies,
        acdc=options.acdc,
        nuclei=options.nuclei,
        patients=options.patients,
        slices=options.slices,
    )
    print(f"{len(pairs)} pairs: images in {options.studies}, true labels in {truth_folder(options.studies)}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Prepares a folder, or measures a server on it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    prepare = commands.add_parser("prepare", help="write a folder of images, and the true labels beside it")
    prepare.set_defaults(run=_prepare)
    prepare.add_argument("--acdc", type=Path, help="cardiac data: ACDC or Sunnybrook")
    prepare.add_argument("--nuclei", type=Path, help="film of nuclei as in the Cell Tracking Challenge")
    prepare.add_argument("--patients", type=int, default=6, help="the last of them (default: %(default)s)")
    prepare.add_argument("--slices", action="store_true", help="single slices of the hearts as well")
    measured = commands.add_parser("measure", help="ask a running server, and score its answers")
    measured.set_defaults(run=_measure)
    measured.add_argument("--url", required=True, help="of the server, such as http://127.0.0.1:8000")
    measured.add_argument("--user", help="name, with the password in LABEL_SERVER_PASSWORD")
    measured.add_argument("--method", nargs="+", default=["auto"], help="methods (default: auto)")
    measured.add_argument("--only", nargs="+", choices=GROUPS, default=GROUPS, help="kinds of images (default: all)")
    measured.add_argument(
        "--out", type=Path, default=Path("runs/label_server_benchmark"), help="(default: %(default)s)"
    )
    for command in (prepare, measured):
        command.add_argument("studies", type=Path, help="folder of images")
    options = parser.parse_args(arguments)
    options.run(options)


if __name__ == "__main__":
    main()
