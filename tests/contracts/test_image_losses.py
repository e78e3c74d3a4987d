"""What every image loss keeps, in 2D and 3D. A new loss is tested by one more line in LOSSES."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck

from monai_cellreg.losses import (
    GlobalMutualInformationLoss,
    LocalNormalizedCrossCorrelationLoss,
    MINDSSCLoss,
    MSELoss,
    MultiScaleLoss,
    NCCLoss,
    NormalizedGradientFieldsLoss,
    NormalizedMutualInformationLoss,
)

SHAPES = {2: (16, 20), 3: (8, 12, 16)}
BOXES = {2: (slice(4, 16), slice(8, 16)), 3: (slice(4, 8), slice(0, 8), slice(4, 16))}  # whole blocks of four
SMALL = {2: (4, 3), 3: (2, 4, 3)}
BATCH, CHANNELS = 3, 2


@dataclass(frozen=True)
class Member:
    """An image loss.

    Args:
        build: number of spatial axes and reduction to the loss.
        of: what ``reduction="none"`` gives: ``"voxel"`` a map like the images, ``"channel"`` (B, C), ``"image"`` (B,)
            and ``"scale"`` a value for each scale.
        in_target: whether it is differentiable in the target.
    """

    build: Callable[[int, str], nn.Module]
    of: str
    in_target: bool = True


LOSSES = {
    "mse": Member(lambda dims, reduction: MSELoss(reduction), "voxel"),
    "ncc": Member(lambda dims, reduction: NCCLoss(reduction), "channel"),
    "lncc": Member(lambda dims, how: LocalNormalizedCrossCorrelationLoss(dims, 3, reduction=how), "voxel"),
    "lncc-gauss": Member(lambda dims, how: LocalNormalizedCrossCorrelationLoss(dims, 5, "gaussian", how), "voxel"),
    "mi": Member(lambda dims, how: GlobalMutualInformationLoss(num_bins=8, reduction=how), "image"),
    "mi-spline": Member(lambda dims, how: GlobalMutualInformationLoss("b-spline", 9, reduction=how), "image", False),
    "nmi": Member(lambda dims, how: NormalizedMutualInformationLoss(num_bins=8, reduction=how), "image"),
    "nmi-spline": Member(lambda dims, r: NormalizedMutualInformationLoss("b-spline", 9, reduction=r), "image", False),
    "mind": Member(lambda dims, how: MINDSSCLoss(1, 1, reduction=how), "voxel"),
    "ngf": Member(lambda dims, how: NormalizedGradientFieldsLoss(reduction=how), "voxel"),
    "multi-scale": Member(lambda dims, how: MultiScaleLoss(NCCLoss(), (1, 2, 4), how), "scale"),
}


@pytest.fixture(params=LOSSES.values(), ids=LOSSES.keys())
def member(request: pytest.FixtureRequest) -> Member:
    return request.param


Images = tuple[Tensor, Tensor, Tensor]


def drawn(shape: tuple[int, ...], *, batch: int = BATCH, channels: int = CHANNELS, seed: int = 0) -> Images:
    """Two related images inside (0, 1) and a weight with hidden voxels, float64."""
    generator = torch.Generator().manual_seed(seed)
    target, noise, weight = torch.rand(3, batch, channels, *shape, generator=generator, dtype=torch.float64)
    pred = 0.1 + 0.5 * target**2 + 0.3 * noise
    weight = weight.where(weight > 0.3, 0)
    return pred, 0.05 + 0.9 * target, weight


def value_and_slope(
    loss: nn.Module, pred: Tensor, target: Tensor, weight: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The loss and its gradient in ``pred``."""
    pred = pred.clone().requires_grad_()
    value = loss(pred, target, weight)
    value.backward()
    assert pred.grad is not None
    return value.detach(), pred.grad


def assert_close(actual: Tensor, expected: Tensor, error: float = 1e-9) -> None:
    torch.testing.assert_close(actual, expected, rtol=error, atol=error)


# --- value ----------------------------------------------------------------------------------------------------------


def test_lower_for_images_in_place(member: Member, spatial_dims: int) -> None:
    loss = member.build(spatial_dims, "mean")
    pred, target, weight = drawn(SHAPES[spatial_dims])
    in_place = loss(pred, target, weight)
    for axis in range(2, 2 + spatial_dims):
        assert float(loss(pred.roll(1, axis), target, weight)) > float(in_place) + 1e-3


def test_axes_are_alike(member: Member, spatial_dims: int) -> None:
    loss = member.build(spatial_dims, "mean")
    images = drawn(SHAPES[spatial_dims])
    turned = [image.movedim(2, -1) for image in images]
    mirrored = [image.flip(2) for image in images]
    assert_close(loss(*turned), loss(*images))
    assert_close(loss(*mirrored), loss(*images))


