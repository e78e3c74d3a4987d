"""Images of any size go in; the map that comes out is right in their own world coordinates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import gaussian_filter, map_coordinates
from torch import Tensor, nn

from monai_cellreg.geometry import AffineField, DenseField, Pair, SpatialTransform, ThinPlateSplineField
from monai_cellreg.inferers import PairInferer
from monai_cellreg.networks import Cascade, JointSegmentationRegistration, Stage

NETWORK_SIZE = (32, 64)
FIXED, MOVING = (48, 80), (70, 40)
TURN = torch.tensor([[[-0.1, 0.2, 0.05], [-0.15, 0.1, -0.2]]])  # offsets from the identity on the cube
PUSH = torch.tensor([[[0.2, -0.1, 0.1], [0.05, -0.2, 0.15]]])


class Answers(nn.Module):
    """Stands in for the network of a stage: gives the parameters that it was told, one after the other."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        super().__init__()
        self.parameters_told, self.calls = list(parameters), 0

    def forward(self, pair: Tensor) -> Tensor:
        self.calls += 1
        return self.parameters_told[(self.calls - 1) % len(self.parameters_told)]


class Told(nn.Module):
    """Stands in for the network: registers by stages that answer as they were told, and keeps what it saw."""

    def __init__(self, *stages: tuple[nn.Module, Sequence[Tensor]], takes_segmentations: bool = False) -> None:
        super().__init__()
        self.registration = Cascade([Stage(Answers(answers), field) for field, answers in stages])
        self.image_size = stages[0][0].spatial_size
        self.takes_segmentations = takes_segmentations
        self.scale = nn.Parameter(torch.ones(()))
        self.images = torch.empty(0)

    def logits(self, image: Tensor) -> Tensor:
        self.images = image
        return torch.logit(image, eps=1e-4)

    def seen(self, image: Tensor, heat_map: Tensor) -> Tensor:
        return heat_map


def affine_network(*answers: Tensor, takes_segmentations: bool = False) -> Told:
    return Told((AffineField(NETWORK_SIZE), answers), takes_segmentations=takes_segmentations)


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


TURNED = np.array([[0.4, -0.9, 0, 5], [0.3, 1.2, 0, -40], [0, 0, 1, 0], [0, 0, 0, 1]])
STRETCHED = np.array([[0, 2.0, 0, 100], [-0.5, 0, 0, 7], [0, 0, 1, 0], [0, 0, 0, 1]])


def pair_in_space() -> Pair:
    """As :func:`pair`, with the fixed image TURNED and the moving one STRETCHED."""
    sides = ((FIXED, TURNED), (MOVING, STRETCHED))
    return Pair.of(*(MetaTensor(smooth(shape)[None], affine=torch.from_numpy(affine)) for shape, affine in sides))


def check_turn_in_space(transform: SpatialTransform) -> None:
    index = from_cube(moved(to_cube(POINTS, FIXED), TURN), MOVING)
    world = POINTS @ TURNED[:2, :2].T + TURNED[:2, 3]
    expected = index @ STRETCHED[:2, :2].T + STRETCHED[:2, 3]
    np.testing.assert_allclose(transform.points(world), expected, rtol=0, atol=1e-5)


def test_known_map_between_worlds_that_are_turned_and_stretched() -> None:
    check_turn_in_space(PairInferer(1)(pair_in_space(), affine_network(TURN)))


def test_identity_stays_the_identity_under_resizing() -> None:
    zeros = torch.zeros(1, 25, 2)
    for network in (affine_network(torch.zeros(1, 2, 3)), Told((ThinPlateSplineField(NETWORK_SIZE, (5, 5)), [zeros]))):
        transform = PairInferer(3)(pair(FIXED, FIXED), network)
        np.testing.assert_allclose(transform.points(POINTS), POINTS, rtol=0, atol=1e-4)


def test_later_passes_act_first() -> None:
    transform = PairInferer(3)(pair(), affine_network(TURN, PUSH, TURN))
    cube = to_cube(POINTS, FIXED)
    expected = from_cube(moved(moved(moved(cube, TURN), PUSH), TURN), MOVING)
    np.testing.assert_allclose(transform.points(POINTS), expected, rtol=0, atol=1e-5)
    two = PairInferer(2)(pair(), affine_network(TURN, PUSH))
    np.testing.assert_allclose(two.points(POINTS), from_cube(moved(moved(cube, PUSH), TURN), MOVING), rtol=0, atol=1e-5)


def test_later_stages_act_first_and_later_passes_before_them() -> None:
    field = AffineField(NETWORK_SIZE)
    for passes, order in ((1, [PUSH, TURN]), (2, [PUSH, TURN, TURN, PUSH])):
        found = order[::2], order[1::2]  # of the two stages, pass by pass
        transform = PairInferer(passes)(pair(), Told((field, found[0]), (field, found[1])))
        cube = to_cube(POINTS, FIXED)
        for offsets in reversed(order):
            cube = moved(cube, offsets)
        np.testing.assert_allclose(transform.points(POINTS), from_cube(cube, MOVING), rtol=0, atol=1e-5)


