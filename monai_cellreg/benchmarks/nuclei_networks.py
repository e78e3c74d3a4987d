"""The networks of the paper's two tables: what each is in a bundle, and what the paper reports of it.

References:
    Deep learning for non-rigid registration of cell nuclei in temporal microscopy images, Proc. SPIE 12032, 2022,
    Tables 1 and 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["NETWORKS", "OTHERS", "PAPER_UNREGISTERED", "TABLES", "NetworkEntry", "table_of"]

PAPER_UNREGISTERED = 0.865

SEGMENTED, JOINT, OTHERS = (
    "Table 1: registering the given segmentations",
    "Table 2: registering images alone",
    "Other methods, from images alone unless they take segmentations",
)
TABLES = (SEGMENTED, JOINT, OTHERS)
"""Headings of the tables in their order."""


@dataclass(frozen=True)
class NetworkEntry:
    """A network of a table.

    Args:
        table: heading of the table.
        bundle: that trains it.
        paper_iou: registration IoU in the paper; ``None`` for a network that the paper leaves out.
        paper_segmentation_iou: segmentation IoU in the paper, where the network segments.
        transformer: its transformation models.
        training: overrides that make the bundle train it.
    """

    table: str
    bundle: str
    paper_iou: float | None
    paper_segmentation_iou: float | None = None
    transformer: str = "tps"
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Any]:
        """All overrides of the bundle's training."""
        return {"transformer": self.transformer, **self.training}


def _segmented(transformer: str, paper_iou: float | None) -> NetworkEntry:
    return NetworkEntry(SEGMENTED, "segreg", paper_iou, transformer=transformer)


def _joint(paper_iou: float, segmentation_iou: float, cycle: float) -> NetworkEntry:
    training = {"objective::terms::cycle::weight": cycle}
    return NetworkEntry(JOINT, "joint", paper_iou, segmentation_iou, training=training)


NETWORKS: Mapping[str, NetworkEntry] = {
    "Affine": _segmented("affine", 0.910),
    "Gaussian": _segmented("gaussian", 0.929),
    "TPS": _segmented("tps", 0.951),
    "FlowNet": _segmented("flownet", None),
    "Affine-FlowNet": _segmented("affine_flownet", 0.950),
    "Gaussian-FlowNet": _segmented("gaussian_flownet", 0.958),
    "TPS-FlowNet": _segmented("tps_flownet", 0.971),
    "TPS-Joint": _joint(0.938, 0.968, cycle=0.0),
    "TPS-Joint-Cycle": _joint(0.952, 0.972, cycle=0.1),
}
"""Every network by its name in the paper, in the order of the paper."""


def table_of(method: str) -> str:
    """Heading of the table that a method belongs to."""
    return NETWORKS[method].table if method in NETWORKS else OTHERS
