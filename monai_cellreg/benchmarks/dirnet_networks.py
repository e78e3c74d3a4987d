"""The networks of the paper of DIRNet: what each is in the bundle, and what the paper reports of it.

References:
    de Vos et al., End-to-end unsupervised deformable image registration with a convolutional neural network,
    DLMIA 2017, Table 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .cases_summary import UNREGISTERED
from .paper_elastix import PAPER_ELASTIX

__all__ = ["BUNDLE", "DIGITS", "HEARTS", "PAPER", "NetworkEntry", "PaperFigures"]

BUNDLE = "dirnet"
FEW = {"batch_size": 8}  # four times the paper's steps in the same time
PAPER_OVERLAYS = ("paper.json",)  # of the bundle: its networks and their training as in the paper


@dataclass(frozen=True)
class PaperFigures:
    """Mean and standard deviation as the paper prints them; distances in mm."""

    dice: str
    hd95: str
    msd: str


@dataclass(frozen=True)
class NetworkEntry:
    """A network of a table.

    Args:
        overlays: configuration files of the bundle beside that of the data.
        settings: overrides that make the bundle train it.
        trained_as: name of the network whose weights it uses; its own when empty.
        refined: whether each map is then fitted to its pair in a few steps.
    """

    overlays: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    trained_as: str = ""
    refined: bool = False


HEARTS: Mapping[str, NetworkEntry] = {
    "DIRNet": NetworkEntry(PAPER_OVERLAYS, FEW),
    **{f"DIRNet-{v}": NetworkEntry(PAPER_OVERLAYS, FEW | {"variant": v}) for v in ("A1", "A2", "B1", "B2", "C1", "C2")},
    "DIRNet-best": NetworkEntry(),
    "DIRNet-best-refined": NetworkEntry(trained_as="DIRNet-best", refined=True),
}
"""Networks for hearts by their names: those of the paper, then the bundle's own settings."""

DIGITS: Mapping[str, NetworkEntry] = {
    "DIRNet": NetworkEntry(),
    "DIRNet-refined": NetworkEntry(trained_as="DIRNet", refined=True),
}
"""Networks for digits: one for all classes, where the paper trains one for each."""

PAPER: Mapping[str, PaperFigures] = {
    UNREGISTERED: PaperFigures("0.62 ± 0.15", "7.79 ± 2.92", "2.89 ± 1.07"),
    PAPER_ELASTIX: PaperFigures("0.79 ± 0.08", "5.09 ± 2.36", "1.91 ± 0.94"),
    "DIRNet": PaperFigures("0.79 ± 0.08", "5.20 ± 2.30", "1.92 ± 0.89"),
    "DIRNet-A1": PaperFigures("0.78 ± 0.08", "5.26 ± 2.16", "1.95 ± 0.85"),
    "DIRNet-A2": PaperFigures("0.78 ± 0.08", "5.30 ± 2.28", "1.97 ± 0.87"),
    "DIRNet-B1": PaperFigures("0.72 ± 0.11", "6.41 ± 2.61", "2.40 ± 0.96"),
    "DIRNet-B2": PaperFigures("0.78 ± 0.09", "5.48 ± 2.36", "2.01 ± 0.89"),
    "DIRNet-C1": PaperFigures("0.80 ± 0.08", "5.03 ± 2.30", "1.83 ± 0.89"),
    "DIRNet-C2": PaperFigures("0.76 ± 0.09", "5.55 ± 2.24", "2.10 ± 0.90"),
}
"""The paper's Table 1, on the myocardium of 129 slices of Sunnybrook's test patients."""