def test_flow_is_linear_between_the_voxels_of_the_network() -> None:
    flow = torch.from_numpy(
        0.2 * gaussian_filter(np.random.default_rng(5).normal(size=(1, 2, *NETWORK_SIZE)), 2)
    ).float()
    transform = PairInferer(1)(pair(), Told((DenseField(NETWORK_SIZE), [flow])))
    cube = to_cube(POINTS, FIXED)
    where = ((cube + 1) * (np.array(NETWORK_SIZE) - 1) / 2).T
    cube = cube + np.stack([map_coordinates(u, where, order=1, mode="nearest") for u in flow[0].numpy()], axis=-1)
    np.testing.assert_allclose(transform.points(POINTS), from_cube(cube, MOVING), rtol=0, atol=1e-4)


def test_spline_passes_against_scipy() -> None:
    control = np.stack(np.meshgrid(np.linspace(-1, 1, 4), np.linspace(-1, 1, 3), indexing="ij"), -1).reshape(-1, 2)
    answers = 0.15 * torch.randn(2, 1, 12, 2, generator=torch.Generator().manual_seed(0))
    transform = PairInferer(2)(pair(), Told((ThinPlateSplineField(NETWORK_SIZE, (4, 3)), answers)))
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


def real_network(**options: Any) -> JointSegmentationRegistration:
    """A network that displaces by a few voxels."""
    torch.manual_seed(0)
    network = JointSegmentationRegistration(NETWORK_SIZE, **options)
    for stage in network.registration.stages:
        flows = [flow.conv for flow in getattr(stage.network, "flows", [])]
        for layer in flows or [stage.network.out]:
            nn.init.normal_(layer.weight, std=0.02)
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


@pytest.mark.parametrize("options", [{}, {"transformer": "tps_flownet", "segment": False}], ids=["joint", "segreg"])
def test_batch_is_registered_as_one_by_one(options: dict[str, Any]) -> None:
    """Sizes that differ between the pairs and within them, and colours."""
    network = real_network(**options)
    colour = Pair.of(torch.rand(3, *MOVING, generator=torch.Generator().manual_seed(3)), pair().fixed)
    pairs = [pair(), pair(NETWORK_SIZE, FIXED), colour, pair(MOVING, MOVING)]
    together = PairInferer(2).batch(pairs, network.train())
    assert len(together) == 4
    for given, found in zip(pairs, together, strict=True):
        expected = PairInferer(2)(given, network).points(POINTS)
        np.testing.assert_allclose(found.transform.points(POINTS), expected, rtol=0, atol=1e-3)
    assert np.abs(together[0].transform.points(POINTS) - together[1].transform.points(POINTS)).max() > 1


def test_batch_is_one_run_of_the_network_and_an_empty_one_is_none() -> None:
    network = affine_network(torch.cat([TURN, PUSH, TURN]))
    pairs = [pair(), pair(FIXED, FIXED), pair(NETWORK_SIZE, MOVING)]
    predictions = PairInferer(1).batch(pairs, network)
    for k, (given, offsets) in enumerate(zip(pairs, (TURN, PUSH, TURN), strict=True)):
        found = predictions[k]
        expected = from_cube(moved(to_cube(POINTS, given.fixed_grid.shape), offsets), given.moving_grid.shape)
        np.testing.assert_allclose(found.transform.points(POINTS), expected, rtol=0, atol=1e-5)
        for side, row in (("fixed", k), ("moving", 3 + k)):
            image, heat_map = getattr(found, side)[0]
            assert torch.equal(image, network.images[row, 0])
            torch.testing.assert_close(heat_map, image.clip(1e-4, 1 - 1e-4))
            assert getattr(found, f"{side}_grid").matches(getattr(given, f"{side}_grid").resized(NETWORK_SIZE))
    assert network.images.shape[0] == 6 and network.registration.stages[0].network.calls == 1
    assert PairInferer().batch([], network) == []


def test_pair_that_cannot_be_registered_fails_its_batch() -> None:
    flat = Pair.of(pair().fixed, torch.zeros(1, *MOVING))
    with pytest.raises(ValueError, match=r"moving is constant \(0\)"):
        PairInferer().batch([pair(), flat], real_network())


BLOBS = {"fixed": ((20.0, 30.0), (11.0, 22.0)), "moving": ((38.0, 22.0), (25.0, 9.0))}  # centres and half axes, index


def ellipse(index: np.ndarray, side: str) -> np.ndarray:
    """Whether index coordinates (..., 2) of a side lie in its nucleus."""
    centre, axes = (np.array(values) for values in BLOBS[side])
    return (((index - centre) / axes) ** 2).sum(-1) < 1


