"""What every family of maps keeps, in 2D and 3D. A new family is tested by one more line in FAMILIES."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from dataclasses import astuple, dataclass
from functools import partial
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from monai_cellreg.geometry import (
    AffineTransform,
    BSplineTransform,
    DenseTransform,
    RadialBasisTransform,
    SamplingGrid,
    SpatialTransform,
    ThinPlateSplineTransform,
    VelocityTransform,
    control_lattice,
    read_transform,
    write_transform,
)
from monai_cellreg.geometry.derivatives import map_jacobian

SHAPES = {2: (7, 9), 3: (5, 6, 7)}
MISS = 1e-7  # world units by which a numerical inverse may miss: a billionth of the coordinates, times the slope

Turned = Callable[[int, float], np.ndarray]


def world_vectors(grid: SamplingGrid, parameters: Tensor) -> Tensor:
    """Vectors (B, K, D) in world units of parameters (B, K * D), which count voxels along the axes of the grid."""
    linear = torch.tensor(grid.affine[:-1, :-1]).to(parameters)
    return parameters.reshape(parameters.shape[0], -1, grid.spatial_dims) @ linear.T


def on_grid(grid: SamplingGrid, index_map: Tensor) -> SpatialTransform:
    """Affine maps (B, D, D+1) of index coordinates as maps of the grid's world points."""
    to_world = AffineTransform(torch.tensor(grid.affine).to(index_map))
    return to_world.inverse().then(AffineTransform(index_map)).then(to_world)


def affine(grid: SamplingGrid, parameters: Tensor) -> SpatialTransform:
    dims = grid.spatial_dims
    offset = parameters.reshape(-1, dims, dims + 1)
    turn = 0.1 * offset[..., :-1]
    centre = (torch.tensor(grid.shape).to(turn) - 1) / 2
    shift = offset[..., -1:] - turn @ centre[:, None]
    return on_grid(grid, torch.cat([torch.eye(dims).to(turn) + turn, shift], dim=-1))


def translation(grid: SamplingGrid, parameters: Tensor) -> SpatialTransform:
    return AffineTransform.translation(world_vectors(grid, parameters)[:, 0])


def similarity(grid: SamplingGrid, parameters: Tensor) -> SpatialTransform:
    """Turns about the grid's centre in the directions of its axes; without the last parameter, rigid."""
    dims, spacing = grid.spatial_dims, parameters.new_tensor(grid.spacing)
    directions = torch.tensor(grid.affine[:-1]).to(parameters) / torch.cat([spacing, spacing.new_ones(1)])
    turns = dims * (dims - 1) // 2
    rotation, shift, log_scale = (0.1 * parameters).split([turns, dims, parameters.shape[1] - turns - dims], dim=1)
    scale, centre = log_scale.sum(dim=1).exp(), (torch.tensor(grid.shape).to(spacing) - 1) / 2 * spacing
    turn = AffineTransform.similarity(rotation, scale, shift=10 * shift * spacing, centre=centre)
    return AffineTransform(directions).inverse().then(turn).then(AffineTransform(directions))


def radial_basis(grid: SamplingGrid, parameters: Tensor) -> SpatialTransform:
    lattice = grid.resized((3,) * grid.spatial_dims)
    control = lattice.world(device=parameters.device).flatten(0, -2)
    targets = control + world_vectors(grid, parameters)
    return RadialBasisTransform.from_targets(control, targets, sigma=max(lattice.spacing))


def spline(grid: SamplingGrid, parameters: Tensor, *, smoothing: float = 0.0) -> SpatialTransform:
    control = grid.resized((3,) * grid.spatial_dims).world(device=parameters.device).flatten(0, -2)
    area_or_length = min(grid.spacing) ** (4 - grid.spatial_dims)  # the unit of the smoothing weight
    targets = control + world_vectors(grid, parameters)
    return ThinPlateSplineTransform(control, targets, smoothing=smoothing * area_or_length)


def bspline(grid: SamplingGrid, parameters: Tensor, *, order: int = 3) -> SpatialTransform:
    lattice = control_lattice(grid, control_shape=(5,) * grid.spatial_dims, order=order)
    coefficients = world_vectors(grid, parameters).transpose(1, 2)
    return BSplineTransform(coefficients.reshape(-1, grid.spatial_dims, *lattice.shape), lattice, order=order)


def velocity(grid: SamplingGrid, parameters: Tensor) -> SpatialTransform:
    return VelocityTransform(bspline(grid, parameters).displacement(grid), grid)


