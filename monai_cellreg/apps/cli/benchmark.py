"""``monai-cellreg benchmark``: methods side by side on the pairs of a case."""

from __future__ import annotations

import argparse

from .options import DONE, Commands, add_command, add_quiet, shows_progress

EXAMPLES = """
monai-cellreg benchmark simulated-nuclei --methods auto elastix --quick
monai-cellreg benchmark known-warps --methods auto elastix --limit 10 --out runs/warps
monai-cellreg benchmark my_pairs.csv --methods auto joint --threads 2 --out runs/mine
"""
CASES = """A case is simulated-nuclei (films of simulated nuclei with exact labels and maps), known-warps (micrographs
that come with scikit-image, warped by known maps), or a CSV file with the columns fixed and moving (image files,
relative to the CSV file) and, where they are known, fixed_label, moving_label, fixed_points and moving_points. Finished
pairs are kept in OUT/rows.jsonl: a run that was stopped goes on where it was."""


def add(commands: Commands) -> None:
    """Adds the command."""
    what = "compare methods on the pairs of a case"
    parser = add_command(commands, "benchmark", _run, what=what, examples=EXAMPLES)
    parser.description = f"{parser.description}\n\n{CASES}"
    parser.add_argument("case", metavar="CASE", help="simulated-nuclei, known-warps or a CSV file")
    parser.add_argument(
        "--methods", nargs="+", required=True, metavar="NAME", help="methods; each is tested against the best"
    )
    parser.add_argument("--quick", action="store_true", help="a few small pairs, to try things in a minute")
    parser.add_argument("--limit", type=int, metavar="N", help="at most N pairs, spread evenly over the case")
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


def _run(options: argparse.Namespace) -> int:
    from monai_cellreg.benchmarks.cases import load_case
    from monai_cellreg.benchmarks.cases_run import RunSettings, run_case
    from monai_cellreg.benchmarks.cases_summary import summary_table

    case = load_case(options.case, quick=options.quick).limited(options.limit)
    settings = RunSettings(tuple(options.methods), options.threads, options.resume, shows_progress(options))
    try:
        summaries = run_case(case, options.out, settings)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(
            f"the finished pairs are kept in {options.out}; the same command goes on from there"
        ) from error
    if not options.quiet:
        print(summary_table(summaries))
        print(f"written to {options.out}")
    return DONE
