"""Pairs of a seed on square images, on which published trainings rest, stay as they were first recorded."""

from __future__ import annotations

import pytest
import torch

from monai_cellreg.transforms import KnownPairs

RECORDED = [0.577338, 0.738392, 1.129726]  # fixed, moving, fixed_to_moving of one pixel
RECORDED_SUM = 8.19004  # of the control points' displacements


def test_square_pairs_stay_as_recorded() -> None:
    index = torch.arange(24.0)
    image = (torch.sin(index / 3)[:, None] * torch.cos(index / 5) / 2 + 0.5)[None, None]
    made = KnownPairs((24, 24), (5, 5), torch.Generator().manual_seed(11))(image, (image > 0.5).float())
    found = [float(made[key][0, 0, 4, 15]) for key in ("fixed", "moving", "fixed_to_moving")]
    assert found == pytest.approx(RECORDED, abs=1e-5)
    assert float(made["parameters"].abs().sum()) == pytest.approx(RECORDED_SUM, rel=1e-5)
