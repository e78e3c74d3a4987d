"""The exported form: the same weights under the same names, and displacements that MONAI's own layer reads."""

from __future__ import annotations

import copy

import pytest
import torch
from monai.networks.blocks import Warp
from torch import Tensor

from monai_cellreg.networks import DIRNet, JointSegmentationRegistration, PairAsChannels

pytestmark = pytest.mark.filterwarnings("ignore:monai.networks.blocks.Warp")  # it recommends its C++ extension


@pytest.fixture(params=["dirnet", "dirnet 3d", "joint"])
def network(request: pytest.FixtureRequest) -> torch.nn.Module:
    """Networks that move something: their last layers begin at zero."""
    torch.manual_seed(0)
    if request.param == "joint":
        made: torch.nn.Module = JointSegmentationRegistration((32, 64), transformer="tps_flownet")
    else:
        made = DIRNet((16, 24) if request.param == "dirnet" else (8, 16, 24), levels=[3, 2], channels=4)
    for name, values in made.named_parameters():
        if ".out." in name or ".flows." in name:
            torch.nn.init.normal_(values, std=0.1)
    return made.eval()


@pytest.fixture
def pair(network: torch.nn.Module) -> Tensor:
    return torch.rand(3, 2, *network.image_size, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_channels_are_fixed_and_then_moving(network: torch.nn.Module, pair: Tensor) -> None:
    found = PairAsChannels(network)(pair)
    answer = network(pair[:, :1], pair[:, 1:])
    assert found.abs().max() > 0.1
    torch.testing.assert_close(found, answer["fixed_to_moving"], rtol=0, atol=0)
    torch.testing.assert_close(Warp()(pair[:, 1:], found), answer["warped_moving"], rtol=0, atol=1e-5)


def test_weights_have_the_names_of_the_network(network: torch.nn.Module) -> None:
    exported = PairAsChannels(network)
    assert exported.state_dict().keys() == network.state_dict().keys()
    scaled = {name: 2 * value for name, value in network.state_dict().items()}
    exported.load_state_dict(scaled)
    assert all(torch.equal(value, scaled[name]) for name, value in network.state_dict().items())
    del scaled[min(scaled)]
    with pytest.raises(RuntimeError, match="Missing key"):
        exported.load_state_dict(scaled)


def test_weights_of_a_copy_and_of_a_part_are_loaded_there(network: torch.nn.Module) -> None:
    """MONAI Label loads weights into a copy; a wrapper such as DistributedDataParallel makes the network a part."""
    zeros = {name: torch.zeros_like(value) for name, value in network.state_dict().items()}
    twin = copy.deepcopy(PairAsChannels(network))
    twin.load_state_dict(zeros)
    assert not any(value.any() for value in twin.network.state_dict().values())
    assert any(value.any() for value in network.state_dict().values())
    whole = torch.nn.ModuleDict({"module": PairAsChannels(network)})
    assert set(whole.state_dict()) == {f"module.{name}" for name in zeros}
    whole.load_state_dict({f"module.{name}": value for name, value in zeros.items()})
    assert not any(value.any() for value in network.state_dict().values())


@torch.no_grad()
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*torch.jit:DeprecationWarning")
def test_trace_of_one_pair_takes_any_number(network: torch.nn.Module, pair: Tensor) -> None:
    exported = PairAsChannels(network)
    traced = torch.jit.trace(exported, pair[:1])
    torch.testing.assert_close(traced(pair), exported(pair), rtol=0, atol=1e-5)
