"""elastix as in the paper of DIRNet, against elastix's own parameter map."""

from __future__ import annotations

import itk
import numpy as np
import torch

from monai_cellreg.benchmarks.paper_elastix import paper_elastix
from monai_cellreg.geometry import BSplineTransform, Pair, SamplingGrid, resample

OTHER = {  # what differs on purpose from elastix's own map of two resolutions
    "Metric": ["AdvancedNormalizedCorrelation"],
    "Registration": ["MultiResolutionRegistration"],
    "MaximumNumberOfIterations": ["100"],
}


def test_it_is_elastix_own_map_but_for_what_the_paper_says() -> None:
    (stage,) = paper_elastix(16).stages
    own = itk.ParameterObject.New().GetDefaultParameterMap("bspline", 2, 16.0)
    assert isinstance(stage, dict)
    assert stage.pop("FinalGridSpacingInVoxels") == ["16"]
    assert {key: list(own[key]) for key in stage} | OTHER == stage
    assert paper_elastix(4).stages[0]["FinalGridSpacingInVoxels"] == ["4"]  # type: ignore[index,call-overload]
    assert paper_elastix(4, threads=2).threads == 2


def test_control_points_are_so_many_pixels_apart_whatever_the_unit() -> None:
    axes = torch.meshgrid(torch.arange(32.0), torch.arange(40.0), indexing="ij")
    fixed, moving = (torch.exp(-((axes[0] - 15 - s) ** 2 + (axes[1] - 20) ** 2) / 60)[None] for s in (0.0, 2.0))
    grid = SamplingGrid((32, 40), np.diag([1.5, 1.25, 1.0]), unit="mm")
    found = paper_elastix(8, threads=1).register(Pair(fixed, moving, grid, grid))
    assert isinstance(found, BSplineTransform)
    np.testing.assert_allclose(found.lattice.spacing, [8 * 1.5, 8 * 1.25], rtol=1e-6)
    warped = resample(moving[None], found, grid, grid)[0]
    assert float((warped - fixed).abs().mean()) < 0.4 * float((moving - fixed).abs().mean())
