"""The networks of the paper are what the bundles train, and its figures are the paper's."""

from __future__ import annotations

import pytest

from monai_cellreg.benchmarks.nuclei_networks import NETWORKS, OTHERS, PAPER_UNREGISTERED, table_of
from monai_cellreg.engines import StrictConfigWorkflow
from monai_cellreg.methods import bundle_dir

PAPER = {
    "Affine": 0.910, "Gaussian": 0.929, "TPS": 0.951, "Affine-FlowNet": 0.950, "Gaussian-FlowNet": 0.958,
    "TPS-FlowNet": 0.971, "TPS-Joint": 0.938, "TPS-Joint-Cycle": 0.952,
}  # fmt: skip


def test_figures_and_order_are_those_of_the_paper() -> None:
    assert {name: e.paper_iou for name, e in NETWORKS.items() if e.paper_iou is not None} == PAPER
    assert [name for name in NETWORKS if name != "FlowNet"] == list(PAPER)
    segmentation = {name: e.paper_segmentation_iou for name, e in NETWORKS.items() if e.paper_segmentation_iou}
    assert segmentation == {"TPS-Joint": 0.968, "TPS-Joint-Cycle": 0.972}
    assert PAPER_UNREGISTERED == 0.865
    assert table_of("TPS").startswith("Table 1") and table_of("TPS-Joint").startswith("Table 2")
    assert table_of("segreg") == OTHERS


@pytest.mark.parametrize("name", NETWORKS)
def test_bundles_train_them(name: str) -> None:
    entry = NETWORKS[name]
    workflow = StrictConfigWorkflow(str(bundle_dir(entry.bundle) / "train.json"), overrides=entry.settings)
    told = workflow.parser.get()
    assert told["transformer"] == name.removesuffix("-Cycle").removesuffix("-Joint").lower().replace("-", "_")
    if entry.bundle == "joint":
        assert (told["objective"]["terms"]["cycle"]["weight"] > 0) is name.endswith("Cycle")
