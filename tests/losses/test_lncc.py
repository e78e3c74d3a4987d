"""Local correlation against its definition in NumPy, and against MONAI."""

from __future__ import annotations

import math

import monai.losses
import numpy as np
import pytest
import torch
from torch import Tensor

from monai_cellreg.losses import LocalNormalizedCrossCorrelationLoss

SHAPES = {1: (31,), 2: (13, 17), 3: (9, 11, 12)}


def images(spatial_dims: int, *, channels: int = 1, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    size = (2, channels, *SHAPES[spatial_dims])
    pred, target = torch.rand(2, *size, generator=generator, dtype=torch.float64).to(dtype)
    return [(0.6 * pred + 0.4 * target).requires_grad_(), target.clone().requires_grad_()]


def by_definition(pred: np.ndarray, target: np.ndarray, size: int, smooth_dr: float) -> np.ndarray:
    """Squared correlation coefficient of the voxels of every window, zeros beyond the border."""
    padded = [np.pad(image, size // 2) for image in (pred, target)]
    windows = [np.lib.stride_tricks.sliding_window_view(image, (size,) * pred.ndim) for image in padded]
    p, t = (w.reshape(*pred.shape, -1) - w.reshape(*pred.shape, -1).mean(-1, keepdims=True) for w in windows)
    variances = [np.maximum((x**2).sum(-1), smooth_dr) for x in (p, t)]
    return (p * t).sum(-1) ** 2 / (variances[0] * variances[1])


@pytest.mark.parametrize("size", [3, 5])
def test_definition(spatial_dims: int, size: int) -> None:
    pred, target = images(spatial_dims)
    loss = LocalNormalizedCrossCorrelationLoss(spatial_dims, size, reduction="none", smooth_dr=0.9)
    found = loss(pred, target).detach().numpy()
    for k in range(2):
        expected = by_definition(pred[k, 0].detach().numpy(), target[k, 0].detach().numpy(), size, 0.9)
        np.testing.assert_allclose(found[k, 0], -expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("spatial_dims", [1, 2, 3])
@pytest.mark.parametrize(
    ("kernel_type", "size"), [(kind, size) for kind in ("rectangular", "triangular", "gaussian") for size in (5, 7, 9)]
)
def test_value_and_gradients_of_monai(spatial_dims: int, kernel_type: str, size: int) -> None:
    pred, target = images(spatial_dims, channels=2)
    cotangent = torch.rand(pred.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for reduction in ("mean", "sum", "none"):
        options = (spatial_dims, size, kernel_type, reduction, 0.01, 0.2)
        found, expected = (
            make(*options)(pred, target)
            for make in (LocalNormalizedCrossCorrelationLoss, monai.losses.LocalNormalizedCrossCorrelationLoss)
        )
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)  # MONAI keeps its window in float32
        scale = cotangent if reduction == "none" else None
        slopes = [torch.autograd.grad(value, (pred, target), scale) for value in (found, expected)]
        for ours, theirs in zip(*slopes, strict=True):
            assert float((ours - theirs).abs().max()) < 1e-5 * float(theirs.abs().max())


def test_gradient_of_monai_in_float32(spatial_dims: int) -> None:
    pred, target = images(spatial_dims, dtype=torch.float32)
    found, expected = (
        torch.autograd.grad(make(spatial_dims, 9)(pred, target), pred)[0]
        for make in (LocalNormalizedCrossCorrelationLoss, monai.losses.LocalNormalizedCrossCorrelationLoss)
    )
    assert float((found - expected).abs().max()) < 1e-5 * float(expected.abs().max())


def test_scale_and_sign_do_not_matter_nor_an_offset_inside(spatial_dims: int) -> None:
    pred, target = images(spatial_dims)
    loss = LocalNormalizedCrossCorrelationLoss(spatial_dims, 3, reduction="none")
    expected, inner = loss(pred, target), (..., *[slice(1, -1)] * spatial_dims)
    torch.testing.assert_close(loss(-3 * pred, 0.1 * target), expected)
    torch.testing.assert_close(loss(pred + 5, target - 2)[inner], expected[inner])


def test_large_offset_costs_no_precision_inside(spatial_dims: int) -> None:
    pred, target = (image.detach() for image in images(spatial_dims))
    loss = LocalNormalizedCrossCorrelationLoss(spatial_dims, 3, reduction="none")
    shifted = [(image + 1024).float() for image in (pred, target)]  # float32 steps of 1e-4
    expected = loss(*(image.double() - 1024 for image in shifted))
    inner = (..., *[slice(1, -1)] * spatial_dims)
    assert float((loss(*shifted).double() - expected)[inner].abs().max()) < 1e-4
    weight = torch.ones_like(shifted[0])
    weight[..., :3] = 0  # what is hidden does not pull the mean away
    found = loss(*shifted, weight)[..., 4:]
    inner = (..., *[slice(1, -1)] * (spatial_dims - 1), slice(0, -1))
    assert float((found.double() - expected[..., 4:])[inner].abs().max()) < 1e-4


def test_weight_hides_voxels_from_windows_and_weighs_centres() -> None:
    pred, target = (image.detach() for image in images(2))
    weight = torch.rand(pred.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64) + 0.1
    weight[:, :, 4:7, 5:9] = 0
    visible = (weight > 0).double()
    parts = LocalNormalizedCrossCorrelationLoss(2, 5, reduction="none", smooth_dr=0.9)(pred, target, weight)
    for k in range(2):
        expected = by_definition((visible * pred)[k, 0].numpy(), (visible * target)[k, 0].numpy(), 5, 0.9)
        np.testing.assert_allclose(parts[k, 0], -expected * weight[k, 0].numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("varied", [0, 1])
def test_second_derivative_in_one_image(varied: int) -> None:
    generator = torch.Generator().manual_seed(0)
    pair = list(torch.rand(2, 1, 1, 3, 4, generator=generator, dtype=torch.float64))
    loss = LocalNormalizedCrossCorrelationLoss(2, 3)

    def of_one(image: Tensor) -> Tensor:
        return loss(*(image if k == varied else other for k, other in enumerate(pair)))

    assert torch.autograd.gradgradcheck(of_one, pair[varied].clone().requires_grad_())


def test_constant_windows_count_nothing() -> None:
    loss = LocalNormalizedCrossCorrelationLoss(2, 3)
    flat = torch.full((1, 1, 6, 7), 0.4)
    assert float(loss(0 * flat, flat)) == 0
    smoothed = LocalNormalizedCrossCorrelationLoss(2, 3, smooth_nr=2e-10)
    assert float(smoothed(0 * flat, 0 * flat)) == pytest.approx(-2)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"spatial_dims": 4}, "spatial_dims is 4, expected one of 1, 2, 3"),
        ({"kernel_size": 4}, "kernel_size is 4, expected an odd number"),
        ({"kernel_size": -1}, "kernel_size is -1, expected an odd number"),
        (
            {"kernel_size": 1},
            "kernel_size is 1, which leaves a single voxel in a 'rectangular' window, .* take 3 or more",
        ),
        (
            {"kernel_type": "triangular"},
            "kernel_size is 3, which leaves a .* in a 'triangular' window, .* take 5 or more",
        ),
        ({"kernel_type": "triangle"}, "did you mean 'triangular'?"),
        ({"smooth_nr": -1.0}, "smooth_nr is -1.0, expected 0 or more"),
        ({"smooth_nr": math.nan}, "smooth_nr is nan, expected 0 or more"),
        ({"smooth_dr": 0.0}, "smooth_dr is 0.0, expected finite numbers above 0"),
    ],
)
def test_bad_options_are_refused(options: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text.replace("?", r"\?")):
        LocalNormalizedCrossCorrelationLoss(**options)


def test_images_of_another_dimension_are_refused() -> None:
    with pytest.raises(ValueError, match="pred has 2 spatial axes"):
        LocalNormalizedCrossCorrelationLoss()(torch.rand(1, 1, 5, 5), torch.rand(1, 1, 5, 5))
