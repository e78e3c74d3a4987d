"""``monai-cellreg benchmark``: methods side by side on the pairs of a case."""

from __future__ import annotations

import argparse

from .benchmark_nuclei import NUCLEI, add_nuclei_options, given_nuclei_options, run_nuclei_case
from .options import DONE, Commands, add_command, add_quiet, shows_progress

EXAMPLES = """
monai-cellreg benchmark simulated-nuclei --methods auto elastix --quick
monai-cellreg benchmark known-warps --methods auto elastix --limit 10 --out runs/warps
monai-cellreg benchmark my_pairs.csv --methods auto joint --threads 2 --out runs/mine
monai-cellreg benchmark nuclei --quick
monai-cellreg benchmark nuclei --data my_films --limit 20 --methods TPS-Joint TPS-Joint-Cycle elastix --seeds 3
monai-cellreg benchmark nuclei --data my_films --train my_images --max_epochs 20 --amp --out runs/nuclei
monai-cellreg benchmark nuclei --data other_films --weights runs/nuclei/networks --out runs/others
"""
CASES = """A case is simulated-nuclei (films of simulated nuclei with exact labels and maps), known-warps (micrographs
that come with scikit-image, warped by known maps), a CSV file with the columns fixed and moving (image files, relative
to the CSV file) and, where they are known, fixed_label, moving_label, fixed_points and moving_points, or nuclei (the
paper's tables of registering films of nuclei, networks and all). Finished pairs are kept in OUT/rows.jsonl: a run that
was stopped goes on where it was."""


def add(commands: Commands) -> None:
    """Adds the command."""
    what = "compare methods on the pairs of a case"
    parser = add_command(commands, "benchmark", _run, what=what, examples=EXAMPLES)
    parser.description = f"{parser.description}\n\n{CASES}"
    parser.add_argument("case", metavar="CASE", help="simulated-nuclei, known-warps, a CSV file or nuclei")
    parser.add_argument(
        "--methods",
        nargs="+",
        default=[],
        metavar="NAME",
        help="methods; each is tested against the best (nuclei: against the one above; all of them by default)",
    )
    parser.add_argument("--quick", action="store_true", help="few and small, to try things in a minute or two")
    parser.add_argument("--limit", type=int, metavar="N", help="at most N pairs (nuclei: films), spread evenly")
    parser.add_argument(
        "--out", default="benchmark", metavar="DIR", help="folder for the results (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="processor threads (default: %(default)s)")
    parser.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="go on where a run in the same folder was stopped (default), or start again",
    )
    add_quiet(parser)
    add_nuclei_options(parser)


def _run(options: argparse.Namespace) -> int:
    run = run_nuclei_case if options.case == NUCLEI else _run_pairs
    try:
        return run(options)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(f"what is finished is kept in {options.out}; the same command goes on there") from error


def _run_pairs(options: argparse.Namespace) -> int:
    if given := given_nuclei_options(options):
        raise ValueError(
            f"--{given[0]} is an option of the case {NUCLEI} alone, but the case is {options.case!r}; leave it out"
        )
    if not options.methods:
        raise ValueError("methods is empty; expected --methods and one or more names, such as auto elastix")
    from monai_cellreg.benchmarks.cases import load_case
    from monai_cellreg.benchmarks.cases_run import RunSettings, run_case
    from monai_cellreg.benchmarks.cases_summary import summary_table

    case = load_case(options.case, quick=options.quick).limited(options.limit)
    settings = RunSettings(tuple(options.methods), options.threads, options.resume, shows_progress(options))
    summaries = run_case(case, options.out, settings)
    if not options.quiet:
        print(summary_table(summaries))
        print(f"written to {options.out}")
    return DONE