def dense(grid: SamplingGrid, parameters: Tensor) -> SpatialTransform:
    field = world_vectors(grid, 0.5 * parameters).transpose(1, 2)
    return DenseTransform(field.reshape(-1, grid.spatial_dims, *grid.shape), grid)


def composite(grid: SamplingGrid, parameters: Tensor) -> SpatialTransform:
    count = FAMILIES["affine"].count(grid)
    return affine(grid, parameters[:, :count]).then(spline(grid, parameters[:, count:]))


@dataclass(frozen=True)
class Family:
    """A family of maps that belong to a grid.

    Args:
        build: grid and parameters (B, count) to B maps on the parameters' device, differentiable; zeros are the
            identity, parameters below 0.5 displace by less than a voxel. Whatever is a length or a direction is given
            in the grid's own (see :func:`world_vectors`), so that a grid which is turned, moved or measured in another
            unit gives the map that is turned, moved or measured with it.
        count: grid to the number of parameters of one map.
        error: largest error of a point, in world units.
        miss: world units by which the inverse may miss.
        keeps_volume: whether no map of the family changes the volume of anything.
    """

    build: Callable[[SamplingGrid, Tensor], SpatialTransform]
    count: Callable[[SamplingGrid], int]
    error: float = 1e-9
    miss: float = MISS
    keeps_volume: bool = False

    def drawn(self, grid: SamplingGrid, *, batch: int = 1, seed: int = 0) -> Tensor:
        """Random parameters (batch, count)."""
        return 0.3 * uniform(batch, self.count(grid), seed=seed) - 0.15


def a_lattice_of(size: int) -> Callable[[SamplingGrid], int]:
    """Number of parameters of one vector at every point of a lattice."""
    return lambda grid: grid.spatial_dims * size**grid.spatial_dims


