"""DIRNet: the paper's grids and variants, and the same weights on images of another size."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from monai_cellreg.geometry import BSplineTransform, ThinPlateSplineTransform, warp
from monai_cellreg.networks import DIRNET_VARIANTS, DIRNet


def drawn(network: DIRNet, seed: int = 0) -> DIRNet:
    """The network with weights that displace by a few voxels, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    for values in network.parameters():
        values.data = 0.3 * torch.randn(values.shape, generator=generator)
    return network.eval()


def images(*size: int, seed: int = 0) -> Tensor:
    return torch.rand(2, 1, *size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("size", "levels", "control"), [((28, 28), 2, (7, 7)), ((256, 256), 4, (16, 16))])
def test_grids_of_control_points_of_the_paper(size: tuple[int, int], levels: int, control: tuple[int, int]) -> None:
    network = DIRNet(size, levels=[levels])
    with torch.no_grad():
        (parameters,) = network.registration(images(*size), images(*size, seed=1)).parameters
    assert parameters.shape == (2, 2, *control)


@pytest.mark.parametrize("variant", DIRNET_VARIANTS)
def test_every_variant_registers_and_learns(variant: str) -> None:
    network = DIRNet((32, 64), variant=variant, levels=[3])
    fixed, moving = images(32, 64), images(32, 64, seed=1)
    first = network(fixed, moving)
    assert first["fixed_to_moving"].abs().max() == 0
    assert torch.allclose(first["warped_moving"], moving, atol=1e-5)
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(3):
        optimiser.zero_grad()
        loss = (network(fixed, moving)["warped_moving"] - fixed).square().mean()
        loss.backward()
        optimiser.step()
    assert all(values.grad is not None and values.grad.abs().max() > 0 for values in network.parameters())
    assert network(fixed, moving)["fixed_to_moving"].abs().amax((0, 2, 3)).min() > 0.01


def test_variants_are_those_of_the_paper() -> None:
    by_name = {name: DIRNet((64, 64), variant=name) for name in DIRNET_VARIANTS}
    splines = {
        name: network.registration.transforms(network.registration(*[images(64, 64)] * 2).parameters)[0]
        for name, network in by_name.items()
    }
    assert isinstance(splines.pop("B2"), ThinPlateSplineTransform)
    assert all(isinstance(spline, BSplineTransform) for spline in splines.values())
    assert {name: spline.order for name, spline in splines.items()} == {
        name: 2 if name == "B1" else 3 for name in splines
    }
    kinds = {name: {type(module) for module in network.modules()} for name, network in by_name.items()}
    assert {name for name in kinds if nn.AvgPool2d not in kinds[name]} == {"A1", "A2"}
    assert nn.MaxPool2d in kinds["A1"] and {name for name in kinds if nn.Linear in kinds[name]} == {"C2"}
    convolutions = {n: sum(isinstance(m, nn.Conv2d) for m in network.modules()) for n, network in by_name.items()}
    assert convolutions == {"B": 7, "A1": 7, "A2": 11, "B1": 7, "B2": 7, "C1": 9, "C2": 5}


def test_stages_are_composed_and_the_last_estimate_is_the_map() -> None:
    network = drawn(DIRNet((32, 48), levels=[3, 2], affine=True))
    fixed, moving = images(32, 48), images(32, 48, seed=1)
    answer = network(fixed, moving)
    assert answer["estimates"].shape == (2, 3, 2, 32, 48)
    assert torch.equal(answer["estimates"][:, -1], answer["fixed_to_moving"])
    assert torch.equal(answer["warped_moving"], warp(moving, answer["fixed_to_moving"]))
    first = network.registration.stages[0]
    affine = first.field(first(torch.cat([fixed, moving], dim=1))[0])
    assert torch.allclose(answer["estimates"][:, 0], affine, atol=1e-5)


def test_coarser_stages_see_coarser_images() -> None:
    """As many convolutions in every stage, the channels of the finest."""
    network = DIRNet((32, 32), levels=[4, 3, 2], channels=(4, 6), affine=True)
    kinds = [[m for m in stage.modules() if isinstance(m, nn.Conv2d)] for stage in network.registration.stages[1:]]
    assert [[m.out_channels for m in stage] for stage in kinds] == [[4, 6, 6, 6, 2]] * 3
    pools = [
        [m.kernel_size for m in stage.modules() if isinstance(m, nn.AvgPool2d)] for stage in network.registration.stages
    ]
    assert pools == [[4, 2, 2], [4, 2, 2], [2, 2, 2], [2, 2]]


@pytest.mark.parametrize("size", [(64, 32), (32, 16, 32)])
def test_same_weights_at_another_size(size: tuple[int, ...]) -> None:
    network = drawn(DIRNet([16] * len(size), variant="C1", levels=[3, 2]))
    other = network.at(size)
    assert other.image_size == size and network.image_size == tuple([16] * len(size))
    assert all(a is b for a, b in zip(network.parameters(), other.parameters(), strict=True))
    fixed, moving = images(*size), images(*size, seed=1)
    own = DIRNet(size, variant="C1", levels=[3, 2])
    own.load_state_dict(network.state_dict())
    assert torch.equal(other(fixed, moving)["fixed_to_moving"], own.eval()(fixed, moving)["fixed_to_moving"])
    assert network.at(network.image_size) is network and not other.training


def test_thin_plate_splines_at_another_size() -> None:
    answer = drawn(DIRNet((32, 32), variant="B2", levels=[3])).at((32, 48))(images(32, 48), images(32, 48, seed=1))
    assert answer["fixed_to_moving"].shape == (2, 2, 32, 48)


def test_bad_settings() -> None:
    with pytest.raises(ValueError, match="variant is 'D1'"):
        DIRNet((32, 32), variant="D1")
    with pytest.raises(ValueError, match="levels is .*one stage"):
        DIRNet((32, 32), levels=[])
    with pytest.raises(ValueError, match=r"image_size is \(40, 32\).*divisible by 16, such as \(48, 32\)"):
        DIRNet((40, 32))
    with pytest.raises(ValueError, match="one size of fully connected layers"):
        DIRNet((32, 32), variant="C2").at((64, 32))
