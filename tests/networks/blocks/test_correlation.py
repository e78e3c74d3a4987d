"""The cost volume against a loop over voxels and displacements that reads no tensor operation."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from monai_cellreg.networks.blocks import LocalCorrelation

SIZES = {2: (5, 7), 3: (4, 3, 5)}
WINDOWS = [  # radius along each axis, stride
    pytest.param((1, 2, 0), 1, id="a radius an axis"),
    pytest.param((2, 0, 1), 2, id="steps of two voxels"),
    pytest.param((0, 1, 2), 3, id="wider than the image"),
]


def features(dims: int, channels: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(dims)
    fixed, moving = torch.randn(2, 2, channels, *SIZES[dims], generator=generator, dtype=torch.float64)
    return fixed, moving


def correlated(fixed: np.ndarray, moving: np.ndarray, radius: tuple[int, ...], stride: int) -> np.ndarray:
    """Voxel by voxel: the mean product of the features at x and x + d, where x + d is in the image, else 0."""
    batch, channels, *size = fixed.shape
    window = list(product(*(np.arange(-r, r + 1) * stride for r in radius)))
    costs = np.zeros((batch, len(window), *size))
    for item, (at, offset), x in product(range(batch), enumerate(window), np.ndindex(*size)):
        y = tuple(int(a + o) for a, o in zip(x, offset, strict=True))
        if all(0 <= a < n for a, n in zip(y, size, strict=True)):
            products = [fixed[(item, c, *x)] * moving[(item, c, *y)] for c in range(channels)]
            costs[(item, at, *x)] = sum(products) / channels
    return costs


@pytest.mark.parametrize(("radius", "stride"), WINDOWS)
def test_every_displacement_of_every_voxel(spatial_dims: int, radius: tuple[int, ...], stride: int) -> None:
    fixed, moving = features(spatial_dims)
    layer = LocalCorrelation(radius[:spatial_dims], stride=stride)
    expected = correlated(fixed.numpy(), moving.numpy(), radius[:spatial_dims], stride)
    costs = layer(fixed, moving)
    assert layer.channels(spatial_dims) == costs.shape[1]
    np.testing.assert_allclose(costs, expected, rtol=0, atol=1e-14)


def test_one_radius_is_that_of_every_axis(spatial_dims: int) -> None:
    fixed, moving = features(spatial_dims)
    layer = LocalCorrelation(1)
    assert layer.channels(spatial_dims) == 3**spatial_dims
    assert torch.equal(layer(fixed, moving), LocalCorrelation((1,) * spatial_dims)(fixed, moving))
    assert torch.equal(LocalCorrelation(0)(fixed, moving), (fixed * moving).mean(1, keepdim=True))


def test_displaced_features_agree_best_at_their_displacement(spatial_dims: int) -> None:
    fixed = torch.nn.functional.normalize(features(spatial_dims, channels=8)[0], dim=1)
    shift = (1, -1, 2)[:spatial_dims]
    moving = fixed.roll(shift, dims=tuple(range(2, 2 + spatial_dims)))  # fixed(x) is moving(x + shift)
    best = LocalCorrelation(2)(fixed, moving).mean(dim=tuple(range(2, 2 + spatial_dims))).argmax(1)
    window = list(product(range(-2, 3), repeat=spatial_dims))
    assert [window[k] for k in best] == [shift, shift]


def test_gradients(spatial_dims: int) -> None:
    fixed, moving = (values[:1].requires_grad_() for values in features(spatial_dims))
    layer = LocalCorrelation((1, 2, 1)[:spatial_dims], stride=2)
    assert torch.autograd.gradcheck(layer, [fixed, moving], fast_mode=spatial_dims == 3)


def test_nothing_to_learn_and_its_settings_are_shown() -> None:
    layer = LocalCorrelation((1, 2), stride=2)
    assert layer.state_dict() == {} and list(layer.parameters()) == []
    assert repr(layer) == "LocalCorrelation(radius=(1, 2), stride=2)"


@pytest.mark.parametrize(("radius", "stride"), [(-1, 1), ((1, -2), 1), (3, 0)])
def test_empty_window_is_refused(radius: int | tuple[int, ...], stride: int) -> None:
    with pytest.raises(ValueError, match=r"^radius is .* and stride -?\d; expected a radius of 0 or more, a stride"):
        LocalCorrelation(radius, stride=stride)


def test_images_that_do_not_fit_are_refused() -> None:
    fixed, moving = features(2)
    with pytest.raises(ValueError, match="^moving has shape 2x3x5x6 but fixed has shape 2x3x5x7"):
        LocalCorrelation(1)(fixed, moving[..., :-1])
    with pytest.raises(ValueError, match=r"^radius is \(1, 1, 1\) for 2 axes; expected one number, or one an axis"):
        LocalCorrelation((1, 1, 1))(fixed, moving)
