"""The options of ``monai-cellreg benchmark`` that only cases with networks of their own take."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

__all__ = ["CARDIAC", "MNIST", "NUCLEI", "add_case_options", "check_case_options"]

NUCLEI, CARDIAC, MNIST = "nuclei", "cardiac", "mnist"
ALL = (NUCLEI, CARDIAC, MNIST)
WHAT = f"""For the cases with networks of their own, which are trained first and kept in OUT/networks.
{NUCLEI}: films of single nuclei, every frame registered to the first; Affine, Gaussian, TPS, FlowNet, Affine-FlowNet,
Gaussian-FlowNet and TPS-FlowNet register the given segmentations, TPS-Joint and TPS-Joint-Cycle the images alone.
{CARDIAC}: end diastole and end systole of slices of the heart, registered to each other; DIRNet, DIRNet-A1, -A2, -B1,
-B2, -C1 and -C2 are the paper's, DIRNet-best is the bundle's own, DIRNet-best-refined fits each map to its pair.
{MNIST}: digits of one class registered to one of them; DIRNet is one network for all classes, DIRNet-refined fits each
map to its pair. elastix-paper is elastix with the settings of the paper of DIRNet. All that 'monai-cellreg methods'
lists can take part."""


@dataclass(frozen=True)
class _Option:
    """An option: its name, type, what stands for its value, the cases that take it, and what it means."""

    name: str
    kind: type
    metavar: str
    cases: tuple[str, ...]
    what: str


OPTIONS = (
    _Option("data", str, "DIR", ALL, f"{NUCLEI}: folder in the layout of the Cell Tracking Challenge, where every "
            "nucleus seen whole in 3 frames or more is a film, followed by its tracking label (01_GT/TRA), else by its "
            f"number (default: simulated films); {CARDIAC}: folder of ACDC or of Sunnybrook Cardiac Data (default: "
            f"simulated hearts); {MNIST}: folder with the idx files of MNIST"),
    _Option("weights", str, "DIR", ALL, "folder of trained networks, NAME-SEED/model.pt; only what it lacks is trained "
            f"({CARDIAC}, {MNIST}: or the weights of the only network)"),
    _Option("max_epochs", int, "N", ALL, f"epochs of the training ({NUCLEI}: 5, quick: 2; default of the others: as in "
            "the bundle, quick: 2)"),
    _Option("seeds", int, "N", ALL, "networks of each kind, with other chance (default: 1)"),
    _Option("jobs", int, "N", ALL, "trainings side by side, one thread each (default: 2)"),
    _Option("image_size", int, "N", (NUCLEI, CARDIAC), f"side of the networks' images ({NUCLEI}: a multiple of 32, 96, "
            f"quick: 64; {CARDIAC}: as in the bundle, quick and simulated hearts: 128)"),
    _Option("simulated", int, "N", (NUCLEI, CARDIAC), "simulated nuclei to train on (1600, quick: 160, with --train: "
            "0); simulated hearts, without --data (default: 24, quick: 4)"),
    _Option("pairs_per_epoch", int, "N", (CARDIAC, MNIST), "pairs in an epoch (default: as in the bundle, quick: few)"),
    _Option("held_out", int, "N", (CARDIAC,), "patients whose slices are registered, the last ones by name; the others "
            "train (default: 6, quick: 2)"),
    _Option("pairs", int, "N", (MNIST,), "digits of each class that are registered to one of it (default: 100, quick: "
            "5)"),
    _Option("films", int, "N", (NUCLEI,), "without --data: number of simulated films (default: 10, quick: 3)"),
    _Option("frames", int, "N", (NUCLEI,), "at most so many frames of a film, from its first (default: 13, quick: 4)"),
    _Option("frame_size", int, "N", (NUCLEI,), "side of the films' frames in pixels (default: 160, quick: 64)"),
    _Option("train", str, "DIR", (NUCLEI,), "folder of images to train on (default: simulated nuclei alone)"),
)  # fmt: skip
LABELS = _Option(
    "labels",
    int,
    "N",
    (CARDIAC,),
    "labels that are scored, as their mean: 1 right ventricle, 2 myocardium, 3 cavity of the left one (default: 2, or "
    "3 where no slice has 2 on both phases)",
)
AMP = _Option("amp", bool, "", (NUCLEI,), "train in bfloat16")


def add_case_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that only some cases take."""
    group = parser.add_argument_group(", ".join(ALL), WHAT)
    for option in OPTIONS:
        group.add_argument(f"--{option.name}", type=option.kind, metavar=option.metavar, help=_help(option))
    group.add_argument("--labels", nargs="+", type=LABELS.kind, metavar=LABELS.metavar, help=_help(LABELS))
    group.add_argument("--amp", action="store_true", default=None, help=_help(AMP))


def check_case_options(options: argparse.Namespace) -> None:
    """Raises a ``ValueError`` for an option that the case does not take."""
    for option in (*OPTIONS, LABELS, AMP):
        if getattr(options, option.name) is not None and options.case not in option.cases:
            alone = len(option.cases) == 1
            listed = f"{', '.join(option.cases[:-1])} and {option.cases[-1]}"
            cases = f"case {option.cases[0]} alone" if alone else f"cases {listed}"
            raise ValueError(
                f"--{option.name} is an option of the {cases}, but the case is {options.case!r}; leave it out"
            )


def _help(option: _Option) -> str:
    """What an option means, after the cases where these are not all."""
    return option.what if option.cases == ALL else f"[{', '.join(option.cases)}] {option.what}"
