"""What stages find is one map: composed in the right order, and read once by every stage that follows."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import gaussian_filter, map_coordinates
from torch import Tensor, nn

from monai_cellreg.geometry import (
    AffineField,
    DenseField,
    RadialBasisField,
    ThinPlateSplineField,
    compose,
)
from monai_cellreg.networks import Cascade, ControlPointRegressor, FlowNet, Stage, cascade_of

FLAT, VOLUME = (32, 64), (32, 32, 32)
HEADS = {"affine": AffineField, "gaussian": RadialBasisField, "tps": ThinPlateSplineField, "flownet": DenseField}
PAPER = ("affine", "gaussian", "tps", "flownet", "affine_flownet", "gaussian_flownet", "tps_flownet")
THREE = ("affine_tps_flownet", "flownet_flownet_affine")
TURN = torch.tensor([[[-0.1, 0.2, 0.05], [-0.15, 0.1, -0.2]]])  # offsets from the identity on the cube
PUSH = torch.tensor([[[0.2, -0.1, 0.1], [0.05, -0.2, 0.15]]])
Answer = Tensor | Sequence[Tensor]


class Told(nn.Module):
    """Stands in for the network of a stage: gives the answer that it was told, and keeps what it saw."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, pair: Tensor) -> Answer:
        self.seen = pair
        return self.answer


def images(size: Sequence[int] = FLAT, batch: int = 2) -> tuple[Tensor, Tensor]:
    """Smooth pictures."""
    rng = np.random.default_rng(4)
    noise = np.stack([gaussian_filter(rng.normal(size=size), 3, mode="nearest") for _ in range(2 * batch)])[:, None]
    fixed, moving = torch.from_numpy(10 * noise).float().chunk(2)
    return fixed, moving


def on_cube(size: Sequence[int]) -> np.ndarray:
    """Voxel centres (voxels, D) on the cube."""
    return np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in size), indexing="ij"), axis=-1).reshape(-1, len(size))


