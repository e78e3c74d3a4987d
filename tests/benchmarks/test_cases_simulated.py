"""The simulated films come with labels and maps that fit each other."""

from __future__ import annotations

import numpy as np
import torch

from monai_cellreg.benchmarks.cases_simulated import simulated_nuclei
from monai_cellreg.geometry import resample


def test_the_true_map_brings_the_labels_together() -> None:
    pairs = simulated_nuclei(quick=True)
    for load in list(pairs.values())[:2]:
        pair = load()
        assert pair.fixed_grid.shape == (96, 96)
        fixed, moving = (torch.as_tensor(np.asarray(x)) for x in (pair.fixed_label, pair.moving_label))
        warped = resample(moving[None], pair.truth, pair.fixed_grid, pair.moving_grid, mode="nearest")[0]
        before, after = (2 * (fixed * x).sum() / (fixed + x).sum() for x in (moving, warped))
        assert before < 0.95 and after > 0.98


def test_films_differ_and_stay_the_same() -> None:
    first, second = list(simulated_nuclei(quick=True).values())[:2]
    assert not torch.equal(first().fixed, second().fixed)
    assert torch.equal(first().moving, first().moving)
