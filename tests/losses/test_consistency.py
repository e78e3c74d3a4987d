"""Equation 3 against NumPy, composed fields against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch import Tensor

from monai_cellreg.losses import CycleConsistencyLoss, InverseConsistencyLoss

Pair = tuple[Tensor, Tensor]


def pairs(channels: int = 1, dtype: torch.dtype = torch.float64) -> tuple[Pair, Pair, Pair, Pair]:
    """Heat maps, warped heat maps, images and warped images, all different."""
    generator = torch.Generator().manual_seed(0)
    heat = torch.rand(4, 2, 1, 4, 5, generator=generator, dtype=dtype)
    image = torch.rand(4, 2, channels, 4, 5, generator=generator, dtype=dtype)
    return (heat[0], heat[1]), (heat[2], heat[3]), (image[0], image[1]), (image[2], image[3])


@pytest.mark.parametrize("alpha", [0.0, 0.1, 2.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_squared_differences_of_heat_maps_and_weighted_images(alpha: float, channels: int) -> None:
    given = pairs(channels)
    heat, warped_heat, image, warped_image = ([side.numpy() for side in pair] for pair in given)
    expected = sum(np.mean((heat[k] - warped_heat[k]) ** 2) for k in (0, 1))
    expected += alpha * sum(np.mean((image[k] - warped_image[k]) ** 2) for k in (0, 1))
    assert CycleConsistencyLoss(alpha)(*given).item() == pytest.approx(expected, rel=1e-12)


def test_consistent_pairs_cost_nothing() -> None:
    heat, _, image, _ = pairs()
    assert CycleConsistencyLoss()(heat, heat, image, image).item() == 0


def test_gradient_reaches_every_input() -> None:
    flat = [value.requires_grad_() for pair in pairs() for value in pair]

    def loss(*values: Tensor) -> Tensor:
        heat, warped_heat, image, warped_image = (values[k : k + 2] for k in (0, 2, 4, 6))
        return CycleConsistencyLoss(0.3)(heat, warped_heat, image, warped_image)

    assert torch.autograd.gradcheck(loss, flat)


@pytest.mark.parametrize("alpha", [-0.1, float("nan")])
def test_weight_below_zero_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match=f"alpha is {alpha}; expected a weight of at least 0"):
        CycleConsistencyLoss(alpha)


def test_sides_of_different_shapes_and_nan_are_refused() -> None:
    heat, warped_heat, image, warped_image = pairs()
    with pytest.raises(ValueError, match="^target has shape 2x1x4x5 but pred has shape 2x1x4x1, expected the same"):
        CycleConsistencyLoss()(heat, (heat[0], heat[1][..., :1]), image, warped_image)  # would broadcast
    with pytest.raises(ValueError, match="^pred holds 40 of 40 values that are NaN"):
        CycleConsistencyLoss()(heat, warped_heat, image, (image[0], image[1] * torch.nan))


SIZES = {2: ((6, 9), (8, 7)), 3: ((4, 5, 6), (5, 4, 7))}
SPACING = {2: (0.5, 3.0), 3: (2.0, 0.7, 1.3)}


def fields(dims: int, dtype: torch.dtype = torch.float64) -> Pair:
    """From fixed to moving, of which some points leave the moving image, and back."""
    generator = torch.Generator().manual_seed(dims)
    there, back = (1.5 * torch.randn(2, dims, *size, generator=generator, dtype=dtype) for size in SIZES[dims])
    return there, back


def squared_misses(there: Tensor, back: Tensor, spacing: tuple[float, ...]) -> np.ndarray:
    """Squared distance (B, 1, *fixed size) of every point to where both maps bring it."""
    missed = []
    for u, v in zip(there.numpy(), back.numpy(), strict=True):
        moved = np.indices(u.shape[1:]) + u
        returned = u + [map_coordinates(component, moved, order=1, mode="nearest") for component in v]
        missed.append(sum((h * r) ** 2 for h, r in zip(spacing, returned, strict=True))[None])
    return np.array(missed)


@pytest.mark.parametrize("with_spacing", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_composed_fields(spatial_dims: int, with_spacing: bool, reduction: str) -> None:
    there, back = fields(spatial_dims)
    spacing = SPACING[spatial_dims] if with_spacing else None
    expected = squared_misses(there, back, spacing or (1.0,) * spatial_dims)
    loss = InverseConsistencyLoss(reduction, spacing=spacing)
    expected_value = expected if reduction == "none" else getattr(expected, reduction)()
    np.testing.assert_allclose(loss(there, back), expected_value, rtol=1e-10)
    assert abs(InverseConsistencyLoss("sum")(back, there) - InverseConsistencyLoss("sum")(there, back)) > 1


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_weighted_points(reduction: str) -> None:
    there, back = fields(2)
    weight = torch.rand(2, 1, 6, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    weight[0, :, 3:] = 0
    weighted = squared_misses(there, back, (1, 1)) * weight.numpy()
    totals = weight.numpy().sum(axis=(1, 2, 3))
    expected = {"mean": np.mean(weighted.sum(axis=(1, 2, 3)) / totals), "sum": weighted.sum(), "none": weighted}
    value = InverseConsistencyLoss(reduction)(there, back, weight)
    np.testing.assert_allclose(value, expected[reduction], rtol=1e-10)


def test_fields_that_undo_each_other_cost_nothing_even_outside() -> None:
    there = torch.full((1, 2, 6, 9), 20.0)
    assert InverseConsistencyLoss()(there, -there).item() == 0
    assert InverseConsistencyLoss(spacing=(1.0, 2.0))(there, 0 * there).item() == pytest.approx(400 + 1600)


def test_batch_is_the_mean_of_its_items_and_what_is_hidden_may_be_nan() -> None:
    there, back = fields(2)
    weight = torch.rand(2, 1, 6, 9, dtype=torch.float64)
    loss = InverseConsistencyLoss()
    single = [loss(there[k : k + 1], back[k : k + 1], weight[k : k + 1]).item() for k in range(2)]
    assert loss(there, back, weight).item() == pytest.approx(np.mean(single), rel=1e-12)
    weight[:, :, 2:4] = 0
    hidden = there.masked_fill(weight == 0, torch.nan)
    assert loss(hidden, back, weight) == loss(there, back, weight)
    with pytest.raises(ValueError, match="^weight is 0 everywhere"):
        loss(there, back, 0 * weight)


def test_gradients_reach_both_fields(spatial_dims: int) -> None:
    weight = torch.rand(2, 1, *SIZES[spatial_dims][0], dtype=torch.float64)
    inputs = [field.requires_grad_() for field in fields(spatial_dims)]
    loss = InverseConsistencyLoss(spacing=SPACING[spatial_dims])
    assert torch.autograd.gradcheck(lambda u, v: loss(u, v, weight), inputs, fast_mode=True)


def test_autocast_and_half_precision_fields_change_nothing_but_their_rounding() -> None:
    there, back = fields(2, torch.float32)
    exact = InverseConsistencyLoss()(there, back)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert InverseConsistencyLoss()(there, back) == exact
    rounded = there.bfloat16(), back.bfloat16()
    value = InverseConsistencyLoss()(*rounded)
    assert value.dtype == torch.float32
    assert value == InverseConsistencyLoss()(*(field.float() for field in rounded))


def test_bad_input_is_refused() -> None:
    there, back = fields(2)
    with pytest.raises(ValueError, match="^pred has shape 2x2x6x9, target 1x2x8x7; expected fields of one batch"):
        InverseConsistencyLoss()(there, back[:1])
    with pytest.raises(ValueError, match="^pred has shape 2x3x6x9.* expected a displacement field"):
        InverseConsistencyLoss()(torch.zeros(2, 3, 6, 9), back)
    for name, given in (("pred", (there / 0, back)), ("target", (there, back / 0))):
        with pytest.raises(ValueError, match=f"^{name} holds .* NaN or infinite"):
            InverseConsistencyLoss()(*given)
    with pytest.raises(ValueError, match="^weight has shape 2x2x6x9 but pred has shape 2x2x6x9.* expected"):
        InverseConsistencyLoss()(there, back, torch.ones(2, 2, 6, 9))
    with pytest.raises(ValueError, match=r"^spacing is \(1, 2, 3\) for 2 axes, expected one number"):
        InverseConsistencyLoss(spacing=(1, 2, 3))(there, back)
    with pytest.raises(ValueError, match="^spacing is .* above 0"):
        InverseConsistencyLoss(spacing=(1, -2))
    with pytest.raises(ValueError, match="^reduction is 'average', expected one of"):
        InverseConsistencyLoss("average")
