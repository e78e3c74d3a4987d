"""Mutual information against MONAI, SimpleITK and the information of discrete variables."""

from __future__ import annotations

import re

import monai.losses
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from torch import Tensor

from monai_cellreg.losses import GlobalMutualInformationLoss, NormalizedMutualInformationLoss

KERNELS = ["gaussian", "b-spline"]


def images(shape: tuple[int, ...], *, batch: int = 1, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two images in [-0.1, 1.1] that share information, float32."""
    pred, target = torch.rand(2, batch, 1, *shape, generator=torch.Generator().manual_seed(seed))
    target = 1.2 * target - 0.1
    return (1 - (target - 0.3).square() + 0.3 * pred).requires_grad_(), target


@pytest.mark.parametrize("kernel_type", KERNELS)
@pytest.mark.parametrize("num_bins", [7, 23])
def test_value_and_gradient_of_monai(spatial_dims: int, kernel_type: str, num_bins: int) -> None:
    pred, target = images((13, 9, 8)[:spatial_dims])
    for reduction in ("mean", "sum", "none"):
        options = (kernel_type, num_bins, 0.7, reduction, 1e-5, 1e-4)
        found, expected = (
            make(*options)(pred, target)
            for make in (GlobalMutualInformationLoss, monai.losses.GlobalMutualInformationLoss)
        )
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
        ours, theirs = (torch.autograd.grad(value.sum(), pred)[0] for value in (found, expected))
        assert float((ours - theirs).abs().max()) < 1e-4 * float(theirs.abs().max())


def test_gaussian_value_of_monai_for_a_batch_and_both_gradients() -> None:
    pred, target = images((13, 9), batch=3)
    target.requires_grad_()
    found, expected = (
        make()(pred, target) for make in (GlobalMutualInformationLoss, monai.losses.GlobalMutualInformationLoss)
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    for ours, theirs in zip(*(torch.autograd.grad(v, (pred, target)) for v in (found, expected)), strict=True):
        assert float((ours - theirs).abs().max()) < 1e-4 * float(theirs.abs().max())


def test_b_spline_value_is_the_mattes_metric_of_itk(spatial_dims: int) -> None:
    """ITK floors where MONAI rounds the intensities of the fixed image, so these lie a quarter above the centres."""
    bins, shape = 14, ((90, 56) if spatial_dims == 2 else (30, 28, 9))
    generator = torch.Generator().manual_seed(0)
    level = torch.randint(0, 10, (1, 1, *shape), generator=generator)
    target = level + 0.25 * (level > 0) + 0.75 * (level == 9)  # 0, 1.25, ..., 8.25 and 10, the end of the range
    pred = (0.5 * level + 4.4 * torch.rand(level.shape, generator=generator)).clamp(max=8.9)
    pred.view(-1)[0], pred.view(-1)[1] = 10, 0
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(bins)
    method.SetInitialTransform(sitk.TranslationTransform(spatial_dims))
    fixed, moving = (sitk.GetImageFromArray(image[0, 0].double().numpy()) for image in (target, pred))
    found = float(GlobalMutualInformationLoss("b-spline", bins)(pred, target))
    assert found < -0.2
    assert abs(found - method.MetricEvaluate(fixed, moving)) < 1e-3  # MONAI, and we, clip the one brightest voxel


def discrete(levels: int, count: int = 4000) -> tuple[np.ndarray, Tensor, Tensor]:
    """Joint probabilities of two discrete variables, and images with just these, on the centres of bins."""
    rng = np.random.default_rng(0)
    pred = rng.integers(0, levels, count)
    target = np.where(rng.random(count) < 0.6, (levels - 1 - pred), rng.integers(0, levels, count))
    joint = np.zeros((levels, levels))
    np.add.at(joint, (pred, target), 1 / count)
    made = [torch.tensor(x / (levels - 1), dtype=torch.float64).reshape(1, 1, -1) for x in (pred, target)]
    return joint, made[0], made[1]


def entropy(probability: np.ndarray) -> float:
    probability = probability[probability > 0]
    return float(-(probability * np.log(probability)).sum())


@pytest.mark.parametrize("levels", [2, 6])
def test_information_of_discrete_variables(levels: int) -> None:
    joint, pred, target = discrete(levels)
    options = {
        "num_bins": levels,
        "sigma_ratio": 0.05,
        "smooth_nr": 1e-12,
        "smooth_dr": 1e-12,
    }  # windows of a single bin
    marginals = entropy(joint.sum(1)) + entropy(joint.sum(0))
    found = float(GlobalMutualInformationLoss(**options)(pred, target))
    assert abs(found + marginals - entropy(joint)) < 1e-9
    normalised = float(NormalizedMutualInformationLoss(**options)(pred, target))
    assert abs(normalised + marginals / entropy(joint)) < 1e-9
    assert float(NormalizedMutualInformationLoss(**options)(pred, pred)) == pytest.approx(-2, abs=1e-9)
    assert float(NormalizedMutualInformationLoss(**options)(0 * pred, 0 * pred)) == pytest.approx(-1, abs=1e-9)


@pytest.mark.parametrize("make", [GlobalMutualInformationLoss, NormalizedMutualInformationLoss])
@pytest.mark.parametrize("kernel_type", KERNELS)
def test_one_to_one_change_of_brightness_matters_little(make: type, kernel_type: str) -> None:
    target = torch.rand(1, 1, 40, 50, generator=torch.Generator().manual_seed(0))
    loss = make(kernel_type)
    same, inverted, bent = (float(loss(pred, target)) for pred in (target, 1 - target, target**1.3))
    unrelated = float(loss(target.flip(2), target))
    assert abs(inverted - same) < (1e-5 if kernel_type == "gaussian" else 0.02)  # B-splines clip the upper end only
    assert abs(bent - same) < 0.1 * (unrelated - same)


def test_b_spline_bins_follow_the_range_of_each_image() -> None:
    pred, target = images((13, 9), batch=2)
    loss = GlobalMutualInformationLoss("b-spline", reduction="none")
    expected = loss(pred, target)
    scale = torch.tensor([100.0, 0.02]).reshape(2, 1, 1, 1)
    torch.testing.assert_close(loss(scale * pred + 3, target - 7), expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize("offset", [-5.0, 5.0])
def test_b_spline_bins_do_not_see_what_is_hidden(offset: float) -> None:
    pred, target = (image.double() for image in images((13, 9)))
    weight = (target > 0.2).double()
    loss = GlobalMutualInformationLoss("b-spline")
    expected = loss(pred[weight > 0][None, None], target[weight > 0][None, None])
    torch.testing.assert_close(loss(pred + offset, target + offset, weight), expected, rtol=0, atol=1e-9)


def test_gaussian_clips_to_the_unit_range() -> None:
    pred, target = images((13, 9))
    loss = GlobalMutualInformationLoss()
    assert float(pred.detach().max()) > 1 and float(target.min()) < 0
    torch.testing.assert_close(loss(pred, target), loss(pred.clamp(0, 1), target.clamp(0, 1)))


@pytest.mark.parametrize("kernel_type", KERNELS)
def test_constant_image_tells_nothing(kernel_type: str) -> None:
    pred, target = images((13, 9))
    flat = torch.full_like(target, 0.42)
    assert abs(float(GlobalMutualInformationLoss(kernel_type)(flat, target))) < 1e-5
    for pair in ((flat, target), (flat, flat)):
        assert float(NormalizedMutualInformationLoss(kernel_type)(*pair)) == pytest.approx(-1, abs=1e-5)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"kernel_type": "bspline"}, "kernel_type is 'bspline', expected one of 'gaussian', 'b-spline'"),
        ({"num_bins": 1}, "num_bins is 1, expected 2 or more for the kernel 'gaussian'"),
        ({"kernel_type": "b-spline", "num_bins": 4}, "num_bins is 4, expected 5 or more for the kernel 'b-spline'"),
        ({"sigma_ratio": 0.0}, "sigma_ratio is 0.0, expected finite numbers above 0"),
        ({"smooth_nr": 0.0}, "smooth_nr is 0.0, expected finite numbers above 0"),
        ({"smooth_dr": -1.0}, "smooth_dr is -1.0, expected finite numbers above 0"),
    ],
)
def test_bad_options_are_refused(options: dict, text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        GlobalMutualInformationLoss(**options)
