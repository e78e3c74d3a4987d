"""Networks that no longer give the identity with which they start."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from monai_cellreg.networks import Cascade, ControlPointRegressor

Settled = Callable[..., nn.Module]


def last_layers(network: nn.Module) -> list[nn.Module]:
    """The layers that a network of parameters starts with zeros in."""
    return [network.out] if isinstance(network, ControlPointRegressor) else [flow.conv for flow in network.flows]


@pytest.fixture
def settled() -> Settled:
    """Gives a function that makes a module displace by a few voxels, as after some training, with the batch statistics
    of the given inputs."""

    def made(module: nn.Module, *inputs: torch.Tensor, cascade: Cascade, std: float = 0.01) -> nn.Module:
        generator = torch.Generator().manual_seed(0)
        for stage in cascade.stages:
            for layer in last_layers(stage.network):
                nn.init.normal_(layer.weight, std=std, generator=generator)
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d | nn.BatchNorm3d):
                part.momentum = 1.0
        module.train()(*inputs)
        return module.eval()

    return made
