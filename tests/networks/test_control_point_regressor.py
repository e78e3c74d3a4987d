"""The regressor's layers are counted, it starts at the identity and refuses sizes that it cannot halve five times."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from monai_cellreg.networks import ControlPointRegressor

CASES = {  # spatial size and parameter shape
    "5 x 5 control points": ((32, 64), (25, 2)),
    "affine": ((64, 32), (2, 3)),
    "3 x 3 x 3 control points": ((32, 32, 64), (27, 3)),
}
EVERY_CASE = pytest.mark.parametrize("size, shape", CASES.values(), ids=CASES)


@EVERY_CASE
def test_five_convolutions_and_two_fully_connected_layers(size: tuple[int, ...], shape: tuple[int, ...]) -> None:
    network = ControlPointRegressor(size, shape)
    convolution = nn.Conv2d if len(size) == 2 else nn.Conv3d
    assert sum(isinstance(m, convolution) for m in network.modules()) == 5
    assert sum(isinstance(m, nn.Linear) for m in network.modules()) == 2


@EVERY_CASE
def test_starts_at_zero_and_can_leave_it(size: tuple[int, ...], shape: tuple[int, ...]) -> None:
    network = ControlPointRegressor(size, shape)
    parameters = network(torch.rand(3, 2, *size))
    assert parameters.shape == (3, *shape)
    assert parameters.eq(0).all()
    (parameters - 1).square().sum().backward()
    assert network.out.weight.grad.abs().max() > 0


def test_order_of_the_two_images_matters() -> None:
    torch.manual_seed(0)
    network = ControlPointRegressor((32, 64), (25, 2)).eval()
    nn.init.normal_(network.out.weight)
    pair = torch.rand(2, 2, 32, 64)
    assert (network(pair) - network(pair.flip(1))).abs().max() > 1e-2


@pytest.mark.parametrize(
    "size, near", [((32, 70), (32, 64)), ((31, 64), (32, 64)), ((8, 32), (32, 32)), ((64, 64, 100), (64, 64, 96))]
)
def test_size_that_is_not_divisible_is_refused_with_a_near_one(size: tuple[int, ...], near: tuple[int, ...]) -> None:
    text = f"spatial_size is {size}; expected sizes divisible by 32, such as {near}"
    with pytest.raises(ValueError, match=re.escape(text)):
        ControlPointRegressor(size, (25, 2))


def test_fewer_convolutions_allow_smaller_sizes() -> None:
    network = ControlPointRegressor((8, 12), (2, 3), in_channels=1, channels=(4, 8), hidden=5)
    assert network(torch.rand(2, 1, 8, 12)).shape == (2, 2, 3)
