"""What every loss on a voxel displacement field keeps, in 2D and 3D. A new one is tested by one more line in LOSSES."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor, nn

from monai_cellreg.losses import (
    BendingEnergyLoss,
    CurvatureLoss,
    DiffusionLoss,
    ElasticLoss,
    FoldingLoss,
    VolumeChangeLoss,
)

SPACING = {2: (0.5, 2.0), 3: (0.5, 2.0, 1.25)}
SHAPES = {2: (5, 6), 3: (4, 5, 3)}
BOXES = {2: (slice(1, 5), slice(0, 5)), 3: (slice(0, 3), slice(1, 5), slice(0, 3))}

Build = Callable[[int, str], nn.Module]

LOSSES: dict[str, Build] = {
    "diffusion": lambda dims, reduction: DiffusionLoss(reduction=reduction),
    "diffusion, spacing": lambda dims, reduction: DiffusionLoss(reduction=reduction, spacing=SPACING[dims]),
    "bending": lambda dims, reduction: BendingEnergyLoss(reduction=reduction),
    "bending, spacing": lambda dims, reduction: BendingEnergyLoss(reduction=reduction, spacing=SPACING[dims]),
    "curvature": lambda dims, reduction: CurvatureLoss(reduction=reduction, spacing=SPACING[dims]),
    "elastic": lambda dims, reduction: ElasticLoss(0.7, 1.5, reduction=reduction, spacing=SPACING[dims]),
    "folding": lambda dims, reduction: FoldingLoss(0.9, reduction=reduction),
    "folding, linear": lambda dims, reduction: FoldingLoss(0.9, 1, reduction=reduction),
    "volume": lambda dims, reduction: VolumeChangeLoss(0.2, reduction=reduction),
}


@pytest.fixture(params=LOSSES.values(), ids=LOSSES.keys())
def build(request: pytest.FixtureRequest) -> Build:
    return request.param


def drawn(dims: int, *, batch: int = 2, seed: int = 0) -> Tensor:
    """A rough field (batch, D, *SHAPES), float64, that folds at some voxels."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, dims, *SHAPES[dims], dtype=torch.float64, generator=generator)


def weights(dims: int, *, batch: int = 2) -> Tensor:
    """Positive weights (batch, 1, *SHAPES), float64."""
    generator = torch.Generator().manual_seed(9)
    return 0.1 + torch.rand(batch, 1, *SHAPES[dims], dtype=torch.float64, generator=generator)


def box(dims: int) -> Tensor:
    """1 in BOXES, 0 elsewhere; (1, 1, *SHAPES)."""
    mask = torch.zeros(1, 1, *SHAPES[dims], dtype=torch.float64)
    mask[(..., *BOXES[dims])] = 1
    return mask


def value_and_gradient(loss: nn.Module, field: Tensor, *weight: Tensor) -> tuple[Tensor, Tensor]:
    field = field.clone().requires_grad_()
    value = loss(field, *weight)
    return value.detach(), torch.autograd.grad(value, field)[0]


def test_translation_costs_nothing(build: Build, spatial_dims: int) -> None:
    shift = torch.tensor([3.25, -1.5, 0.75][:spatial_dims]).reshape(1, -1, *[1] * spatial_dims)
    loss = build(spatial_dims, "none")(shift.expand(1, spatial_dims, *SHAPES[spatial_dims]))
    assert loss.numel() and loss.abs().max() < 1e-11


@pytest.mark.parametrize("weighted", [False, True])
def test_gradients_of_first_and_second_order(build: Build, spatial_dims: int, weighted: bool) -> None:
    loss = build(spatial_dims, "mean")
    given = [weights(spatial_dims, batch=1)] if weighted else []
    field = drawn(spatial_dims, batch=1).requires_grad_()
    assert loss(field, *given) > 0.01
    assert torch.autograd.gradcheck(lambda x: loss(x, *given), [field], atol=1e-7, fast_mode=spatial_dims == 3)
    assert torch.autograd.gradgradcheck(lambda x: loss(x, *given), [field], atol=1e-6, fast_mode=True)


