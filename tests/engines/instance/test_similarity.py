"""Similarities, beside NumPy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view

from monai_cellreg.engines.instance.similarity import (
    LocalAndGlobalCorrelation,
    correlation_loss,
    local_agreement,
    mutual_information_loss,
)
from monai_cellreg.losses import LocalNormalizedCrossCorrelationLoss


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def weighted_correlation(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> float:
    covariance = np.cov(np.stack([a.ravel(), b.ravel()]), aweights=weight.ravel())
    return float(covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]))


@pytest.mark.parametrize("shape", [(14, 23), (7, 9, 12)])
def test_correlation_is_that_of_numpy(shape: tuple[int, ...]) -> None:
    weight = noise(1, 1, *shape, seed=2)
    weight[weight < 0.3] = 0
    fixed = noise(1, 2, *shape)
    warped = fixed + noise(1, 2, *shape, seed=1)
    wanted = np.mean(
        [weighted_correlation(warped[0, c].numpy(), fixed[0, c].numpy(), weight.numpy()) for c in range(2)]
    )
    assert abs(float(correlation_loss(warped, fixed, weight)) + wanted) < 1e-5
    assert abs(float(correlation_loss(3 * warped + 7, fixed, weight)) + wanted) < 1e-4
    assert abs(float(correlation_loss(-warped, fixed, weight)) - wanted) < 1e-5


def test_correlation_of_what_is_constant_or_not_seen_is_zero() -> None:
    image = noise(1, 1, 9, 8)
    seen = torch.ones(1, 1, 9, 8)
    assert float(correlation_loss(torch.full_like(image, 0.5), image, seen)) == 0
    assert float(correlation_loss(image, image, torch.zeros_like(seen))) == 0


def test_correlation_has_its_gradient() -> None:
    fixed, warped, weight = (noise(1, 2, 5, 6, seed=s).double() for s in range(3))
    assert torch.autograd.gradcheck(lambda x: correlation_loss(x, fixed, weight), warped.requires_grad_())


def test_information_does_not_mind_the_mapping_of_intensities() -> None:
    fixed = noise(1, 1, 40, 50)
    seen = torch.ones_like(fixed)
    same, other = (float(mutual_information_loss(x, fixed, seen)) for x in (fixed, noise(1, 1, 40, 50, seed=1)))
    folded = float(mutual_information_loss((2 * fixed - 1).abs(), fixed, seen))
    assert same < folded < 3 * other < 0
    assert abs(float(mutual_information_loss(1 - fixed, fixed, seen)) - same) < 1e-3 * abs(same)


def test_information_of_nothing_seen_is_none() -> None:
    warped = noise(1, 1, 9, 8).requires_grad_()
    value = mutual_information_loss(warped, noise(1, 1, 9, 8, seed=1), torch.zeros(1, 1, 9, 8))
    (gradient,) = torch.autograd.grad(value, warped)
    assert float(value.detach()) == 0 and not gradient.any()


def test_information_counts_what_the_weight_shows() -> None:
    fixed, weight = noise(1, 1, 40, 50), torch.ones(1, 1, 40, 50)
    weight[..., 25:] = 0
    values = []
    for seed in (1, 2, 0):  # what is hidden: noise, other noise, the same
        hidden = noise(1, 1, 40, 50, seed=seed)
        values.append(float(mutual_information_loss(torch.where(weight > 0, fixed, hidden), fixed, weight)))
    assert values[0] == values[1] == values[2]
    other = mutual_information_loss(torch.where(weight > 0, fixed, noise(1, 1, 40, 50, seed=1)), fixed, weight + 1)
    assert values[0] < 1.5 * float(other) < 0


def squared_local_correlations(warped: np.ndarray, fixed: np.ndarray, window: int, least: float) -> list[float]:
    """Of every window in which the fixed image varies, both being zero beyond their border."""
    a, b = (sliding_window_view(np.pad(x.astype(float), window // 2), (window,) * x.ndim) for x in (warped, fixed))
    flat = (x.reshape(-1, window**fixed.ndim) for x in (a, b))
    return [np.corrcoef(x, y)[0, 1] ** 2 for x, y in zip(*flat, strict=True) if np.var(y) > least and np.ptp(x) > 0]


@pytest.mark.parametrize(("shape", "window"), [((16, 21), 9), ((16, 21), 5), ((8, 10, 9), 3)])
@pytest.mark.parametrize("least", [1e-3, 0.08])
def test_local_agreement_is_the_mean_over_textured_windows(shape: tuple[int, ...], window: int, least: float) -> None:
    fixed = noise(*shape)
    warped = fixed + noise(*shape, seed=3)
    wanted = squared_local_correlations(warped.numpy(), fixed.numpy(), window, least)
    found = local_agreement(warped[None, None], fixed[None, None], window=window, least=least)
    assert 1 < len(wanted) and found == pytest.approx(np.mean(wanted), abs=1e-4)


def test_local_agreement_does_not_see_what_is_hidden() -> None:
    fixed, warped = noise(1, 1, 30, 40), noise(1, 1, 30, 40)
    weight = torch.zeros_like(fixed)
    weight[..., 5:25, 8:30] = 1
    other = torch.where(weight > 0, warped, 9.0)
    assert local_agreement(warped, fixed, weight) == local_agreement(other, fixed, weight) == pytest.approx(1, abs=1e-3)
    assert local_agreement(other, fixed) < 0.8
    assert local_agreement(noise(1, 1, 30, 40, seed=1), fixed, weight) < 0.7
    assert local_agreement(warped, fixed, 0.4 * weight) == 0


def test_local_agreement_of_images_thinner_than_a_window() -> None:
    fixed, warped = noise(12, 15, 1), noise(12, 15, 1, seed=1) + noise(12, 15, 1)
    wanted = squared_local_correlations(warped.numpy(), fixed.numpy(), 3, 1e-3)
    assert local_agreement(warped[None, None], fixed[None, None], window=3) == pytest.approx(np.mean(wanted), abs=1e-4)
    assert 0 < local_agreement(warped[None, None], fixed[None, None], window=9) <= 1


@pytest.mark.parametrize("shape", [(40, 51), (20, 24, 22)])
def test_local_agreement_sees_contrast_that_varies(shape: tuple[int, ...]) -> None:
    fixed = torch.zeros(1, 1, *shape)
    inner = (..., *[slice(5, -5)] * len(shape))
    fixed[inner] = noise(1, 1, *[n - 10 for n in shape])
    ramp = torch.linspace(0.5, 2, shape[-1])
    assert local_agreement(fixed * ramp, fixed) > 0.95
    assert local_agreement(-3 * fixed, fixed) == pytest.approx(1, abs=1e-2)
    other = torch.zeros_like(fixed)
    other[inner] = noise(1, 1, *[n - 10 for n in shape], seed=1)
    assert local_agreement(other, fixed) < local_agreement(fixed * ramp, fixed) - 0.3


def test_local_agreement_leaves_out_windows_without_structure() -> None:
    fixed, warped = torch.zeros(1, 1, 40, 60), torch.zeros(1, 1, 40, 60)
    fixed[..., 10:-10, 30:-10] = noise(1, 1, 20, 20)
    warped[..., 10:-10, 30:-10] = fixed[..., 10:-10, 30:-10]
    assert local_agreement(warped, fixed) == pytest.approx(1, abs=1e-2)
    assert local_agreement(warped, torch.zeros_like(fixed)) == 0


def test_local_and_global_correlation_are_added() -> None:
    fixed, warped = noise(1, 1, 20, 24), noise(1, 1, 20, 24, seed=1)
    warped += 0.5 * fixed
    weight = (noise(1, 1, 20, 24, seed=2) > 0.3).float()
    local = LocalNormalizedCrossCorrelationLoss(2, 9)
    for seen in (None, weight):
        everywhere = torch.ones_like(weight) if seen is None else seen
        wanted = local(warped, fixed, seen) + 0.4 * correlation_loss(warped, fixed, everywhere)
        assert torch.equal(LocalAndGlobalCorrelation(2, 9, 0.4)(warped, fixed, seen), wanted)
        assert torch.equal(LocalAndGlobalCorrelation(2, 9, 0.0)(warped, fixed, seen), local(warped, fixed, seen))
