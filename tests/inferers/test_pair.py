"""Images of any size go in; the map that comes out is right in their own world coordinates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from monai_cellreg.geometry import AffineField, Pair, ThinPlateSplineField
from monai_cellreg.inferers import PairInferer
from monai_cellreg.networks import JointSegmentationRegistration

NETWORK_SIZE = (32, 64)
FIXED, MOVING = (48, 80), (70, 40)
TURN = torch.tensor([[[-0.1, 0.2, 0.05], [-0.15, 0.1, -0.2]]])  # offsets from the identity on the cube
PUSH = torch.tensor([[[0.2, -0.1, 0.1], [0.05, -0.2, 0.15]]])


class Told(nn.Module):
    """Stands in for the network: registers by the given parameters, one after the other, and keeps what it saw."""

    def __init__(self, field: nn.Module, answers: Sequence[Tensor]) -> None:
        super().__init__()
        self.field, self.answers = field, list(answers)
        self.image_size = field.spatial_size
        self.scale = nn.Parameter(torch.ones(()))
        self.images = torch.empty(0)
        self.calls = 0

    def logits(self, image: Tensor) -> Tensor:
        self.images = image
        return torch.logit(image, eps=1e-4)

    def parameters_between(self, fixed_heat_map: Tensor, moving_heat_map: Tensor) -> Tensor:
        self.calls += 1
        return self.answers[(self.calls - 1) % len(self.answers)]


def affine_network(*answers: Tensor) -> Told:
    return Told(AffineField(NETWORK_SIZE), answers)


def smooth(shape: Sequence[int], seed: int = 0) -> np.ndarray:
    return gaussian_filter(np.random.default_rng(seed).normal(size=shape), 3).astype(np.float32)


def pair(fixed_shape: Sequence[int] = FIXED, moving_shape: Sequence[int] = MOVING) -> Pair:
    """Smooth images of the given sizes whose world coordinates are their indices."""
    return Pair.of(torch.from_numpy(smooth(fixed_shape)[None]), torch.from_numpy(smooth(moving_shape, 1)[None]))


def to_cube(index: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Index coordinates (N, 2) of an image of ``shape`` on the cube of the picture that the network sees."""
    own, seen = np.array(shape), np.array(NETWORK_SIZE)
    return 2 * ((index + 0.5) * seen / own - 0.5) / (seen - 1) - 1


def from_cube(cube: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    own, seen = np.array(shape), np.array(NETWORK_SIZE)
    return ((cube + 1) * (seen - 1) / 2 + 0.5) * own / seen - 0.5


def moved(cube: np.ndarray, offsets: Tensor) -> np.ndarray:
    matrix = offsets[0].double().numpy() + np.eye(2, 3)
    return cube @ matrix[:, :2].T + matrix[:, 2]


POINTS = np.array([[0.0, 0.0], [47.0, 79.0], [10.25, 60.5], [33.0, 5.0]])


@pytest.mark.parametrize("moving_shape", [MOVING, FIXED, NETWORK_SIZE])
def test_known_map_of_the_cube_in_the_coordinates_of_the_images(moving_shape: tuple[int, int]) -> None:
    transform = PairInferer(1)(pair(FIXED, moving_shape), affine_network(TURN))
    expected = from_cube(moved(to_cube(POINTS, FIXED), TURN), moving_shape)
    np.testing.assert_allclose(transform.points(POINTS), expected, rtol=0, atol=1e-5)


def test_known_map_between_worlds_that_are_turned_and_stretched() -> None:
    turned = np.array([[0.4, -0.9, 0, 5], [0.3, 1.2, 0, -40], [0, 0, 1, 0], [0, 0, 0, 1]])
    stretched = np.array([[0, 2.0, 0, 100], [-0.5, 0, 0, 7], [0, 0, 1, 0], [0, 0, 0, 1]])
    images = [
        MetaTensor(smooth(shape)[None], affine=torch.from_numpy(affine))
        for shape, affine in ((FIXED, turned), (MOVING, stretched))
    ]
    transform = PairInferer(1)(Pair.of(*images), affine_network(TURN))
    index = from_cube(moved(to_cube(POINTS, FIXED), TURN), MOVING)
    world = POINTS @ turned[:2, :2].T + turned[:2, 3]
    expected = index @ stretched[:2, :2].T + stretched[:2, 3]
    np.testing.assert_allclose(transform.points(world), expected, rtol=0, atol=1e-5)


def test_identity_stays_the_identity_under_resizing() -> None:
    zeros = torch.zeros(1, 25, 2)
    for network in (affine_network(torch.zeros(1, 2, 3)), Told(ThinPlateSplineField(NETWORK_SIZE, (5, 5)), [zeros])):
        transform = PairInferer(3)(pair(FIXED, FIXED), network)
        np.testing.assert_allclose(transform.points(POINTS), POINTS, rtol=0, atol=1e-4)


def test_later_passes_act_first() -> None:
    transform = PairInferer(3)(pair(), affine_network(TURN, PUSH, TURN))
    cube = to_cube(POINTS, FIXED)
    expected = from_cube(moved(moved(moved(cube, TURN), PUSH), TURN), MOVING)
    np.testing.assert_allclose(transform.points(POINTS), expected, rtol=0, atol=1e-5)
    two = PairInferer(2)(pair(), affine_network(TURN, PUSH))
    np.testing.assert_allclose(two.points(POINTS), from_cube(moved(moved(cube, PUSH), TURN), MOVING), rtol=0, atol=1e-5)


def test_spline_passes_against_scipy() -> None:
    control = np.stack(np.meshgrid(np.linspace(-1, 1, 4), np.linspace(-1, 1, 3), indexing="ij"), -1).reshape(-1, 2)
    answers = 0.15 * torch.randn(2, 1, 12, 2, generator=torch.Generator().manual_seed(0))
    transform = PairInferer(2)(pair(), Told(ThinPlateSplineField(NETWORK_SIZE, (4, 3)), answers))
    cube = to_cube(POINTS, FIXED)
    for moves in (answers[1, 0], answers[0, 0]):
        cube = cube + RBFInterpolator(control, moves.double().numpy(), kernel="thin_plate_spline", degree=1)(cube)
    np.testing.assert_allclose(transform.points(POINTS), from_cube(cube, MOVING), rtol=0, atol=1e-4)


def test_network_sees_both_images_resized_over_the_same_extent_and_scaled() -> None:
    ramps = [torch.arange(n * m, dtype=torch.float32).reshape(1, n, m) for n, m in (FIXED, MOVING)]
    network = affine_network(TURN)
    PairInferer(1)(Pair.of(*ramps), network)
    assert network.images.shape == (2, 1, *NETWORK_SIZE)
    cube = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in NETWORK_SIZE), indexing="ij"), -1).reshape(-1, 2)
    for seen, ramp in zip(network.images, ramps, strict=True):
        shape = ramp.shape[1:]
        index = from_cube(cube, shape)
        low, high = np.percentile(ramp.numpy(), (0.5, 99.5))
        expected = (index @ np.array([shape[1], 1.0]) - low) / (high - low)
        inner = np.s_[6:-6, 6:-6]  # away from clipping and from smoothing at the border
        np.testing.assert_allclose(seen[0].numpy()[inner], expected.reshape(NETWORK_SIZE)[inner], rtol=0, atol=2e-3)