def test_gradient_of_the_weight(build: Build, spatial_dims: int) -> None:
    loss, field = build(spatial_dims, "mean"), drawn(spatial_dims)
    weight = weights(spatial_dims).requires_grad_()
    assert torch.autograd.gradcheck(lambda w: loss(field, w), [weight], atol=1e-7, fast_mode=True)
    assert torch.autograd.gradcheck(loss, [field.clone().requires_grad_(), weight], atol=1e-7, fast_mode=True)
    assert torch.autograd.grad(loss(field, weight), weight)[0].abs().max() > 1e-4


@pytest.mark.parametrize("batch", [1, 3])
def test_batch_equals_loop_and_mean_of_the_map(build: Build, spatial_dims: int, batch: int) -> None:
    field, weight = drawn(spatial_dims, batch=batch), weights(spatial_dims, batch=batch)
    mean, total, each = (build(spatial_dims, reduction) for reduction in ("mean", "sum", "none"))
    for given in ([], [weight]):
        values = each(field, *given)
        torch.testing.assert_close(total(field, *given), values.sum(), rtol=1e-12, atol=0)
        parts = [mean(field[k : k + 1], *(w[k : k + 1] for w in given)) for k in range(batch)]
        torch.testing.assert_close(mean(field, *given), torch.stack(parts).mean(), rtol=1e-12, atol=0)
    torch.testing.assert_close(mean(field), each(field).mean(), rtol=1e-12, atol=0)
    torch.testing.assert_close(mean(field, weight), mean(field, 7 * weight), rtol=1e-12, atol=0)
    torch.testing.assert_close(total(field, 7 * weight), 7 * total(field, weight), rtol=1e-12, atol=0)
    torch.testing.assert_close(mean(field, weight[:1]), mean(field, weight[:1].expand(batch, *weight.shape[1:])))


def test_equal_weights_change_nothing(build: Build, spatial_dims: int) -> None:
    field = drawn(spatial_dims)
    for reduction in ("mean", "sum", "none"):
        loss = build(spatial_dims, reduction)
        ones = torch.ones(1, 1, *SHAPES[spatial_dims])
        torch.testing.assert_close(loss(field, ones), loss(field), rtol=1e-12, atol=0)


@pytest.mark.parametrize("hidden", [0.0, 100.0, float("nan")])
def test_box_as_weight_gives_the_loss_of_the_cropped_field(build: Build, spatial_dims: int, hidden: float) -> None:
    loss, field, mask = build(spatial_dims, "mean"), drawn(spatial_dims), box(spatial_dims)
    inside = (..., *BOXES[spatial_dims])
    expected, gradient = value_and_gradient(loss, field[inside])
    value, found = value_and_gradient(loss, field.masked_fill(mask == 0, hidden), mask)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(found[inside], gradient, rtol=1e-12, atol=1e-15)
    assert found.masked_fill(mask == 1, 0).abs().max() == 0


def test_autocast_and_halves_do_not_round(build: Build, spatial_dims: int) -> None:
    loss, field = build(spatial_dims, "mean"), drawn(spatial_dims).bfloat16()
    expected, gradient = value_and_gradient(loss, field.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for given in (field, field.float()):
            value, found = value_and_gradient(loss, given)
            assert value.dtype == torch.float32 and found.dtype == given.dtype
            torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-7)
            torch.testing.assert_close(found.double(), gradient, rtol=1e-2, atol=1e-4)
        torch.testing.assert_close(found.double(), gradient, rtol=1e-4, atol=1e-6)


