"""Several passes end in one map: the last pass acts first, and every pass sees the moving side warped once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.inferers import Inferer
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import gaussian_filter, map_coordinates
from torch import Tensor, nn

from monai_cellreg.geometry import ThinPlateSplineField
from monai_cellreg.inferers import RefiningInferer
from monai_cellreg.networks import JointSegmentationRegistration

SIZE = (40, 56)


class Told(nn.Module):
    """Stands in for the network: says the given parameters one after the other, and keeps what it was asked."""

    def __init__(self, parameters: Tensor) -> None:
        super().__init__()
        self.field = ThinPlateSplineField(SIZE, (3, 4))
        self.answers = list(parameters)
        self.seen: list[tuple[Tensor, Tensor]] = []

    def logits(self, image: Tensor) -> Tensor:
        return torch.logit(image)

    def parameters_between(self, fixed_heat_map: Tensor, moving_heat_map: Tensor) -> Tensor:
        self.seen.append((fixed_heat_map, moving_heat_map))
        return self.answers[len(self.seen) - 1]


def images(batch: int = 2) -> tuple[Tensor, Tensor]:
    """Smooth pictures between 0.1 and 0.9."""
    rng = np.random.default_rng(4)
    noise = np.stack([gaussian_filter(rng.normal(size=SIZE), 3, mode="nearest") for _ in range(2 * batch)])[:, None]
    low, high = noise.min(axis=(1, 2, 3), keepdims=True), noise.max(axis=(1, 2, 3), keepdims=True)
    fixed, moving = torch.from_numpy(0.1 + 0.8 * (noise - low) / (high - low)).float().chunk(2)
    return fixed, moving


def spoken(passes: int, batch: int = 2) -> Tensor:
    """Displacements of the control points (passes, B, 12, 2) on the cube."""
    return 0.12 * torch.randn(passes, batch, 12, 2, generator=torch.Generator().manual_seed(1))


def positions(parameters: Tensor, item: int) -> np.ndarray:
    """Where every voxel is read (2, H, W) when the last pass acts first: by SciPy's thin-plate spline."""
    axes = [np.linspace(-1, 1, n) for n in (3, 4)]
    control = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    cube = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SIZE), indexing="ij"), axis=-1).reshape(-1, 2)
    for moved in reversed(parameters[:, item].double().numpy()):
        cube = cube + RBFInterpolator(control, moved, kernel="thin_plate_spline", degree=1)(cube)
    half = (np.array(SIZE) - 1) / 2
    return ((cube + 1) * half).T.reshape(2, *SIZE)


@pytest.mark.parametrize("passes", [1, 2, 3])
def test_every_pass_sees_the_moving_side_through_the_chain_so_far(passes: int) -> None:
    fixed, moving = images()
    network = Told(spoken(3))
    RefiningInferer(passes)(fixed, network, moving)
    assert len(network.seen) == passes
    for so_far, (given, warped) in enumerate(network.seen):
        torch.testing.assert_close(given, fixed, rtol=0, atol=1e-6)
        for item in range(2):
            where = positions(spoken(3)[:so_far], item)
            expected = map_coordinates(moving[item, 0].numpy(), where, order=1, mode="nearest")
            # voxels that an earlier pass reads beyond the border take the border's displacement
            inside = ((where > 3) & (where < np.array(SIZE)[:, None, None] - 4)).all(axis=0)
            assert inside.mean() > 0.5
            assert np.abs(warped[item, 0].numpy() - expected)[inside].max() < 0.01


def test_field_and_parameters_are_those_of_the_chain() -> None:
    fixed, moving = images()
    told = spoken(3)
    answer = RefiningInferer(3)(fixed, Told(told), moving)
    assert torch.equal(answer["parameters"], told.flip(0))
    assert answer["fixed_to_moving"].shape == (2, 2, *SIZE)
    for item in range(2):
        error = answer["fixed_to_moving"][item].numpy() - (positions(told, item) - np.indices(SIZE))
        assert np.abs(error[:, 12:-12, 12:-12]).max() < 0.1  # the fields are linear between voxels
        swapped = answer["fixed_to_moving"][item].numpy() - (positions(told.flip(0), item) - np.indices(SIZE))
        assert np.abs(swapped[:, 12:-12, 12:-12]).max() > 0.5


def test_one_pass_is_the_network() -> None:
    torch.manual_seed(0)
    network = JointSegmentationRegistration((32, 64)).eval()
    nn.init.normal_(network.regressor.out.weight, std=0.01)
    fixed, moving = torch.rand(2, 3, 1, 32, 64).unbind(0)
    with torch.no_grad():
        expected = network(fixed, moving)
    answer = RefiningInferer(1)(fixed, network, moving)
    assert float(answer["fixed_to_moving"].abs().max()) > 0.1
    for name in ("fixed_heat_map", "moving_heat_map", "fixed_to_moving"):
        torch.testing.assert_close(answer[name], expected[name], rtol=0, atol=1e-5)
    torch.testing.assert_close(answer["parameters"], expected["parameters"][None], rtol=0, atol=1e-6)
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