def field_of(cube: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Displacements in voxels (D, *size) of voxels that come to lie at these places (voxels, D) of the cube."""
    index = (cube + 1) * (np.array(size) - 1) / 2
    return index.T.reshape(len(size), *size) - np.indices(size)


def affinely(cube: np.ndarray, offsets: Tensor) -> np.ndarray:
    matrix = offsets[0].double().numpy() + np.eye(*offsets.shape[1:])
    return cube @ matrix[:, :-1].T + matrix[:, -1]


def spline(cube: np.ndarray, moves: Tensor, shape: Sequence[int]) -> np.ndarray:
    """Thin-plate spline of SciPy with control points on a lattice over the cube."""
    return cube + RBFInterpolator(on_cube(shape), moves.double().numpy(), kernel="thin_plate_spline", degree=1)(cube)


def densely(cube: np.ndarray, flow: Tensor) -> np.ndarray:
    """Displacements (D, *size) on the cube, linear between voxels and continued outside."""
    where = ((cube + 1) * (np.array(flow.shape[1:]) - 1) / 2).T
    return cube + np.stack([map_coordinates(u, where, order=1, mode="nearest") for u in flow.double().numpy()], axis=-1)


def read(image: Tensor, field: np.ndarray) -> np.ndarray:
    """An image (*size) at ``x + field(x)``."""
    return map_coordinates(image.numpy(), np.indices(image.shape) + field, order=1, mode="nearest")


def smooth_flow(size: Sequence[int], batch: int = 2) -> Tensor:
    """Displacements (B, D, *size) of up to 0.3 on the cube."""
    rng = np.random.default_rng(7)
    noise = np.stack([gaussian_filter(rng.normal(size=size), 6) for _ in range(batch * len(size))])
    return torch.from_numpy(0.3 * noise / np.abs(noise).max()).float().reshape(batch, len(size), *size)


# --- composition ----------------------------------------------------------------------------------------------------


def test_stages_found_later_act_first() -> None:
    """Two affine maps that do not commute."""
    fixed, moving = images(batch=1)
    for first, second in ((TURN, PUSH), (PUSH, TURN)):
        cascade = Cascade([Stage(Told(p), AffineField(FLAT)) for p in (first, second)])
        maps = cascade(fixed, moving)
        expected = field_of(affinely(affinely(on_cube(FLAT), second), first), FLAT)
        reverse = field_of(affinely(affinely(on_cube(FLAT), first), second), FLAT)
        inside = np.s_[:, 10:-10, 20:-20]  # read within the image, beyond which a field is continued as a constant
        found = maps.fields[-1][0].numpy()
        np.testing.assert_allclose(found[inside], expected[inside], rtol=0, atol=1e-4)
        assert np.abs(reverse - expected)[inside].max() > 1
        chain = compose(cascade.transforms(maps.parameters))
        np.testing.assert_allclose(field_of(chain.points(on_cube(FLAT)), FLAT), expected, rtol=0, atol=1e-5)


def test_spline_and_flow_against_scipy() -> None:
    fixed, moving = images()
    moves = 0.1 * torch.randn(2, 12, 2, generator=torch.Generator().manual_seed(0))
    flow = smooth_flow(FLAT)
    cascade = Cascade([Stage(Told(moves), ThinPlateSplineField(FLAT, (3, 4))), Stage(Told(flow), DenseField(FLAT))])
    maps = cascade(fixed, moving)
    chain = compose(cascade.transforms(maps.parameters))
    for item in range(2):
        where = densely(on_cube(FLAT), flow[item])
        inside = (np.abs(where) < 1).all(axis=1).reshape(FLAT)
        assert inside.mean() > 0.6
        expected = field_of(spline(where, moves[item], (3, 4)), FLAT)
        found = maps.fields[-1][item].numpy()
        assert np.abs(found - expected)[:, inside].max() < 0.1  # the spline's field is linear between voxels
        points = chain.points(torch.from_numpy(on_cube(FLAT)))[item].numpy()
        np.testing.assert_allclose(field_of(points, FLAT), expected, rtol=0, atol=1e-4)


def test_every_stage_sees_the_moving_image_through_the_map_so_far() -> None:
    fixed, moving = images()
    answers = (PUSH.repeat(2, 1, 1), smooth_flow(FLAT), TURN.repeat(2, 1, 1))
    told = [Told(answer) for answer in answers]
    heads = (AffineField(FLAT), DenseField(FLAT), AffineField(FLAT))
    maps = Cascade([Stage(network, head) for network, head in zip(told, heads, strict=True)])(fixed, moving)
    before = [np.zeros((2, 2, *FLAT)), *(field.numpy() for field in maps.fields[:-1])]
    for network, field in zip(told, before, strict=True):
        assert torch.equal(network.seen[:, :1], fixed)
        for item in range(2):
            expected = read(moving[item, 0], field[item])
            np.testing.assert_allclose(network.seen[item, 1], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("size", [FLAT, VOLUME])
def test_map_given_before_acts_after_all_stages(size: tuple[int, ...]) -> None:
    fixed, moving = images(size, batch=1)
    dims = len(size)
    before = torch.from_numpy(field_of(on_cube(size) @ np.diag([0.5, 0.9, 0.7][:dims]), size)[None]).float()
    shift = torch.zeros(1, dims, dims + 1)
    shift[..., -1] = torch.tensor([0.2, -0.1, 0.15][:dims])
    told = Told(shift)
    maps = Cascade([Stage(told, AffineField(size))])(fixed, moving, before)
    expected = field_of(affinely(on_cube(size), shift) @ np.diag([0.5, 0.9, 0.7][:dims]), size)
    inside = (np.abs(affinely(on_cube(size), shift)) < 1).all(axis=1).reshape(size)
    assert np.abs(maps.fields[-1][0].numpy() - expected)[:, inside].max() < 1e-4
    np.testing.assert_allclose(told.seen[0, 1], read(moving[0, 0], before[0].numpy()), rtol=0, atol=1e-4)


def test_estimates_from_coarse_to_fine_each_follow_the_stage_before() -> None:
    fixed, moving = images(batch=1)
    flows = [scale * smooth_flow(FLAT, batch=1) for scale in (0.3, 0.6, 1.0)]
    cascade = Cascade([Stage(Told(PUSH), AffineField(FLAT)), Stage(Told(flows), DenseField(FLAT))])
    maps = cascade(fixed, moving)
    assert len(maps.fields) == 4 and len(maps.parameters) == 2
    assert torch.equal(maps.parameters[0], PUSH) and torch.equal(maps.parameters[1], flows[-1])
    for found, flow in zip(maps.fields[1:], flows, strict=True):
        where = densely(on_cube(FLAT), flow[0])
        inside = (np.abs(where) < 1).all(axis=1).reshape(FLAT)
        expected = field_of(affinely(where, PUSH), FLAT)
        assert np.abs(found[0].numpy() - expected)[:, inside].max() < 1e-3


# --- cascades by name -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("transformer", "size"), [*((name, FLAT) for name in (*PAPER, *THREE)), ("tps_flownet", VOLUME), (THREE[0], VOLUME)]
)
def test_field_is_the_map_of_the_composed_stages(
    transformer: str, size: tuple[int, ...], settled: Callable[..., nn.Module]
) -> None:
    torch.manual_seed(0)
    cascade = cascade_of(transformer, size, control_shape=(3, 4, 3)[: len(size)])
    fixed, moving = images(size)
    settled(cascade, fixed, moving, cascade=cascade, std=0.004)
    with torch.no_grad():
        maps = cascade(fixed, moving)
    names = transformer.split("_")
    assert [type(stage.field) for stage in cascade.stages] == [HEADS[name] for name in names]
    assert len(maps.fields) == sum(3 if name == "flownet" else 1 for name in names)
    for item in range(2):
        where, inside = on_cube(size), np.ones(size, dtype=bool)
        for transform in cascade.transforms(maps.parameters):  # beyond its border a field is continued as a constant
            inside &= (np.abs(where) <= 1 + 1e-9).all(axis=1).reshape(size)
            where = transform.points(torch.from_numpy(where))[item].numpy()
        expected = field_of(where, size)
        assert 0.3 < np.abs(expected).max() < 10 and inside.mean() > 0.5
        difference = np.abs(maps.fields[-1][item].numpy() - expected)[:, inside]
        most, mean = (0.2, 0.02) if len(names) > 1 else (1e-4, 1e-5)  # fields are linear between voxels
        assert difference.max() < most and difference.mean() < mean


@pytest.mark.parametrize("transformer", [*PAPER, *THREE])
def test_starts_at_the_identity_and_every_weight_has_a_say(transformer: str, settled: Callable[..., nn.Module]) -> None:
    cascade = cascade_of(transformer, FLAT)
    fixed, moving = images()
    assert all(field.eq(0).all() for field in cascade(fixed, moving).fields)
    settled(cascade, fixed, moving, cascade=cascade)
    cascade(fixed, moving).fields[-1].square().sum().backward()
    silent = [name for name, p in cascade.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    assert silent == []


def test_sizes_of_the_stages() -> None:
    cascade = cascade_of("affine_gaussian_tps_flownet", FLAT, control_shape=(4, 3), in_channels=3)
    assert [stage.field.parameter_shape for stage in cascade.stages] == [(2, 3), (12, 2), (12, 2), (2, *FLAT)]
    assert [type(stage.network) for stage in cascade.stages] == [ControlPointRegressor] * 3 + [FlowNet]
    assert len(cascade(*torch.rand(2, 2, 3, *FLAT)).fields) == 6
    for size, points in ((FLAT, 25), (VOLUME, 125)):  # five along each axis, as in the paper
        shapes = [stage.field.parameter_shape for stage in cascade_of("tps_gaussian", size).stages]
        assert shapes == [(points, len(size))] * 2


@pytest.mark.parametrize("transformer", ["", "tsp", "tps-flownet", "tps_", "TPS", "tps_flownet_rigid", None])
def test_unknown_transformation_models_are_told_the_known_ones(transformer: str) -> None:
    text = (
        f"transformer is {transformer!r}; expected one of affine, gaussian, tps, flownet, or several joined by '_', "
        "such as 'tps_flownet'"
    )
    with pytest.raises(ValueError, match=re.escape(text)):
        cascade_of(transformer, FLAT)


@pytest.mark.parametrize("transformer", ["tps", "flownet", "affine_flownet"])
def test_size_that_cannot_be_halved_is_refused(transformer: str) -> None:
    text = r"_size is \(100, 64\); expected sizes divisible by 32, such as \(96, 64\)"
    with pytest.raises(ValueError, match=text):
        cascade_of(transformer, (100, 64))


def test_no_stage_is_refused() -> None:
    with pytest.raises(ValueError, match="stages is empty; expected at least one stage"):
        Cascade([])
