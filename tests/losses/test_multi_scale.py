"""The pyramid of an image loss against scikit-image's block means."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from skimage.measure import block_reduce
from torch import Tensor, nn

from monai_cellreg.losses import LocalNormalizedCrossCorrelationLoss, MSELoss, MultiScaleLoss, NCCLoss


def images(shape: tuple[int, ...]) -> list[Tensor]:
    """Two images and a weight with whole blocks hidden, float64."""
    made = list(torch.rand(3, 2, 1, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    made[2][:, :, :3] = 0
    return made


def block_means(image: Tensor, scale: int) -> np.ndarray:
    """Means of the blocks, those at the ends of what there is."""
    block = (1, 1, *[scale] * (image.ndim - 2))
    counts = block_reduce(np.ones(image.shape), block, np.sum)
    return block_reduce(image.numpy(), block, np.sum) / counts


def test_each_scale_is_the_loss_of_block_means(spatial_dims: int) -> None:
    pred, target, _ = images((9, 7, 8)[:spatial_dims])
    found = MultiScaleLoss(MSELoss(), (3, 1, 2), "none")(pred, target)
    expected = [np.mean((block_means(pred, scale) - block_means(target, scale)) ** 2) for scale in (3, 1, 2)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert float(MultiScaleLoss(MSELoss(), (3, 1, 2))(pred, target)) == pytest.approx(np.mean(expected), abs=1e-12)
    assert float(MultiScaleLoss(MSELoss(), (3, 1, 2), "sum")(pred, target)) == pytest.approx(sum(expected), abs=1e-12)


def test_blocks_are_weighted(spatial_dims: int) -> None:
    pred, target, weight = images((9, 7, 8)[:spatial_dims])
    share = block_means(weight, 2)
    visible = np.where(share > 0, share, 1)
    means = [block_means(image * weight, 2) / visible for image in (pred, target)]
    squares = (means[0] - means[1]) ** 2
    expected = np.mean([np.average(squares[k], weights=share[k]) for k in range(2)])
    assert float(MultiScaleLoss(MSELoss(), [2])(pred, target, weight)) == pytest.approx(expected, abs=1e-12)


def test_hidden_blocks_are_zero_to_any_loss() -> None:
    seen: list[Tensor] = []

    class Watching(nn.Module):
        def forward(self, pred: Tensor, target: Tensor, weight: Tensor) -> Tensor:
            seen.extend([pred, target, weight])
            return pred.sum()

    MultiScaleLoss(Watching(), [2])(*images((8, 6)))
    for image in seen:
        assert bool(torch.isfinite(image).all())
        assert float(image[:, :, 0].abs().max()) == 0 < float(image[:, :, 1:].min())


def test_axis_shorter_than_a_block_becomes_one() -> None:
    pred, target, _ = images((2, 8))
    found = MultiScaleLoss(MSELoss(), [4])(pred, target)
    expected = np.mean(
        [(p.reshape(2, 2, 4) - t.reshape(2, 2, 4)).mean((0, 2)) ** 2 for p, t in zip(pred, target, strict=True)]
    )
    assert float(found) == pytest.approx(float(expected), abs=1e-12)


def test_loss_without_a_weight_serves_where_there_is_none() -> None:
    pred, target, weight = images((8, 8))
    assert float(MultiScaleLoss(nn.MSELoss(), [1])(pred, target)) == pytest.approx(float(((pred - target) ** 2).mean()))
    with pytest.raises(TypeError):
        MultiScaleLoss(nn.MSELoss(), [1])(pred, target, weight)


def test_reaches_further_than_one_scale() -> None:
    """Structures that do not overlap at full resolution do in larger blocks."""
    home, near, far = (torch.exp(-0.5 * (torch.arange(64.0) - x) ** 2).reshape(1, 1, -1) for x in (24, 30, 44))

    def gain(loss: nn.Module) -> float:
        return float(loss(far, home) - loss(near, home))

    assert abs(gain(NCCLoss())) < 1e-2
    assert gain(MultiScaleLoss(NCCLoss(), (1, 16, 32))) > 0.3


def test_maps_of_several_sizes_are_refused() -> None:
    pred, target, _ = images((8, 8))
    text = "the loss gave maps of the shapes [(2, 1, 4, 4), (2, 1, 8, 8)], expected one shape at all scales"
    with pytest.raises(ValueError, match=re.escape(text)):
        MultiScaleLoss(LocalNormalizedCrossCorrelationLoss(2, reduction="none"), (1, 2))(pred, target)


@pytest.mark.parametrize("scales", [(), (0, 1), (1.5,), (-2,)])
def test_bad_scales_are_refused(scales: tuple) -> None:
    with pytest.raises(ValueError, match=re.escape(f"scales is {scales}, expected at least one whole number")):
        MultiScaleLoss(MSELoss(), scales)
