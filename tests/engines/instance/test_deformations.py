"""What every kind of deformation keeps. A new one is tested by one more line in MODELS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from monai_cellreg.engines.instance import (
    BSplineDeformation,
    DeformableSettings,
    DenseDeformation,
    VelocityDeformation,
    optimise_deformation,
)
from monai_cellreg.engines.instance.deformations import Deformation
from monai_cellreg.engines.instance.smoothing import smooth
from monai_cellreg.geometry import (
    AffineTransform,
    BSplineTransform,
    SamplingGrid,
    control_lattice,
    to_voxel_ddf,
    voxel_jacobian_determinant,
)
from monai_cellreg.losses import LocalNormalizedCrossCorrelationLoss

Turned = Callable[[int, float], np.ndarray]
MODELS: dict[str, tuple[type[Deformation], dict[int, float]]] = {  # and the mean error left of 1, by dimension
    "dense": (DenseDeformation, {2: 0.15, 3: 0.4}),
    "velocity": (VelocityDeformation, {2: 0.2, 3: 0.4}),
    "bspline": (BSplineDeformation, {2: 0.2, 3: 0.4}),
}
CPU = torch.device("cpu")
SHAPES = {2: (24, 33), 3: (14, 18, 11)}


@pytest.fixture(params=MODELS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def bent(name: str, shape: tuple[int, ...], size: float = 1.5) -> Deformation:
    """A deformation with smooth random parameters of about that many voxels."""
    deformation = MODELS[name][0](shape, CPU)
    noise = torch.randn(deformation.parameters.shape, generator=torch.Generator().manual_seed(0))
    rough = smooth(noise, 0.5 if name == "bspline" else 3.0)
    deformation.parameters = rough * size / float(rough.abs().max())
    return deformation


def grid_of(dims: int, turned: Turned) -> SamplingGrid:
    affine = np.eye(dims + 1)
    affine[:-1, :-1] = turned(dims, 0.4) * (0.5, 2.0, 1.25)[:dims]
    affine[:-1, -1] = [5.0, -7.0, 90.0][:dims]
    return SamplingGrid(SHAPES[dims], affine)


def test_a_new_deformation_is_the_identity(name: str, spatial_dims: int, turned: Turned) -> None:
    grid = grid_of(spatial_dims, turned)
    deformation = MODELS[name][0](grid.shape, CPU)
    field = deformation.field(deformation.parameters)
    assert field.shape == (1, spatial_dims, *grid.shape) and not field.any()
    points = grid.world().flatten(0, -2)
    assert float((deformation.transform(grid).points(points) - points).abs().max()) < 1e-9


def test_transform_is_the_field_at_the_voxels(name: str, spatial_dims: int, turned: Turned) -> None:
    grid = grid_of(spatial_dims, turned)
    deformation = bent(name, grid.shape)
    found = to_voxel_ddf(deformation.transform(grid), grid, grid)
    field = deformation.field(deformation.parameters)
    assert 0.4 < float(field.abs().max()) < 3
    assert float((found - field).abs().max()) < (0.01 if name == "velocity" else 1e-4)  # its squarings differ


def test_refined_keeps_the_map(name: str, spatial_dims: int, turned: Turned) -> None:
    grid = grid_of(spatial_dims, turned)
    coarse = bent(name, grid.shape)
    finer = coarse.refined([2 * n for n in grid.shape])
    assert finer.shape == tuple(2 * n for n in grid.shape) and type(finer) is type(coarse)
    inner = grid.index_to_world(SamplingGrid(grid.shape).index()[(slice(2, -2),) * spatial_dims].flatten(0, -2))
    maps = [each.transform(where).points(inner) for each, where in ((coarse, grid), (finer, grid.resized(finer.shape)))]
    apart = (maps[0] - maps[1]).norm(dim=1) / min(grid.spacing)
    length = (maps[0] - inner).norm(dim=1) / min(grid.spacing)
    assert float(length.max()) > 1 and float(apart.max()) < 0.15, (length.max(), apart.max())


def test_steps_go_where_they_point_and_leave_what_was_given(name: str, spatial_dims: int) -> None:
    deformation = MODELS[name][0](SHAPES[spatial_dims], CPU)
    before = deformation.parameters
    step = torch.zeros_like(before)
    step[:, 1] = 0.7
    deformation.move(step, 0.5)
    deformation.move(step, 0.0)
    assert not before.any()
    field = deformation.field(deformation.parameters)
    assert float((field[:, 1] - 1.4).abs().max()) < 1e-4 and float(field[:, 0].abs().max()) < 1e-6


def test_stiffness_smooths(name: str) -> None:
    rough = {}
    for stiffness in (0.0, 5.0):
        deformation = bent(name, (24, 33))
        step = torch.randn(deformation.parameters.shape, generator=torch.Generator().manual_seed(1))
        deformation.move(step, stiffness)
        rough[stiffness] = float(deformation.field(deformation.parameters).diff(dim=2).abs().mean())
    assert rough[5.0] < 0.6 * rough[0.0]


def test_gradient_reaches_the_parameters(name: str) -> None:
    deformation = bent(name, (12, 15))
    parameters = deformation.parameters.requires_grad_(True)
    (gradient,) = torch.autograd.grad(deformation.field(parameters).square().sum(), parameters)
    inner = gradient[..., 2:-2, 2:-2]
    assert bool((inner != 0).all())


def test_dense_steps_are_composed() -> None:
    """``move`` puts the step before what there is: T(x) = old(x + step)."""
    grid = SamplingGrid((30, 40))
    deformation = DenseDeformation(grid.shape, CPU)
    first, second = (AffineTransform.rigid(angle, centre=[15, 20]) for angle in (0.02, -0.035))
    for part in (first, second):
        deformation.move(to_voxel_ddf(part, grid, grid), 0.0)
    wanted = to_voxel_ddf(second.then(first), grid, grid)
    assert float((deformation.parameters - wanted)[..., 3:-3, 3:-3].abs().max()) < 1e-4


def test_flow_of_a_velocity_has_the_inverse_of_the_opposite() -> None:
    grid = SamplingGrid((40, 36))
    there, back = bent("velocity", grid.shape, 2.0), VelocityDeformation(grid.shape, CPU)
    back.parameters = -there.parameters
    points = grid.world()[8:-8, 8:-8].flatten(0, 1)
    moved = back.transform(grid).points(there.transform(grid).points(points))
    assert float((moved - points).norm(dim=1).max()) < 0.05


def test_splines_are_refined_exactly() -> None:
    """Halved voxels hold every spline of the coarse lattice where the cells of the two fit."""
    shape = (21, 31)
    coarse = bent("bspline", shape)
    field = coarse.field(coarse.parameters)
    finer = coarse.refined(shape)
    assert float((finer.field(finer.parameters) - field).abs().max()) < 1e-4
    assert float((finer.parameters - coarse.parameters).abs().max()) < 1e-3


@pytest.mark.parametrize(
    ("spatial_dims", "start"), [(2, "identity"), (2, "affine"), (2, "bent"), (3, "bent")], indirect=["spatial_dims"]
)
def test_known_warp_is_recovered(name: str, world: Any, turned: Turned, start: str) -> None:
    lattice = control_lattice(world.fixed_grid, control_spacing=14 if world.dims == 2 else 10)
    bend = torch.tensor(np.random.default_rng(3).uniform(-3.5, 3.5, (1, world.dims, *lattice.shape)))
    linear = world.affine(turned(world.dims, 0.2) * 1.05, [1.0] * world.dims)
    known = {
        "identity": AffineTransform(np.eye(world.dims + 1)),
        "affine": linear,
        "bent": BSplineTransform(0.5 * bend, lattice).then(linear),
    }[start]
    truth = BSplineTransform(bend, lattice).then(known)
    model, left = MODELS[name]
    pair = world.pair(truth)
    loss = LocalNormalizedCrossCorrelationLoss(world.dims, 9)
    found, levels = optimise_deformation(world.images(pair), loss, known, DeformableSettings(model=model))
    before, after = (float(world.error(each, truth).mean()) for each in (known, found.then(known)))
    assert before > 0.8 and after < left[world.dims] * before, (before, after)
    field = to_voxel_ddf(found, world.fixed_grid, world.fixed_grid)
    assert float((voxel_jacobian_determinant(field) <= 0).double().mean()) <= (0.005 if name == "bspline" else 0)
    assert all(level["last"] < level["first"] for level in levels)