def real_network() -> JointSegmentationRegistration:
    torch.manual_seed(0)
    network = JointSegmentationRegistration(NETWORK_SIZE)
    nn.init.normal_(network.regressor.out.weight, std=0.02)
    return network


def test_same_call_twice_and_nothing_modified() -> None:
    network, given = real_network(), pair()
    images = given.fixed.clone(), given.moving.clone()
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    first, second = (PairInferer()(given, network.train()).points(POINTS) for _ in range(2))
    assert np.abs(first - from_cube(to_cube(POINTS, FIXED), MOVING)).max() > 0.5
    np.testing.assert_array_equal(first, second)
    assert torch.equal(given.fixed, images[0]) and torch.equal(given.moving, images[1])
    assert all(torch.equal(weights[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize("shape", [FIXED, NETWORK_SIZE])
def test_unit_of_the_intensities_does_not_matter(shape: tuple[int, int]) -> None:
    network, given = real_network(), pair(shape, shape)
    other = Pair.of(given.fixed * 3000 + 200, (given.moving * 50).double())
    expected = PairInferer()(given, network).points(POINTS)
    np.testing.assert_allclose(PairInferer()(other, network).points(POINTS), expected, rtol=0, atol=1e-2)


def test_whole_numbers_are_taken() -> None:
    given = pair()
    whole = [(x * 1000).round().to(torch.int32) for x in (given.fixed, given.moving)]
    expected = PairInferer()(Pair.of(*(x.float() for x in whole)), real_network()).points(POINTS)
    np.testing.assert_array_equal(PairInferer()(Pair.of(*whole), real_network()).points(POINTS), expected)


def test_colour_is_compared_by_its_luminance() -> None:
    network, fixed = affine_network(TURN), pair().fixed
    colour = torch.rand(3, *MOVING, generator=torch.Generator().manual_seed(3))
    grey = sum(w * c for w, c in zip((0.2125, 0.7154, 0.0721), colour, strict=True))[None]
    seen = []
    for moving in (colour, grey, colour[:1]):
        PairInferer(1)(Pair.of(fixed, moving), network)
        seen.append(network.images)
    assert (seen[0] - seen[1]).abs().max() < 1e-5 < 0.1 < (seen[2] - seen[1]).abs().max()


def broken(value: float) -> Tensor:
    image = torch.from_numpy(smooth(MOVING)[None].copy())
    image[0, 3, 4] = value
    return image


@pytest.mark.parametrize(
    ("moving", "message"),
    [
        (torch.full((1, *MOVING), 7.0), r"moving is constant \(7\); expected an image with something to align"),
        (broken(float("nan")), "moving has values that are not finite; expected numbers"),
        (broken(float("inf")), "moving has values that are not finite; expected numbers"),
        (
            torch.rand(2, *MOVING),
            r"moving has shape \(2, 70, 40\); expected one or three channels and 2 axes \(1, H, W\)",
        ),
    ],
    ids=["constant", "NaN", "infinite", "two channels"],
)
def test_what_cannot_be_registered_is_refused(moving: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PairInferer()(Pair.of(torch.from_numpy(smooth(FIXED)[None]), moving), affine_network(TURN))


def test_volumes_are_refused_by_a_flat_network() -> None:
    volume = torch.rand(1, 8, 32, 64)
    with pytest.raises(ValueError, match=r"fixed has shape \(1, 8, 32, 64\); expected .* Choose .* take a slice"):
        PairInferer()(Pair.of(volume, volume), affine_network(TURN))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_map_of_a_network_on_a_gpu_takes_points_of_the_cpu() -> None:
    expected = PairInferer()(pair(), real_network()).points(POINTS)
    np.testing.assert_allclose(PairInferer()(pair(), real_network().cuda()).points(POINTS), expected, atol=0.05)
