"""Points of a frame, back on the reference, against closed forms."""

from __future__ import annotations

import numpy as np
import torch

from monai_cellreg.geometry import AffineTransform, DenseTransform, SamplingGrid
from monai_cellreg.inferers.preimages import preimages

GRID = SamplingGrid((12, 17), np.array([[0.0, 2.0, 30.0], [-0.5, 0.0, -12.0], [0.0, 0.0, 1.0]]))


def test_affine_map_has_a_closed_form() -> None:
    turn = AffineTransform.rigid(0.3, shift=[4.0, -1.0], centre=[30.0, -12.0])
    points = torch.tensor([[33.0, -10.0], [float("nan"), 1.0]], dtype=torch.float64)
    found, reached = preimages(turn, turn.points(points), tolerance=1e-9)
    torch.testing.assert_close(found[0], points[0], rtol=0, atol=1e-9)
    assert found.dtype == torch.float64 and bool(found[1].isnan().any()) and reached.tolist() == [True, True]


def test_field_is_inverted_between_voxels_and_beyond_the_border() -> None:
    bend = DenseTransform(0.4 * torch.sin(GRID.index() / 2).movedim(-1, 0)[None].float(), GRID)
    index = torch.tensor([[3.3, 4.7], [10.9, 0.2], [-2.0, 20.0]], dtype=torch.float64)
    points = GRID.index_to_world(index)
    found, reached = preimages(bend, bend.points(points), tolerance=1e-7)
    assert bool(reached.all())
    torch.testing.assert_close(found, points, rtol=0, atol=1e-6)


def test_map_that_folds_all_over_gives_close_points_and_says_which_were_reached() -> None:
    grid = SamplingGrid((12, 15))
    folding = DenseTransform(8 * torch.randn(1, 2, 12, 15, generator=torch.Generator().manual_seed(0)), grid)
    points = grid.world().reshape(-1, 2)
    found, reached = preimages(folding, points, tolerance=1e-6)
    missed = (folding.points(found) - points).norm(dim=1)
    assert 0.5 < float(reached.double().mean()) < 1
    assert float(missed[reached].max()) <= 1e-6 < float(missed[~reached].min()) and float(missed.max()) < 8
