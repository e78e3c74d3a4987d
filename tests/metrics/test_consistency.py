"""Inverse consistency against SciPy's reading of the second field."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch import Tensor

from monai_cellreg.geometry import AffineTransform, SamplingGrid, to_voxel_ddf
from monai_cellreg.metrics import InverseConsistencyError

SIZES = {2: ((9, 14), (12, 10)), 3: ((5, 7, 6), (6, 5, 8))}
SPACING = {2: (0.5, 3.0), 3: (2.0, 0.7, 1.3)}


def fields(dims: int) -> tuple[Tensor, Tensor]:
    """From fixed to moving and back, of images of different size."""
    generator = torch.Generator().manual_seed(dims)
    there, back = (1.5 * torch.randn(2, dims, *size, generator=generator) for size in SIZES[dims])
    return there, back


def measured_by_hand(there: np.ndarray, back: np.ndarray, spacing: tuple[float, ...]) -> list[float]:
    """Mean and largest error of the points whose image v is known at, and their share."""
    errors = []
    for where in np.ndindex(there.shape[1:]):
        moved = np.array(where) + there[(slice(None), *where)]
        if (moved < 0).any() or (moved > np.array(back.shape[1:]) - 1).any():
            continue
        returned = moved + [map_coordinates(component, moved[:, None], order=1)[0] for component in back]
        errors.append(np.linalg.norm((returned - where) * spacing))
    return [np.mean(errors), np.max(errors), len(errors) / there[0].size]


@pytest.mark.parametrize("with_spacing", [False, True])
def test_error_of_points_that_stay_inside(spatial_dims: int, with_spacing: bool) -> None:
    there, back = fields(spatial_dims)
    spacing = SPACING[spatial_dims] if with_spacing else None
    pairs = zip(there.double().numpy(), back.double().numpy(), strict=True)
    expected = [measured_by_hand(u, v, spacing or (1.0,) * spatial_dims) for u, v in pairs]
    assert 0.3 < expected[0][2] < 0.95
    metric = InverseConsistencyError(spacing=spacing)
    np.testing.assert_allclose(metric(there, back).numpy(), expected, rtol=1e-4)
    assert metric.aggregate().item() == pytest.approx(np.mean([row[0] for row in expected]), rel=1e-4)
    assert metric.statistics()["max_max"] == pytest.approx(max(row[1] for row in expected), rel=1e-4)


def test_exact_inverse_has_no_error() -> None:
    fixed, moving = SamplingGrid((9, 14)), SamplingGrid((16, 20))
    turn = AffineTransform(torch.tensor([[[1.1, 0.2, 2.0], [-0.1, 0.9, 3.0]]]).double())
    there, back = to_voxel_ddf(turn, fixed, moving), to_voxel_ddf(turn.inverse(), moving, fixed)
    mean, largest, inside = InverseConsistencyError()(there, back)[0].tolist()
    assert mean < largest < 1e-5 and inside == 1
    assert InverseConsistencyError()(there, -back)[0, 0] > 1


def test_shift_and_what_it_leaves() -> None:
    there, back = torch.zeros(2, 1, 2, 10, 5)
    there[:, 0] += 3
    back[:, 0] -= 2.5
    np.testing.assert_allclose(InverseConsistencyError()(there, back), [[0.5, 0.5, 0.7]])
    there[:, 0] += 7
    np.testing.assert_array_equal(InverseConsistencyError()(there, back), [[np.nan, np.nan, 0]])


def test_bad_fields_are_refused() -> None:
    there, back = fields(2)
    with pytest.raises(ValueError, match="^y_pred has shape 2x2x9x14, y None; expected the field from fixed to moving"):
        InverseConsistencyError()(there)
    with pytest.raises(ValueError, match="^y_pred has shape 2x2x9x14, y 1x2x12x10; expected"):
        InverseConsistencyError()(there, back[:1])
    for name, pair in (("y_pred", (there / 0, back)), ("y", (there, back / 0))):
        with pytest.raises(ValueError, match=f"^{name} holds .* NaN or infinite"):
            InverseConsistencyError()(*pair)
