"""``monai-cellreg benchmark``: methods side by side on the pairs of a case."""

from __future__ import annotations

import argparse

from .benchmark_cardiac import run_cardiac_case
from .benchmark_mnist import run_mnist_case
from .benchmark_nuclei import run_nuclei_case
from .benchmark_options import CARDIAC, MNIST, NUCLEI, add_case_options, check_case_options
from .options import DONE, Commands, add_command, add_quiet, shows_progress

EXAMPLES = """
monai-cellreg benchmark simulated-nuclei --methods auto elastix --quick
monai-cellreg benchmark known-warps --methods auto elastix --limit 10 --out runs/warps
monai-cellreg benchmark my_pairs.csv --methods auto joint --threads 2 --out runs/mine
monai-cellreg benchmark nuclei --quick
monai-cellreg benchmark nuclei --data my_films --limit 20 --methods TPS-Joint TPS-Joint-Cycle elastix --seeds 3
monai-cellreg benchmark nuclei --data my_films --train my_images --max_epochs 20 --amp --out runs/nuclei
monai-cellreg benchmark nuclei --data other_films --weights runs/nuclei/networks --out runs/others
monai-cellreg benchmark cardiac --quick
monai-cellreg benchmark cardiac --data ACDC --held_out 6 --out runs/hearts
monai-cellreg benchmark cardiac --data sunnybrook --held_out 2 --methods elastix-paper dirnet-cardiac auto
monai-cellreg benchmark mnist --data MNIST --pairs 1000 --out runs/digits
"""
CASES = """A case is simulated-nuclei (films of simulated nuclei with exact labels and maps), known-warps (micrographs
that come with scikit-image, warped by known maps), a CSV file with the columns fixed and moving (image files, relative
to the CSV file) and, where they are known, fixed_label, moving_label, fixed_points and moving_points, or the tables and
pictures of a paper, networks and all: nuclei (films of nuclei), cardiac (slices of the heart, DIRNet) or mnist (digits,
DIRNet). Finished pairs are kept in OUT/rows.jsonl: a run that was stopped goes on where it was."""

RUNS = {NUCLEI: run_nuclei_case, CARDIAC: run_cardiac_case, MNIST: run_mnist_case}


def add(commands: Commands) -> None:
    """Adds the command."""
    what = "compare methods on the pairs of a case"
    parser = add_command(commands, "benchmark", _run, what=what, examples=EXAMPLES)
    parser.description = f"{parser.description}\n\n{CASES}"
    parser.add_argument(
        "case", metavar="CASE", help="simulated-nuclei, known-warps, a CSV file, nuclei, cardiac or mnist"
    )
    parser.add_argument(
        "--methods",
        nargs="+",
        default=[],
        metavar="NAME",
        help="methods; each is tested against the best (nuclei: the one above; cardiac, mnist: elastix-paper; these "
        "three have defaults)",
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
    add_case_options(parser)


def _run(options: argparse.Namespace) -> int:
    check_case_options(options)
    try:
        return RUNS.get(options.case, _run_pairs)(options)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(f"what is finished is kept in {options.out}; the same command goes on there") from error


def _run_pairs(options: argparse.Namespace) -> int:
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