def test_any_layout_and_metadata_give_the_same(build: Build, spatial_dims: int) -> None:
    loss, field = build(spatial_dims, "mean"), drawn(spatial_dims)
    expected, gradient = value_and_gradient(loss, field)
    turned = field.transpose(2, -1).contiguous().transpose(2, -1)
    repeated = field[:1].expand(2, *field.shape[1:])
    assert not turned.is_contiguous()
    for other in (turned, field.movedim(1, -1).contiguous().movedim(-1, 1)):
        value, found = value_and_gradient(loss, other)
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
        torch.testing.assert_close(found, gradient, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(loss(repeated), loss(field[:1]), rtol=1e-12, atol=0)
    flipped = weights(spatial_dims).transpose(2, -1).contiguous().transpose(2, -1)
    torch.testing.assert_close(loss(field, flipped), loss(field, flipped.contiguous()), rtol=1e-12, atol=0)
    tagged = loss(MetaTensor(field))
    assert type(tagged) is Tensor and tagged == expected
    whole = loss((10 * field).long())
    torch.testing.assert_close(whole.double(), loss((10 * field).long().double()), rtol=1e-5, atol=1e-7)


def test_second_backward_gives_the_same_and_inputs_are_kept(build: Build, spatial_dims: int) -> None:
    loss, weight = build(spatial_dims, "mean"), weights(spatial_dims)
    field = drawn(spatial_dims).requires_grad_()
    before = field.detach().clone(), weight.clone()
    value = 3 * loss(field, weight)
    first = torch.autograd.grad(value, field, retain_graph=True)[0].clone()
    differentiable = torch.autograd.grad(value, field, create_graph=True)[0]
    torch.testing.assert_close(differentiable, first, rtol=1e-12, atol=1e-15)
    second = torch.autograd.grad(2 * value, field)[0]
    torch.testing.assert_close(second, 2 * first, rtol=1e-12, atol=1e-15)
    assert torch.equal(field.detach(), before[0]) and torch.equal(weight, before[1])


def test_export(build: Build) -> None:
    loss, field, weight = build(2, "mean"), drawn(2).float(), weights(2).float()
    for given in ((field,), (field, weight)):
        exported = torch.export.export(loss, given).module()
        torch.testing.assert_close(exported(2 * given[0], *given[1:]), loss(2 * given[0], *given[1:]))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 8, 8), r"pred has shape 1x3x8x8, expected a displacement field \(B, D, \*spatial\)"),
        ((8, 8), "pred has shape 8x8, expected"),
        ((0, 2, 8, 8), "pred has shape 0x2x8x8, expected"),
        (
            (1, 3, 8, 1, 8),
            r"pred is one voxel thick along axis 1 \(spatial shape 8x1x8\), expected at least [23] along",
        ),
        ((1, 2, 0, 8), "pred is 0 voxels thick along axis 0"),
    ],
)
def test_field_that_does_not_fit_is_refused(build: Build, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(2, "mean")(torch.zeros(shape))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_field_that_is_not_finite_is_refused(build: Build, spatial_dims: int, value: float) -> None:
    field = drawn(spatial_dims)
    field[(1, 0, *[2] * spatial_dims)] = value
    for given in ([], [weights(spatial_dims)]):
        with pytest.raises(
            ValueError, match=r"pred holds 1 of \d+ values that are NaN or infinite, the first at index"
        ):
            build(spatial_dims, "mean")(field, *given)


def test_weight_that_does_not_fit_is_refused(build: Build, spatial_dims: int) -> None:
    loss, field, weight = build(spatial_dims, "mean"), drawn(spatial_dims), weights(spatial_dims)
    for wrong in (weight[0], weight[..., :-1], weight.expand(2, spatial_dims, *SHAPES[spatial_dims]), weight[:0]):
        with pytest.raises(
            ValueError, match=r"weight has shape [\dx]+ but pred has shape [\dx]+, expected \(2 or 1, 1, "
        ):
            loss(field, wrong)
    with pytest.raises(ValueError, match="weight has a value of -0.5, expected 0"):
        loss(field, torch.where(weight == weight.max(), -0.5, weight))
    with pytest.raises(ValueError, match="weight holds 1 of"):
        loss(field, torch.where(weight == weight.max(), float("nan"), weight))
    weight[1] = 0
    with pytest.raises(ValueError, match="weight is 0 at every voxel.* of item 1, expected some voxel above 0"):
        loss(field, weight)


def test_unknown_reduction_is_refused(build: Build) -> None:
    with pytest.raises(ValueError, match="reduction is 'max', expected one of 'none', 'mean', 'sum'"):
        build(2, "max")
