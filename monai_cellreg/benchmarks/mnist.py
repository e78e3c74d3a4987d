"""The benchmark of digits: one network for all classes beside elastix, and the paper's picture of class averages."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ..report import Panel, save_panels
from ..utils import ensure_writable_dir
from .cases_summary import UNREGISTERED
from .dirnet_contenders import PairedSettings, entrants
from .dirnet_curves import CURVES, save_learning_curves
from .dirnet_table import digits_table, remarks
from .journal import Row
from .mnist_digits import SCORES, mean_warped
from .paired import PairedCase, measured_pairs
from .paired_files import Told, write_paired_results
from .paired_summary import PairedSummary, summarise_pairs
from .paper_elastix import PAPER_ELASTIX

__all__ = ["DEFAULT_METHODS", "run_mnist", "save_class_averages"]

DEFAULT_METHODS = ("DIRNet", PAPER_ELASTIX)
CONTROL_SPACING = 4  # of elastix, in pixels, as of the paper's network
AVERAGES = "class_averages.png"
PICTURES = {
    "Means of all moving digits of a class, the fixed one, and means of the registered ones": AVERAGES,
    "Validation loss of the networks by epoch": CURVES,
}


def run_mnist(
    case: PairedCase, out: str | os.PathLike[str], settings: PairedSettings
) -> tuple[list[PairedSummary], str]:
    """Trains the network unless it has weights, registers every pair by every method, and writes the results.

    ``networks/NAME-SEED/`` keeps the networks and ``rows.jsonl`` what was measured, so that an interrupted run goes on
    where it was. At the end ``results.csv``, ``results.json``, ``table.md``, ``report.html``, ``class_averages.png``
    and ``learning_curves.png`` are written.

    Args:
        case: the pairs, as :func:`~monai_cellreg.benchmarks.mnist_digits.digit_pairs` gives them.
        out: folder for the files; made when missing.
        settings: what to run, and how.

    Returns:
        A summary a method, and the tables as text.

    Raises:
        ValueError: when no method can run, or the folder holds other pairs or networks.
        OSError: when the folder cannot be written.
    """
    folder = ensure_writable_dir(out)
    found = entrants(settings, folder / "networks", CONTROL_SPACING)
    rows = measured_pairs(
        case,
        found.contenders,
        folder,
        threads=settings.threads,
        resume=settings.resume,
        progress=settings.progress,
    )
    lines = summarise_pairs(rows, SCORES, peer=PAPER_ELASTIX)
    notes = [*_notes(settings.threads), *remarks(lines), *found.notes]
    tables = "\n\n".join([digits_table(lines, rows, PAPER_ELASTIX), *notes]) + "\n"
    save_class_averages(folder / AVERAGES, case, rows)
    save_learning_curves(folder, found.networks)
    parameters = {
        "Data": case.name,
        "Pairs": len(case.pairs),
        "Methods": ", ".join(settings.methods),
        "Threads": settings.threads,
        "Training": settings.recipe.in_words(),
    }
    told = Told("Benchmark mnist", SCORES, notes=notes, parameters=parameters, pictures=PICTURES)
    write_paired_results(folder, rows, lines, tables, told)
    return lines, tables


def _notes(threads: int) -> list[str]:
    return [
        "Mean ± standard deviation over pairs. NCC: correlation of the fixed and the registered image. Dice: of what "
        "is above 0.5 in them.",
        f"p: Wilcoxon's signed-rank test of NCC against {PAPER_ELASTIX} ({CONTROL_SPACING} pixels between control "
        "points, two resolutions, 100 iterations), two-sided; pairs of one digit are not independent, so the second "
        "one is over the means of digits. "
        f"Time: median a pair, each registered on its own with {threads} thread{'s' if threads > 1 else ''}.",
    ]


def save_class_averages(path: str | os.PathLike[str], case: PairedCase, rows: Sequence[Row]) -> None:
    """Writes a PNG: a column a class, with the mean moving digit, the fixed one, and the mean registered one by method.

    The sharper the mean, the better the digits lie on each other; where it looks like the fixed digit they lie on it.
    Of several networks of one name the first is shown.

    Args:
        path: file to write, ending in ``.png``.
        case: the pairs.
        rows: of all pairs.
    """
    fixed = {case.groups[name]: pair.fixed[0].numpy() for name, pair in case.pairs.items()}
    labels = {row["name"]: row["method"] for row in reversed(rows)}
    order = [name for name in dict.fromkeys(row["name"] for row in rows) if name != UNREGISTERED]
    means = {
        name: [
            Panel(mean_warped([r for r in rows if (r["method"], r["group"]) == (labels[name], group)], image.shape))
            for group, image in fixed.items()
        ]
        for name in (UNREGISTERED, *order)
    }
    shown = [means[UNREGISTERED], [Panel(image) for image in fixed.values()], *(means[name] for name in order)]
    save_panels(path, shown, names=["moving", "fixed", *order])