def test_reductions(member: Member, spatial_dims: int) -> None:
    mean, sum_, none = (member.build(spatial_dims, reduction) for reduction in ("mean", "sum", "none"))
    for *pair, weight in (drawn(SHAPES[spatial_dims]), (*drawn(SHAPES[spatial_dims])[:2], None)):
        parts = none(*pair, weight)
        shapes = {"voxel": pair[0].shape, "channel": (BATCH, CHANNELS), "image": (BATCH,), "scale": (3,)}
        assert parts.shape == shapes[member.of]
        assert_close(sum_(*pair, weight), parts.sum())
        if member.of == "voxel" and weight is not None:
            expected = (parts.flatten(1).sum(1) / weight.flatten(1).sum(1)).mean()
        else:
            expected = parts.mean()
        assert_close(mean(*pair, weight), expected)


def test_batch_equals_loop(member: Member, spatial_dims: int) -> None:
    mean = member.build(spatial_dims, "mean")
    images = drawn(SHAPES[spatial_dims])
    images[0][1] *= 0.5  # ranges differ within the batch
    value, slope = value_and_slope(mean, *images)
    single = [value_and_slope(mean, *(image[k : k + 1] for image in images)) for k in range(BATCH)]
    assert_close(value, torch.stack([v for v, _ in single]).mean())
    assert_close(slope, torch.cat([s for _, s in single]) / BATCH)


# --- weight ---------------------------------------------------------------------------------------------------------


def test_box_as_weight_equals_cropped_images(member: Member, spatial_dims: int) -> None:
    loss, crop = member.build(spatial_dims, "mean"), (..., *BOXES[spatial_dims])
    pred, target, _ = drawn(SHAPES[spatial_dims])
    mask = torch.zeros(1, 1, *SHAPES[spatial_dims], dtype=torch.bool)
    mask[crop] = True
    value, slope = value_and_slope(loss, pred, target, mask)
    expected, expected_slope = value_and_slope(loss, pred[crop], target[crop])
    assert_close(value, expected)
    assert_close(slope[crop], expected_slope)
    assert float(slope.masked_fill(mask, 0).abs().max()) == 0


def test_hidden_voxels_may_hold_anything(member: Member, spatial_dims: int) -> None:
    loss = member.build(spatial_dims, "mean")
    pred, target, weight = drawn(SHAPES[spatial_dims])
    hidden = weight == 0
    expected = value_and_slope(loss, pred, target, weight)
    for filling in (torch.nan, torch.inf, 1e9):
        found = value_and_slope(loss, pred.masked_fill(hidden, filling), target.masked_fill(hidden, -filling), weight)
        assert_close(found[0], expected[0])
        assert_close(found[1], expected[1])


def test_equal_weights_change_nothing(member: Member, spatial_dims: int) -> None:
    loss = member.build(spatial_dims, "mean")
    pred, target, weight = drawn(SHAPES[spatial_dims])
    assert_close(loss(pred, target, torch.full_like(weight, 0.7)), loss(pred, target))
    assert_close(loss(pred, target, 5 * weight), loss(pred, target, weight))
    assert abs(float(loss(pred, target, weight) - loss(pred, target))) > 1e-6


@pytest.mark.parametrize("lead", [(1, 1), (BATCH, 1), (1, CHANNELS)])
def test_weight_is_shared_by_images_and_channels(member: Member, spatial_dims: int, lead: tuple[int, int]) -> None:
    pred, target, weight = drawn(SHAPES[spatial_dims])
    weight = weight[: lead[0], : lead[1]]
    for reduction in ("mean", "sum", "none"):
        loss = member.build(spatial_dims, reduction)
        assert_close(loss(pred, target, weight), loss(pred, target, weight.expand_as(pred).contiguous()))


# --- gradient -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dims", "weighted"), [(2, False), (2, True), (3, True)])
def test_gradient(member: Member, dims: int, weighted: bool) -> None:
    loss = member.build(dims, "sum")
    pred, target, weight = drawn(SMALL[dims], batch=1)
    pred.requires_grad_()
    target.requires_grad_(member.in_target)
    assert gradcheck(lambda p, t: loss(p, t, weight if weighted else None), (pred, target))


def test_gradient_of_parts(member: Member) -> None:
    loss = member.build(2, "none")
    pred, target, weight = drawn(SMALL[2], batch=2, channels=1)
    assert gradcheck(lambda p: loss(p, target, weight), pred.requires_grad_())


def test_gradient_of_the_gradient(member: Member) -> None:
    loss = member.build(2, "mean")
    pred, target, weight = drawn((3, 4), batch=1, channels=1)
    pred.requires_grad_()
    target.requires_grad_(member.in_target)
    assert gradgradcheck(lambda p, t: loss(p, t, weight), (pred, target))


# --- types ----------------------------------------------------------------------------------------------------------


def test_autocast_and_low_precision(member: Member, spatial_dims: int) -> None:
    loss = member.build(spatial_dims, "mean")
    exact = drawn(SHAPES[spatial_dims])
    images = tuple(image.float() for image in exact)
    value, slope = value_and_slope(loss, *images)
    assert value.dtype == torch.float32
    assert_close(value.double(), loss(*exact), 1e-5)
    pred = images[0].clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss(pred, *images[1:])
    inside.backward()
    assert inside.dtype == torch.float32
    assert_close(inside.detach(), value, 1e-6)
    assert_close(pred.grad, slope, 1e-6)
    low = loss(images[0].bfloat16(), images[1].bfloat16(), images[2])
    assert low.dtype == torch.float32
    assert_close(low, loss(images[0].bfloat16().float(), images[1].bfloat16().float(), images[2]), 1e-6)


