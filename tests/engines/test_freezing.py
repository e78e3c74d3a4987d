"""Frozen parts keep their weights through a step of training; others change; unknown names are refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from monai_cellreg.engines import freeze


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)))


@pytest.mark.parametrize("parts, kept", [([], []), (["0"], ["0."]), (["1.0"], ["1.0."]), (["0", "1"], ["0.", "1."])])
def test_only_what_is_not_frozen_is_trained(parts: list[str], kept: list[str]) -> None:
    net = network()
    freeze(net, parts)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    optimiser = torch.optim.Adam(net.parameters(), lr=0.1)
    inputs = torch.rand(5, 3, requires_grad=True)
    net(inputs).square().sum().backward()
    optimiser.step()
    same = {name for name, value in net.state_dict().items() if torch.equal(value, before[name])}
    assert same == {name for name in before if name.startswith(tuple(kept) or ("none",))}


def test_a_part_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="frozen is 'registraton', expected one of"):
        freeze(nn.ModuleDict({"registration": nn.Linear(1, 1)}), ["registraton"])