FAMILIES = {
    "translation": Family(translation, a_lattice_of(1), keeps_volume=True),
    "rigid": Family(similarity, lambda grid: grid.spatial_dims * (grid.spatial_dims + 1) // 2, keeps_volume=True),
    "similarity": Family(similarity, lambda grid: grid.spatial_dims * (grid.spatial_dims + 1) // 2 + 1),
    "affine": Family(affine, lambda grid: grid.spatial_dims * (grid.spatial_dims + 1)),
    "thin-plate spline": Family(spline, a_lattice_of(3)),
    "smoothed thin-plate spline": Family(partial(spline, smoothing=0.5), a_lattice_of(3)),
    "radial basis": Family(radial_basis, a_lattice_of(3)),
    "B-spline of order 1": Family(partial(bspline, order=1), a_lattice_of(5)),
    "B-spline of order 2": Family(partial(bspline, order=2), a_lattice_of(5)),
    "B-spline of order 3": Family(bspline, a_lattice_of(5)),
    "dense": Family(dense, lambda grid: grid.spatial_dims * prod(grid.shape)),
    "velocity": Family(velocity, a_lattice_of(5), miss=3e-3),
    "composite": Family(composite, lambda grid: sum(FAMILIES[n].count(grid) for n in ("affine", "thin-plate spline"))),
    "inverse of a spline": Family(lambda grid, p: spline(grid, p).inverse(), a_lattice_of(3), error=MISS),
}


def uniform(*shape: int, seed: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def points_inside(grid: SamplingGrid, *, count: int = 11, batch: int | None = None, seed: int = 1) -> Tensor:
    """World points away from the border of the grid and from its voxel centres."""
    lead = (count,) if batch is None else (batch, count)
    return grid.index_to_world(1.05 + uniform(*lead, grid.spatial_dims, seed=seed) * (torch.tensor(grid.shape) - 3.1))


def spots_inside(grid: SamplingGrid) -> SamplingGrid:
    """Three spots along each axis, away from the border of the grid, its voxel centres and where splines have knots."""
    steps = np.diag([0.83, 0.71, 0.77][: grid.spatial_dims] + [1.0])
    steps[:-1, -1] = 1.31
    return SamplingGrid((3,) * grid.spatial_dims, grid.affine @ steps)


@pytest.fixture(params=FAMILIES.values(), ids=FAMILIES.keys())
def family(request: pytest.FixtureRequest) -> Family:
    return request.param


@pytest.fixture
def grid(spatial_dims: int, turned: Turned) -> SamplingGrid:
    """Anisotropic, turned, far from the origin; about ten world units wide."""
    affine = np.eye(spatial_dims + 1)
    affine[:-1, :-1] = turned(spatial_dims, 0.3) * [1.6, 1.1, 1.9][:spatial_dims]
    affine[:-1, -1] = [30.0, -12.0, 7.0][:spatial_dims]
    return SamplingGrid(SHAPES[spatial_dims], affine)


def test_zero_parameters_are_the_identity(family: Family, grid: SamplingGrid) -> None:
    transform, dims = family.build(grid, torch.zeros(1, family.count(grid)).double()), grid.spatial_dims
    x = points_inside(grid)
    assert transform.spatial_dims == dims
    torch.testing.assert_close(transform.points(x), x, rtol=0, atol=1e-12)
    assert transform.displacement(grid).abs().max() < 1e-12
    assert (transform.jacobian(spots_inside(grid)) - torch.eye(dims)).abs().max() < 1e-9


def test_points_are_x_plus_displacement(family: Family, grid: SamplingGrid) -> None:
    transform = family.build(grid, family.drawn(grid))
    displacement = transform.displacement(grid)
    assert displacement.shape == (1, grid.spatial_dims, *grid.shape)
    assert displacement.abs().max() > 0.02
    x = grid.world().flatten(0, -2)
    moved = transform.points(x) - x
    assert (displacement[0].flatten(1).T - moved).abs().max() < max(1e-11, family.error * 1e-3)


def test_inverse_takes_points_back_and_forth(family: Family, grid: SamplingGrid) -> None:
    transform, x = family.build(grid, family.drawn(grid)), points_inside(grid)
    y = transform.points(x)
    assert (y - x).norm(dim=-1).max() > 0.02
    assert (transform.inverse().points(y) - x).norm(dim=-1).max() < 2 * family.miss
    spots = spots_inside(grid)
    y = spots.world().flatten(0, -2)
    missed = (transform.points(transform.inverse().points(y)) - y).norm(dim=-1)
    assert missed.max() < family.miss
    expected = (float(missed.max()), float(missed.square().mean().sqrt()), 0, 0)
    assert astuple(transform.inversion_report(spots)) == pytest.approx(expected, abs=1e-12)


def test_then_applies_this_map_first(family: Family, grid: SamplingGrid, turned: Turned) -> None:
    dims = grid.spatial_dims
    turn = AffineTransform(np.column_stack([1.2 * turned(dims, 0.7), [3.0, -1.0, 2.0][:dims]]))
    transform, x = family.build(grid, 3 * family.drawn(grid)), points_inside(grid)
    for first, second in ((transform, turn), (turn.inverse(), transform), (transform, transform)):
        chained = first.then(second).points(x)
        assert (chained - second.points(first.points(x))).abs().max() <= family.error
    other_order = transform.points(turn.points(x))
    assert (transform.then(turn).points(x) - other_order).abs().max() > 1e-2
    nested = transform.then(turn).then(turn.then(transform.inverse())).then(turn.inverse())
    expected = turn.inverse().points(transform.inverse().points(turn.points(turn.points(transform.points(x)))))
    assert (nested.points(x) - expected).abs().max() <= 3 * MISS


def test_gradients_of_parameters_and_points(family: Family, grid: SamplingGrid) -> None:
    parameters = family.drawn(grid).requires_grad_()
    x = points_inside(grid, count=2).requires_grad_()
    for asked in (lambda p, y: family.build(grid, p).points(y), lambda p, y: family.build(grid, p).inverse().points(y)):
        assert torch.autograd.gradcheck(asked, (parameters, x), eps=1e-4, atol=1e-5, rtol=1e-4, fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensor_gives_tensor_and_array_gives_detached_array(
    family: Family, grid: SamplingGrid, dtype: torch.dtype
) -> None:
    transform = family.build(grid, family.drawn(grid).requires_grad_())
    x = points_inside(grid).to(dtype)
    from_tensor, from_array = transform.points(x), transform.points(x.numpy())
    assert isinstance(from_tensor, Tensor) and from_tensor.requires_grad
    assert isinstance(from_array, np.ndarray)
    assert (from_tensor.dtype, str(from_array.dtype)) == (dtype, str(dtype).removeprefix("torch."))
    np.testing.assert_allclose(from_array, from_tensor.detach(), rtol=0, atol=1e-5)
    exact = transform.points(x.double()).detach()
    np.testing.assert_allclose(from_array, exact, rtol=0, atol=1e-5 if dtype == torch.float32 else 1e-12)
    assert transform.displacement(grid, dtype=dtype).dtype == dtype


def test_whole_numbers_are_not_rounded(family: Family, grid: SamplingGrid) -> None:
    transform = family.build(grid, family.drawn(grid))
    whole = points_inside(grid).round().long()
    expected = transform.points(whole.double())
    np.testing.assert_allclose(transform.points(whole.numpy()), expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(transform.points(whole).double(), expected, rtol=0, atol=1e-5)


def test_one_map_serves_every_shape_of_points(family: Family, grid: SamplingGrid) -> None:
    transform = family.build(grid, family.drawn(grid))
    x = points_inside(grid, batch=3)
    mapped = transform.points(x)
    assert mapped.shape == x.shape == (3, 11, grid.spatial_dims)
    for row in range(3):
        assert (transform.points(x[row]) - mapped[row]).abs().max() <= family.error
    assert transform.points(x[0, :0]).shape == (0, grid.spatial_dims)


def test_batch_of_different_maps(family: Family, grid: SamplingGrid) -> None:
    parameters, dims = family.drawn(grid, batch=3), grid.spatial_dims
    batch, x = family.build(grid, parameters), points_inside(grid, batch=3)
    spread, paired = batch.points(x[0]), batch.points(x)
    assert spread.shape == paired.shape == (3, 11, dims)
    assert batch.displacement(grid).shape == (3, dims, *grid.shape)
    assert batch.jacobian(grid).shape == (3, *grid.shape, dims, dims)
    assert (spread[0] - spread[1]).abs().max() > 1e-2
    for row in range(3):
        single = family.build(grid, parameters[row : row + 1])
        assert (single.points(x[0]) - spread[row]).abs().max() <= family.error
        assert (single.points(x[row]) - paired[row]).abs().max() <= family.error
        assert (single.inverse().points(x[0]) - batch.inverse().points(x[0])[row]).abs().max() <= 2 * MISS


def test_jacobian_is_that_of_autograd(family: Family, grid: SamplingGrid, turned: Turned) -> None:
    alone, dims = family.build(grid, 3 * family.drawn(grid)), grid.spatial_dims
    followed = alone.then(AffineTransform(np.column_stack([turned(dims, 0.7), np.ones(dims)])))
    spots = spots_inside(grid)
    x = spots.world().flatten(0, -2)
    for transform in (alone, followed):
        jacobian = transform.jacobian(spots).reshape(-1, dims, dims)
        assert not jacobian.requires_grad
        torch.testing.assert_close(jacobian, map_jacobian(transform.points, x[None])[0], rtol=0, atol=1e-7)
        determinant = transform.jacobian_determinant(spots)
        assert determinant.shape == (1, *spots.shape)
        np.testing.assert_allclose(determinant.flatten(), np.linalg.det(jacobian), rtol=0, atol=1e-12)
    assert (jacobian - jacobian.mT).abs().max() > 1e-3  # else a transposed one would pass
    assert ((determinant - 1).abs().max() < 1e-9) == family.keeps_volume


WORLDS = {"unit": (1e-3, 0.0, 0.0), "origin": (1.0, 0.0, 1e4), "direction": (1.0, 0.9, 0.0), "all": (25.4, -2.0, 300.0)}


@pytest.mark.parametrize(("unit", "angle_rad", "shift"), WORLDS.values(), ids=WORLDS.keys())
def test_grid_in_another_world_gives_the_same_map_there(
    family: Family, grid: SamplingGrid, turned: Turned, unit: float, angle_rad: float, shift: float
) -> None:
    dims = grid.spatial_dims
    world = np.eye(dims + 1)
    world[:-1, :-1], world[:-1, -1] = unit * turned(dims, angle_rad), shift * np.array([1.0, -2.0, 0.5][:dims])
    elsewhere, to_there = SamplingGrid(grid.shape, world @ grid.affine), AffineTransform(world)
    here, there = (family.build(g, family.drawn(grid)) for g in (grid, elsewhere))
    x = points_inside(grid)
    for ours, theirs in ((here, there), (here.inverse(), there.inverse())):
        expected, mapped = to_there.points(ours.points(x)), theirs.points(to_there.points(x))
        assert (mapped - to_there.points(x)).abs().max() > 0.01 * unit
        assert (mapped - expected).abs().max() <= unit * family.error + 3e-9 * expected.abs().max()


@pytest.mark.parametrize("frame", ["index", "RAS"])
def test_map_is_read_back_from_an_itk_file(family: Family, grid: SamplingGrid, frame: str, tmp_path: Path) -> None:
    framed = SamplingGrid(grid.shape, grid.affine, frame)
    transform = family.build(framed, family.drawn(framed, batch=2))
    write_transform(tmp_path / "map.h5", transform, framed, index=1)
    x = framed.world().flatten(0, -2)
    error = read_transform(tmp_path / "map.h5", frame).points(x) - transform.points(x)[1]
    assert error.abs().max() <= family.error


def test_map_is_saved_and_copied_by_torch(family: Family, grid: SamplingGrid) -> None:
    transform, x = family.build(grid, family.drawn(grid, batch=2)), points_inside(grid)
    file = io.BytesIO()
    torch.save(transform, file)
    file.seek(0)
    for again in (torch.load(file, weights_only=False), copy.deepcopy(transform)):
        torch.testing.assert_close(again.points(x), transform.points(x), rtol=0, atol=0)


def test_work_is_done_on_the_device_of_points_or_map(family: Family, grid: SamplingGrid, device: str) -> None:
    parameters, x = family.drawn(grid, batch=2), points_inside(grid)
    on_cpu, there = family.build(grid, parameters), family.build(grid, parameters.to(device))
    assert there.device.type == there.inverse().device.type == device
    answers = {
        "points": lambda t: t.points(x.to(device)),
        "inverse": lambda t: t.inverse().points(x.to(device)),
        "displacement": lambda t: t.displacement(grid, device=device),
        "jacobian": lambda t: t.jacobian_determinant(grid, device=device),
    }
    for name, ask in answers.items():
        expected = ask(on_cpu)
        assert (expected.device.type, ask(there).device.type) == (device, device), name
        torch.testing.assert_close(ask(there), expected, rtol=0, atol=max(family.error, 1e-8))
    assert {t.device.type for t in (there.displacement(grid), there.jacobian(grid))} == {device}
    np.testing.assert_allclose(there.points(x.numpy()), on_cpu.points(x.numpy()), rtol=0, atol=family.error)


@pytest.mark.filterwarnings("error")  # PyTorch warns when it is lent memory that must not be written
def test_inputs_are_not_modified(family: Family, grid: SamplingGrid) -> None:
    parameters, x = family.drawn(grid), points_inside(grid)
    before = parameters.clone(), x.clone()
    transform = family.build(grid, parameters)
    first = transform.points(x)
    transform.displacement(grid)
    transform.jacobian(grid)
    transform.inverse().points(x)
    torch.testing.assert_close((parameters, x), before, rtol=0, atol=0)
    frozen = x.numpy()
    frozen.setflags(write=False)
    np.testing.assert_array_equal(transform.points(frozen), first)
    np.testing.assert_allclose(transform.points(frozen[::-1])[::-1], first, rtol=0, atol=family.error)


def test_autocast_does_not_round_coordinates(family: Family, grid: SamplingGrid) -> None:
    transform, x = family.build(grid, family.drawn(grid)), points_inside(grid).float()
    expected = transform.points(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mapped = transform.points(x)
        displacement = transform.displacement(grid, dtype=torch.float32)
    assert mapped.dtype == displacement.dtype == torch.float32
    torch.testing.assert_close(mapped, expected, rtol=0, atol=1e-5)
    exact = transform.displacement(grid).float()
    torch.testing.assert_close(displacement, exact, rtol=0, atol=2e-5)


def test_other_dimensions_are_refused(family: Family, grid: SamplingGrid) -> None:
    transform, dims, other = family.build(grid, family.drawn(grid)), grid.spatial_dims, 5 - grid.spatial_dims
    elsewhere = SamplingGrid((4, 5, 6)[:other])
    with pytest.raises(ValueError, match=rf"^points has shape 4x{other}; expected \(N, {dims}\) or \(B, N, {dims}\)"):
        transform.points(np.zeros((4, other)))
    for ask in (transform.displacement, transform.jacobian, transform.inversion_report):
        with pytest.raises(ValueError, match=rf"^grid has {other} spatial axes .* expected {dims}"):
            ask(elsewhere)
    with pytest.raises(ValueError, match=r"^transforms have \[2, 3\] spatial dimensions"):
        transform.then(family.build(elsewhere, family.drawn(elsewhere)))
