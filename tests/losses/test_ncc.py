"""Correlation coefficients against NumPy and SimpleITK."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from monai_cellreg.losses import NCCLoss


def images(spatial_dims: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    pred, target, weight = torch.rand(3, 2, 2, *(7, 9, 8)[:spatial_dims], generator=generator, dtype=torch.float64)
    return [pred + 0.5 * target, target, weight]


def test_value(spatial_dims: int) -> None:
    pred, target, weight = images(spatial_dims)
    plain, weighted = NCCLoss("none")(pred, target), NCCLoss("none")(pred, target, weight)
    assert plain.shape == (2, 2)
    for k in range(2):
        for c in range(2):
            pair = [pred[k, c].flatten().numpy(), target[k, c].flatten().numpy()]
            assert abs(float(plain[k, c]) + np.corrcoef(pair)[0, 1]) < 1e-12
            cov = np.cov(pair, aweights=weight[k, c].flatten().numpy())
            assert abs(float(weighted[k, c]) + cov[0, 1] / np.sqrt(cov[0, 0] * cov[1, 1])) < 1e-12


def test_square_is_the_correlation_metric_of_itk(spatial_dims: int) -> None:
    pred, target, _ = (image[:1, :1] for image in images(spatial_dims))
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsCorrelation()
    method.SetInitialTransform(sitk.TranslationTransform(spatial_dims))
    itk = [sitk.GetImageFromArray(image[0, 0].numpy()) for image in (target, pred)]
    assert abs(method.MetricEvaluate(*itk) + float(NCCLoss()(pred, target)) ** 2) < 1e-9


@pytest.mark.parametrize("scale", [1e-2, 7.0])
@pytest.mark.parametrize("offset", [0.0, -3.0, 500.0])
def test_brightness_and_contrast_do_not_matter(scale: float, offset: float) -> None:
    pred, target, weight = (image.float() for image in images(2))
    error = 2e-4 if offset == 500 and scale < 1 else 1e-5  # 500 leaves float32 steps of 3e-5
    for given in (None, weight):
        expected = NCCLoss()(pred, target, given)
        torch.testing.assert_close(NCCLoss()(scale * pred + offset, target, given), expected, rtol=0, atol=error)
        torch.testing.assert_close(NCCLoss()(-scale * pred + offset, target, given), -expected, rtol=0, atol=error)


def test_constant_image_gives_zero_and_a_bounded_gradient() -> None:
    _, target, _ = images(2)
    pred = torch.full_like(target, 0.7, requires_grad=True)
    value = NCCLoss(smooth_dr=1e-4)(pred, target)
    value.backward()
    assert abs(float(value.detach())) < 1e-12
    assert pred.grad is not None and float(pred.grad.abs().max()) < 1e2
    with pytest.raises(ValueError, match="smooth_dr is 0, expected finite numbers above 0"):
        NCCLoss(smooth_dr=0)
