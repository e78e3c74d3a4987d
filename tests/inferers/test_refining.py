"""Several passes end in one map: the last pass acts first, and every pass sees the moving side warped once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from monai.inferers import Inferer
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import gaussian_filter, map_coordinates
from torch import Tensor, nn

from monai_cellreg.geometry import ThinPlateSplineField
from monai_cellreg.inferers import RefiningInferer
from monai_cellreg.networks import Cascade, JointSegmentationRegistration, Stage

SIZE = (40, 56)


class Answers(nn.Module):
    """Stands in for the network of a stage: says the given parameters one after the other, and keeps what it saw."""

    def __init__(self, parameters: Tensor) -> None:
        super().__init__()
        self.answers = list(parameters)
        self.seen: list[tuple[Tensor, Tensor]] = []

    def forward(self, pair: Tensor) -> Tensor:
        self.seen.append(pair.chunk(2, dim=1))
        return self.answers[len(self.seen) - 1]


class Told(nn.Module):
    """Stands in for the network: every stage of its cascade registers by given parameters (passes, B, 12, 2)."""

    def __init__(self, *parameters: Tensor) -> None:
        super().__init__()
        self.stages = [Answers(p) for p in parameters]
        self.registration = Cascade([Stage(answers, ThinPlateSplineField(SIZE, (3, 4))) for answers in self.stages])

    def logits(self, image: Tensor) -> Tensor:
        return torch.logit(image)

    def seen(self, image: Tensor, heat_map: Tensor) -> Tensor:
        return torch.cat([heat_map, image], dim=1)

    def asked(self) -> list[tuple[Tensor, Tensor]]:
        """What the stages saw of both sides (B, 2, *SIZE), in the order in which they were asked."""
        return [seen for pass_ in zip(*(stage.seen for stage in self.stages), strict=True) for seen in pass_]


def images(batch: int = 2) -> tuple[Tensor, Tensor]:
    """Smooth pictures between 0.1 and 0.9."""
    rng = np.random.default_rng(4)
    noise = np.stack([gaussian_filter(rng.normal(size=SIZE), 3, mode="nearest") for _ in range(2 * batch)])[:, None]
    low, high = noise.min(axis=(1, 2, 3), keepdims=True), noise.max(axis=(1, 2, 3), keepdims=True)
    fixed, moving = torch.from_numpy(0.1 + 0.8 * (noise - low) / (high - low)).float().chunk(2)
    return fixed, moving


def spoken(maps: int, batch: int = 2) -> Tensor:
    """Displacements of the control points (maps, B, 12, 2) on the cube."""
    return 0.12 * torch.randn(maps, batch, 12, 2, generator=torch.Generator().manual_seed(1))


def positions(parameters: Sequence[Tensor], item: int) -> np.ndarray:
    """Where every voxel is read (2, H, W) when the map found last acts first: by SciPy's thin-plate spline."""
    axes = [np.linspace(-1, 1, n) for n in (3, 4)]
    control = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    cube = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SIZE), indexing="ij"), axis=-1).reshape(-1, 2)
    for moved in reversed([p[item].double().numpy() for p in parameters]):
        cube = cube + RBFInterpolator(control, moved, kernel="thin_plate_spline", degree=1)(cube)
    half = (np.array(SIZE) - 1) / 2
    return ((cube + 1) * half).T.reshape(2, *SIZE)


@pytest.mark.parametrize(("passes", "stages"), [(1, 1), (3, 1), (2, 2), (1, 3)])
def test_every_stage_of_every_pass_sees_the_moving_side_through_the_chain_so_far(passes: int, stages: int) -> None:
    fixed, moving = images()
    order = list(spoken(passes * stages))  # in which the stages are asked
    network = Told(*(torch.stack(order[k::stages]) for k in range(stages)))
    RefiningInferer(passes)(fixed, network, moving)
    assert len(network.asked()) == passes * stages
    for so_far, (given, warped) in enumerate(network.asked()):
        torch.testing.assert_close(given, fixed.repeat(1, 2, 1, 1), rtol=0, atol=1e-6)
        for item in range(2):
            where = positions(order[:so_far], item)
            expected = map_coordinates(moving[item, 0].numpy(), where, order=1, mode="nearest")
            # voxels that an earlier map reads beyond the border take the border's displacement
            inside = ((where > 3) & (where < np.array(SIZE)[:, None, None] - 4)).all(axis=0)
            assert inside.mean() > 0.5
            for channel in warped[item].numpy():  # heat map and image alike
                assert np.abs(channel - expected)[inside].max() < 0.01


def test_field_and_parameters_are_those_of_the_chain() -> None:
    fixed, moving = images()
    order = spoken(4)
    answer = RefiningInferer(2)(fixed, Told(order[::2], order[1::2]), moving)
    assert [len(stages) for stages in answer["parameters"]] == [2, 2]
    assert torch.equal(torch.stack([p for stages in answer["parameters"] for p in stages]), order)
    assert answer["fixed_to_moving"].shape == (2, 2, *SIZE)
    for item in range(2):
        error = answer["fixed_to_moving"][item].numpy() - (positions(order, item) - np.indices(SIZE))
        assert np.abs(error[:, 12:-12, 12:-12]).max() < 0.1  # the fields are linear between voxels
        swapped = answer["fixed_to_moving"][item].numpy() - (positions(order.flip(0), item) - np.indices(SIZE))
        assert np.abs(swapped[:, 12:-12, 12:-12]).max() > 0.5


@pytest.mark.parametrize("registers", ["masks", "heat_maps_and_images"])
@pytest.mark.parametrize("segment", [True, False])
def test_one_pass_is_the_network(registers: str, segment: bool) -> None:
    torch.manual_seed(0)
    network = JointSegmentationRegistration(
        (32, 64), transformer="affine_flownet", registers=registers, segment=segment
    ).eval()
    affine, flownet = (stage.network for stage in network.registration.stages)
    for layer in (affine.out, *(flow.conv for flow in flownet.flows)):
        nn.init.normal_(layer.weight, std=0.01)
    fixed, moving = torch.rand(2, 3, 1, 32, 64).unbind(0)
    with torch.no_grad():
        expected = network(fixed, moving)
    answer = RefiningInferer(1)(fixed, network, moving)
    assert float(answer["fixed_to_moving"].abs().max()) > 0.1
    for name in ("fixed_heat_map", "moving_heat_map", "fixed_to_moving"):
        torch.testing.assert_close(answer[name], expected[name], rtol=0, atol=1e-5)
    assert [[tuple(p.shape) for p in stages] for stages in answer["parameters"]] == [[(3, 2, 3), (3, 2, 32, 64)]]
    assert not answer["fixed_to_moving"].requires_grad


def test_two_equal_shifts_add_up() -> None:
    fixed, moving = images(1)
    shift = torch.full((1, 12, 2), 0.1)
    answer = RefiningInferer(2)(fixed, Told(torch.stack([shift, shift])), moving)["fixed_to_moving"]
    expected = torch.tensor([0.2 * (n - 1) / 2 for n in SIZE]).reshape(1, 2, 1, 1).expand_as(answer)
    torch.testing.assert_close(answer, expected, rtol=0, atol=1e-5)


def test_is_an_inferer_of_monai_and_refuses_no_pass() -> None:
    assert isinstance(RefiningInferer(), Inferer)
    with pytest.raises(ValueError, match="passes is 0; expected at least 1"):
        RefiningInferer(0)
