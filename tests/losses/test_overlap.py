"""Cross entropies and differences of features, written out in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from monai_cellreg.losses import LabelCrossEntropyLoss, PairSegmentationLoss, SegmentationFeatureLoss


def draw(seed: int, shape: tuple[int, ...], **options: object) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), **options)


def cross_entropy(logits: Tensor, label: Tensor) -> float:
    heat, y = 1 / (1 + np.exp(-logits.double().numpy())), label.double().numpy()
    return float(-(y * np.log(heat) + (1 - y) * np.log(1 - heat)).mean())


@pytest.mark.parametrize("size", [(5, 7), (3, 4, 5)])
def test_sum_of_the_cross_entropies_of_both_images(size: tuple[int, ...]) -> None:
    shape = (2, 1, *size)
    fixed, moving = 3 * draw(0, shape), draw(1, shape)
    fixed_label, moving_label = (draw(2, shape) > 0.5).float(), torch.sigmoid(draw(3, shape))  # the second one is soft
    expected = cross_entropy(fixed, fixed_label) + cross_entropy(moving, moving_label)
    assert PairSegmentationLoss()(fixed, fixed_label, moving, moving_label).item() == pytest.approx(expected, rel=1e-5)


def test_even_heat_maps_cost_twice_the_logarithm_of_two() -> None:
    logits, label = torch.zeros(1, 1, 4, 6), torch.ones(1, 1, 4, 6)
    assert PairSegmentationLoss()(logits, label, logits, 1 - label).item() == pytest.approx(2 * np.log(2))


def test_certain_and_wrong_stays_finite() -> None:
    logits, label = torch.full((1, 1, 2, 3), 200.0), torch.zeros(1, 1, 2, 3)
    assert PairSegmentationLoss()(logits, label, -logits, label).item() == pytest.approx(200)


def test_gradient() -> None:
    logits = draw(4, (2, 1, 3, 4), dtype=torch.float64)
    label = (draw(5, (2, 1, 3, 4), dtype=torch.float64) > 0).double()
    inputs = (logits.requires_grad_(), label, (2 * logits).detach().requires_grad_(), 1 - label)
    assert torch.autograd.gradcheck(PairSegmentationLoss(), inputs)


def test_logits_and_labels_of_different_shapes_or_with_nan_are_refused() -> None:
    logits, label = torch.zeros(2, 1, 4, 5), torch.ones(2, 1, 4, 5)
    with pytest.raises(ValueError, match="^target has shape 2x1x4x1 but pred has shape 2x1x4x5, expected the same"):
        PairSegmentationLoss()(logits, label, logits, label[..., :1])
    with pytest.raises(ValueError, match="^pred holds 40 of 40 values that are NaN"):
        PairSegmentationLoss()(logits * torch.nan, label, logits, label)


def probabilities(channels: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Warped heat maps, labels that are soft, and a weight of which one image has half."""
    generator = torch.Generator().manual_seed(0)
    pred, target = torch.rand(2, 3, channels, 5, 8, generator=generator, dtype=torch.float64) * 0.9 + 0.05
    weight = torch.rand(3, 1, 5, 8, generator=generator, dtype=torch.float64)
    weight[1, :, 2:] = 0
    return pred, target, weight


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_of_warped_labels(reduction: str, weighted: bool) -> None:
    pred, target, weight = probabilities()
    p, y, w = 1e-3 + 0.998 * pred.numpy(), target.numpy(), weight.numpy() if weighted else np.ones((3, 1, 5, 8))
    values = -(y * np.log(p) + (1 - y) * np.log(1 - p)) * w
    means = values.sum(axis=(1, 2, 3)) / (2 * w.sum(axis=(1, 2, 3)))
    expected = {"mean": means.mean(), "sum": values.sum(), "none": values}[reduction]
    value = LabelCrossEntropyLoss(reduction)(pred, target, weight if weighted else None)
    np.testing.assert_allclose(value, expected, rtol=1e-12)


def test_gradient_of_cross_entropy_is_bounded() -> None:
    pred, target, weight = probabilities(1)
    weight[1] += 0.1
    assert torch.autograd.gradcheck(LabelCrossEntropyLoss(), (pred[:2].requires_grad_(), target[:2], weight[:2]))
    sure = torch.zeros(1, 1, 2, 2, requires_grad=True)
    LabelCrossEntropyLoss("sum")(sure, torch.ones(1, 1, 2, 2)).backward()
    assert sure.grad.flatten().tolist() == pytest.approx([-998] * 4)