def label(side: str) -> Tensor:
    """The nucleus of a side with a number for each half, (1, *shape)."""
    shape = FIXED if side == "fixed" else MOVING
    index = np.moveaxis(np.indices(shape), 0, -1)
    return torch.from_numpy(ellipse(index, side) * np.where(index[..., 1] > BLOBS[side][0][1], 7, 1))[None]


def labelled(**changes: Any) -> Pair:
    """Images that show nothing of the nuclei that their labels tell."""
    return replace(pair(), **{"fixed_label": label("fixed"), "moving_label": label("moving"), **changes})


def seen_ellipses() -> np.ndarray:
    """The nuclei of both sides, drawn at the voxels of the network."""
    cube = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in NETWORK_SIZE), indexing="ij"), axis=-1)
    sides = (("fixed", FIXED), ("moving", MOVING))
    return np.stack([ellipse(from_cube(cube.reshape(-1, 2), s), side).reshape(NETWORK_SIZE) for side, s in sides])


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_labels_of_both_sides_take_the_place_of_the_images() -> None:
    network = affine_network(TURN, takes_segmentations=True)
    PairInferer(1)(labelled(), network)
    assert set(network.images.unique().tolist()) == {0.0, 1.0}
    for found, expected in zip(network.images[:, 0].numpy() > 0, seen_ellipses(), strict=True):
        assert iou(found, expected) > 0.95
    seen = network.images
    PairInferer(1)(labelled(fixed=pair().fixed * 0, moving=-pair().moving), network)
    assert torch.equal(network.images, seen)


def test_labels_in_worlds_that_are_turned_and_stretched() -> None:
    given = replace(pair_in_space(), fixed_label=MetaTensor(label("fixed")), moving_label=label("moving").bool())
    network = affine_network(TURN, takes_segmentations=True)
    check_turn_in_space(PairInferer(1)(given, network))
    for found, expected in zip(network.images[:, 0].numpy() > 0, seen_ellipses(), strict=True):
        assert iou(found, expected) > 0.95


@pytest.mark.parametrize("given", [(), ("fixed_label",), ("moving_label",)])
def test_segmentations_are_made_from_the_images_unless_both_are_given(given: tuple[str, ...]) -> None:
    """Bright nuclei, unevenly lit, in noise; a label of one side alone would not be comparable."""
    rng = np.random.default_rng(0)
    images = {
        side: 50
        + 400 * (label(side)[0].numpy() > 0) * np.linspace(0.8, 1.2, label(side).shape[-1])
        + rng.normal(0, 15, label(side).shape[1:])
        for side in BLOBS
    }
    pair_of_nuclei = Pair.of(*(torch.from_numpy(image[None]) for image in images.values()))
    misleading = {name: torch.ones(1, *(FIXED if name == "fixed_label" else MOVING)) for name in given}
    network = affine_network(TURN, takes_segmentations=True)
    PairInferer(1)(replace(pair_of_nuclei, **misleading), network)
    assert set(network.images.unique().tolist()) == {0.0, 1.0}
    for found, expected in zip(network.images[:, 0].numpy() > 0, seen_ellipses(), strict=True):
        assert iou(found, expected) > 0.9


def test_labels_do_not_reach_a_network_that_segments() -> None:
    network = affine_network(TURN)
    PairInferer(1)(pair(), network)
    seen = network.images
    PairInferer(1)(labelled(), network)
    assert torch.equal(network.images, seen)


@pytest.mark.parametrize(
    ("given", "side"),
    [
        (lambda: labelled(fixed_label=0 * label("fixed")), "fixed"),
        (lambda: labelled(moving_label=0 * label("moving")), "moving"),
        (lambda: Pair.of(1 - (broken(9.0) == 9).float(), pair().moving), "fixed"),
    ],
    ids=["fixed label", "moving label", "one dark spot"],
)
def test_empty_segmentations_are_refused(given: Callable[[], Pair], side: str) -> None:
    message = rf"^{side} has an empty segmentation; expected something bright .* label .* fixed_label .* 'auto'"
    with pytest.raises(ValueError, match=message):
        PairInferer()(given(), affine_network(TURN, takes_segmentations=True))


def test_image_without_contrast_is_refused_where_it_has_to_be_segmented() -> None:
    flat = Pair.of(torch.full((1, *FIXED), 3.0), pair().moving)
    network = affine_network(TURN, takes_segmentations=True)
    with pytest.raises(ValueError, match=r"^fixed is constant \(3\); expected an image with something to align"):
        PairInferer()(flat, network)
    PairInferer()(replace(flat, fixed_label=label("fixed"), moving_label=label("moving")), network)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_map_of_a_network_on_a_gpu_takes_points_of_the_cpu() -> None:
    expected = PairInferer()(pair(), real_network()).points(POINTS)
    np.testing.assert_allclose(PairInferer()(pair(), real_network().cuda()).points(POINTS), expected, atol=0.05)
