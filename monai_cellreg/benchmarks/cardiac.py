"""The benchmark of hearts: the paper's table of DIRNet and its variants, with everything else that registers beside."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ..data.cine_slice import LABEL_NAMES
from ..utils import ensure_writable_dir
from .cardiac_gallery import save_heart_gallery
from .cardiac_pairs import LEAST_PIXELS, SCORES
from .cases_summary import UNREGISTERED
from .contenders import Contender
from .dirnet_contenders import PairedSettings, entrants
from .dirnet_curves import CURVES, save_learning_curves
from .dirnet_networks import HEARTS, PAPER
from .dirnet_table import hearts_table, remarks
from .paired import PairedCase, measured_pairs
from .paired_files import Told, write_paired_results
from .paired_summary import PairedSummary, summarise_pairs
from .paper_elastix import PAPER_ELASTIX

__all__ = ["DEFAULT_METHODS", "QUICK_METHODS", "run_cardiac"]

DEFAULT_METHODS = (PAPER_ELASTIX, *HEARTS, "auto", "affine", "ants")
"""elastix and the networks of the paper in its order, then the others."""

QUICK_METHODS = (PAPER_ELASTIX, "DIRNet", "DIRNet-C1", "DIRNet-best", "DIRNet-best-refined")
CONTROL_SPACING = 16  # of elastix, in pixels, as of the paper's network
GALLERY = "gallery.png"
PICTURES = {
    "Two pairs; label of the fixed image in magenta, of the other one in green; below, absolute differences": GALLERY,
    "Validation loss of the networks by epoch": CURVES,
}


def run_cardiac(
    case: PairedCase, out: str | os.PathLike[str], settings: PairedSettings, labels: Sequence[int]
) -> tuple[list[PairedSummary], str]:
    """Trains what is missing, registers every pair by every method, and writes the results.

    ``networks/NAME-SEED/`` keeps the networks and ``rows.jsonl`` what was measured, so that an interrupted run goes on
    where it was. At the end ``results.csv``, ``results.json``, ``table.md``, ``report.html``, ``gallery.png`` and
    ``learning_curves.png`` are written.

    Args:
        case: the pairs, as :func:`~monai_cellreg.benchmarks.cardiac_pairs.heart_pairs` gives them.
        out: folder for the files; made when missing.
        settings: what to run, and how.
        labels: that are scored.

    Returns:
        A summary a method, and the table as text.

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
    unit = next(iter(case.pairs.values())).fixed_grid.unit
    notes = [*_notes(labels, unit, settings.threads), *remarks(lines), *found.notes]
    tables = "\n\n".join([hearts_table(lines, unit, PAPER_ELASTIX), *notes]) + "\n"
    save_heart_gallery(folder / GALLERY, case, _shown(found.contenders, lines))
    save_learning_curves(folder, found.networks)
    parameters = {
        "Data": case.name,
        "Pairs": len(case.pairs),
        "Patients": len({case.groups[name] for name in case.pairs}),
        "Methods": ", ".join(settings.methods),
        "Threads": settings.threads,
        "Training": settings.recipe.in_words(),
    }
    told = Told("Benchmark cardiac", SCORES, unit, notes, parameters, PICTURES, _titled)
    write_paired_results(folder, rows, lines, tables, told)
    return lines, tables


def _notes(labels: Sequence[int], unit: str, threads: int) -> list[str]:
    scored = " and ".join(LABEL_NAMES.get(label, f"label {label}") for label in labels)
    return [
        f"Scored: {scored} at end diastole and end systole, each registered to the other, where both have "
        f"{LEAST_PIXELS} pixels or more; mean ± standard deviation over pairs. The paper's figures are of the "
        "myocardium of other patients (Sunnybrook's), in mm.",
        f"HD95: the larger of the two 95th percentiles of the surface distances, fixed to warped and back, in {unit} "
        "(the paper pools both directions, which gives at most as much). MAD: mean absolute surface distance of both.",
        f"p: Wilcoxon's signed-rank test of Dice against {PAPER_ELASTIX} ({CONTROL_SPACING} pixels between control "
        "points, two resolutions, 100 iterations), two-sided; pairs of one patient are not independent, so the second "
        "one is over the means of patients. "
        f"Time: median a pair, each registered on its own with {threads} thread{'s' if threads > 1 else ''}.",
    ]


def _shown(contenders: Sequence[Contender], lines: Sequence[PairedSummary]) -> list[Contender]:
    """elastix as in the paper, the best network in a single pass, and the best of all where it is another."""
    first = {contender.name: contender for contender in reversed(contenders)}
    ranked = sorted(lines, key=lambda line: line.scores["dice"].mean, reverse=True)
    names = [line.method for line in ranked if line.method != UNREGISTERED]
    single = [name for name in names if name in HEARTS and not HEARTS[name].refined]
    return [first[name] for name in dict.fromkeys([PAPER_ELASTIX, *single[:1], *names[:1]]) if name in first]


def _titled(name: str) -> str:
    """The name with the paper's Dice."""
    return f"{name} (paper {PAPER[name].dice})" if name in PAPER and name != UNREGISTERED else name