def test_sure_errors_are_finite_and_rounding_past_one_is_no_error() -> None:
    one = torch.ones(1, 1, 2, 2)
    assert LabelCrossEntropyLoss()(0 * one, one).item() == pytest.approx(-np.log(1e-3))
    assert LabelCrossEntropyLoss(eps=0)(0 * one, one).item() == pytest.approx(100)
    assert LabelCrossEntropyLoss(eps=0)(one * (1 + 1e-6), one).item() == 0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert LabelCrossEntropyLoss()((one * 0.3).bfloat16(), one).dtype == torch.float32
    with pytest.raises(ValueError, match=r"^pred has values from -2 to 3, expected probabilities .* sigmoid of logits"):
        LabelCrossEntropyLoss()(torch.tensor([[[[-2.0, 3.0]]]]), torch.ones(1, 1, 1, 2))
    with pytest.raises(ValueError, match=r"^target has values from 1 to 2, expected probabilities"):
        LabelCrossEntropyLoss()(torch.full((1, 1, 1, 2), 0.5), torch.tensor([[[[1.0, 2.0]]]]))
    with pytest.raises(ValueError, match="^pred holds 4 of 4 values that are NaN"):
        LabelCrossEntropyLoss()(one * torch.nan, one)
    with pytest.raises(ValueError, match="^eps is 0.5, expected a number from 0 to below 0.5"):
        LabelCrossEntropyLoss(eps=0.5)


def features(dtype: torch.dtype = torch.float64) -> nn.Sequential:
    """Half the size, three channels, with a normalisation whose statistics are not those of any batch."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 2, stride=2), nn.BatchNorm2d(3), nn.Tanh()).to(dtype)
    network[1].running_mean.add_(0.3)
    network[1].running_var.mul_(2)
    return network


def by_hand(network: nn.Sequential, image: np.ndarray) -> np.ndarray:
    """The features (3, 2, 4) of an image (1, 4, 8) in evaluation mode."""
    weight, bias = (part.detach().numpy() for part in (network[0].weight, network[0].bias))
    patches = image[0].reshape(2, 2, 4, 2)
    mixed = np.einsum("iajb,cab->cij", patches, weight[:, 0]) + bias[:, None, None]
    scale, mean = np.sqrt(network[1].running_var.numpy() + 1e-5), network[1].running_mean.numpy()
    return np.tanh((mixed - mean[:, None, None]) / scale[:, None, None])


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
def test_difference_of_features(reduction: str, weighted: bool) -> None:
    network, generator = features(), torch.Generator().manual_seed(1)
    pred, target = torch.randn(2, 2, 1, 4, 8, dtype=torch.float64, generator=generator)
    weight = torch.rand(2, 1, 4, 8, dtype=torch.float64, generator=generator) + 0.1
    maps = [np.stack([by_hand(network, image) for image in side.numpy()]) for side in (pred, target)]
    shares = weight.numpy().reshape(2, 1, 2, 2, 4, 2).mean(axis=(3, 5)) if weighted else np.ones((2, 1, 2, 4))
    values = (maps[0] - maps[1]) ** 2 * shares
    means = values.sum(axis=(1, 2, 3)) / (3 * shares.sum(axis=(1, 2, 3)))
    expected = {"mean": means.mean(), "sum": values.sum(), "none": values}[reduction]
    loss = SegmentationFeatureLoss(network, reduction).train()
    np.testing.assert_allclose(loss(pred, target, weight if weighted else None), expected, rtol=1e-10)


def test_network_is_a_frozen_copy_and_the_gradient_reaches_the_image() -> None:
    network = features()
    loss = SegmentationFeatureLoss(network).train()
    assert loss.training and not any(module.training for module in loss.network.modules())
    assert not any(p.requires_grad for p in loss.parameters())
    assert network.training and all(p.requires_grad for p in network.parameters())
    pred, target = torch.randn(2, 2, 1, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    before = loss(pred, target)
    assert torch.autograd.gradcheck(loss, (pred.requires_grad_(), target))
    nn.init.zeros_(network[0].weight)
    assert loss(pred, target) == before > 0
    assert torch.equal(loss.network[1].running_mean, network[1].running_mean)


def test_network_that_gives_no_feature_map_is_refused() -> None:
    image = torch.zeros(2, 1, 4, 6)
    with pytest.raises(ValueError, match="^network gave 2x24 for an image 2x1x4x6, expected one feature map"):
        SegmentationFeatureLoss(nn.Flatten())(image, image)
