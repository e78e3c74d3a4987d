"""The networks of the paper are what the bundle trains, and the figures are the paper's."""

from __future__ import annotations

import pytest

from monai_cellreg.benchmarks.dirnet_networks import BUNDLE, DIGITS, HEARTS, PAPER, NetworkEntry
from monai_cellreg.engines import StrictConfigWorkflow
from monai_cellreg.methods import bundle_dir
from monai_cellreg.networks import DIRNet

TABLE = """
unregistered 0.62 0.15 7.79 2.92 2.89 1.07
elastix-paper 0.79 0.08 5.09 2.36 1.91 0.94
DIRNet 0.79 0.08 5.20 2.30 1.92 0.89
DIRNet-A1 0.78 0.08 5.26 2.16 1.95 0.85
DIRNet-A2 0.78 0.08 5.30 2.28 1.97 0.87
DIRNet-B1 0.72 0.11 6.41 2.61 2.40 0.96
DIRNet-B2 0.78 0.09 5.48 2.36 2.01 0.89
DIRNet-C1 0.80 0.08 5.03 2.30 1.83 0.89
DIRNet-C2 0.76 0.09 5.55 2.24 2.10 0.90
"""


def test_figures_are_those_of_the_paper() -> None:
    told = {line.split()[0]: line.split()[1:] for line in TABLE.strip().splitlines()}
    written = {name: f"{p.dice} {p.hd95} {p.msd}".replace(" ±", "").split() for name, p in PAPER.items()}
    assert written == told


def network(entry: NetworkEntry, overlay: str) -> tuple[DIRNet, dict]:
    """What the bundle trains."""
    files = [str(bundle_dir(BUNDLE) / file) for file in ("train.json", overlay, *entry.overlays)]
    workflow = StrictConfigWorkflow(files, overrides=entry.settings)
    return workflow.parser.get_parsed_content("network_def"), workflow.parser.get()


@pytest.mark.parametrize("name", [name for name in HEARTS if name in PAPER])
def test_the_paper_s_networks_have_one_stage_of_16_pixels_and_its_loss(name: str) -> None:
    found, told = network(HEARTS[name], "train_cardiac.json")
    assert found.levels == (4,) and found.image_size == (256, 256)
    assert told["variant"] == (name.partition("-")[2] or "B") and told["affine"] is False
    assert (told["ncc"], told["lncc"], told["bending"], told["channels"]) == (1.0, 0.0, 0.0, 16)


def test_other_networks_are_the_bundle_s_own() -> None:
    assert not HEARTS["DIRNet-best"].overlays and not HEARTS["DIRNet-best"].settings
    refined = {n: e.trained_as for entries in (HEARTS, DIGITS) for n, e in entries.items() if e.refined}
    assert refined == {"DIRNet-best-refined": "DIRNet-best", "DIRNet-refined": "DIRNet"}
    assert network(DIGITS["DIRNet"], "train_mnist.json")[0].image_size == (28, 28)