def test_inputs_stay_and_metadata_is_left_behind(member: Member, spatial_dims: int) -> None:
    loss = member.build(spatial_dims, "mean")
    images = drawn(SHAPES[spatial_dims])
    copies = [image.clone() for image in images]
    tracked = MetaTensor(images[0]).requires_grad_()
    value = loss(tracked, MetaTensor(images[1]), MetaTensor(images[2]))
    value.backward()
    assert type(value) is Tensor
    assert_close(value, loss(*images))
    assert tracked.grad is not None
    assert all(torch.equal(image, copy) for image, copy in zip(images, copies, strict=True))


def test_export(member: Member) -> None:
    loss = member.build(2, "mean")
    pred, target, weight = (image.float() for image in drawn((6, 7)))
    program = torch.export.export(loss, (pred, target, weight))
    assert_close(program.module()(target, pred, weight), loss(target, pred, weight), 1e-6)


# --- bad input ------------------------------------------------------------------------------------------------------


def test_constant_and_thin_images_have_a_value(member: Member, spatial_dims: int) -> None:
    loss = member.build(spatial_dims, "mean")
    pred, target, weight = drawn(SHAPES[spatial_dims])
    flat = torch.full_like(pred, 0.3)
    thin = [image[:, :, :1] for image in (pred, target, weight + 0.1)]
    single = [image[(..., *[slice(1)] * spatial_dims)] for image in thin]
    for images in ((flat, target), (pred, flat), (flat, flat), (0 * flat, 0 * flat, weight), thin, thin[:2], single):
        value, slope = value_and_slope(loss, *images)
        assert bool(torch.isfinite(value)) and bool(torch.isfinite(slope).all())


@pytest.mark.parametrize("place", ["pred", "target", "weight"])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_values_that_are_not_finite_are_refused(member: Member, place: str, bad: float) -> None:
    images = dict(zip(("pred", "target", "weight"), drawn(SHAPES[2]), strict=True))
    images["weight"][1, 0, 2, 3] = 1.0
    images[place][1, 0, 2, 3] = bad
    with pytest.raises(ValueError, match=re.escape(f"{place} holds 1 of") + r".* first at index \(1, 0, 2, 3\)"):
        member.build(2, "mean")(**images)


def test_weight_that_hides_all_or_is_negative_is_refused(member: Member) -> None:
    pred, target, weight = drawn(SHAPES[2])
    weight[1, 1] = 0
    with pytest.raises(ValueError, match="weight is 0 everywhere in channel 1 of image 1, expected some voxel above 0"):
        member.build(2, "mean")(pred, target, weight)
    for rest in (0.0, 1.0):
        weight[1, 1] = rest
        weight[1, 1, 3, 4] = -0.5
        with pytest.raises(ValueError, match=r"weight has a value of -0\.5, expected 0 \(hidden\) or more"):
            member.build(2, "mean")(pred, target, weight)


@pytest.mark.parametrize(
    ("pred", "target", "weight", "text"),
    [
        ((2, 1, 5, 6), (2, 1, 5, 7), None, "target has shape 2x1x5x7 but pred has shape 2x1x5x6, expected the same"),
        ((2, 1, 5, 6), (1, 1, 5, 6), None, "target has shape 1x1x5x6 but pred has shape 2x1x5x6, expected the same"),
        ((2, 3, 5, 6), (2, 3, 5, 6), (5, 6), "weight has shape 5x6 but pred has shape 2x3x5x6, expected (2 or 1, 3 or"),
        ((2, 3, 5, 6), (2, 3, 5, 6), (2, 2, 5, 6), "weight has shape 2x2x5x6 but pred"),
        ((2, 3, 5, 6), (2, 3, 5, 6), (3, 1, 5, 6), "weight has shape 3x1x5x6 but pred"),
        ((2, 3, 5, 6), (2, 3, 5, 6), (1, 1, 5, 1), "weight has shape 1x1x5x1 but pred"),
        ((5, 6), (5, 6), None, "pred has shape 5x6, expected (B, C, *spatial)"),
        ((1, 1, 5, 0), (1, 1, 5, 0), None, "pred has an empty axis (shape 5x0)"),
        ((0, 1, 5, 6), (0, 1, 5, 6), None, "pred has shape 0x1x5x6, expected at least one image"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    member: Member, pred: tuple[int, ...], target: tuple[int, ...], weight: tuple[int, ...] | None, text: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        member.build(2, "mean")(torch.rand(pred), torch.rand(target), None if weight is None else torch.ones(weight))


def test_unknown_reduction_is_refused(member: Member) -> None:
    with pytest.raises(ValueError, match="reduction is 'average', expected one of 'none', 'mean', 'sum'"):
        member.build(2, "average")
