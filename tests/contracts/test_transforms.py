"""What every family of maps keeps, in 2D and 3D. A new family is tested by one more line in FAMILIES."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np
import pytest
import torch
from torch import Tensor

from monai_cellreg.geometry import (
    AffineTransform,
    DenseTransform,
    SamplingGrid,
    SpatialTransform,
    ThinPlateSplineTransform,
)

SHAPES = {2: (7, 9), 3: (5, 6, 7)}
MISS = 1e-4  # world units by which a numerical inverse may miss


def rotation(dims: int, angle_rad: float) -> np.ndarray:
    """A turn that mixes all axes."""
    turn = np.eye(dims)
    for first in range(dims - 1):
        step = np.eye(dims)
        cos, sin = np.cos(angle_rad), np.sin(angle_rad)
        step[first : first + 2, first : first + 2] = [[cos, -sin], [sin, cos]]
        turn = turn @ step
    return turn


def oblique_grid(dims: int) -> SamplingGrid:
    """Anisotropic, turned, far from the origin; about ten world units wide."""
    affine = np.eye(dims + 1)
    affine[:-1, :-1] = rotation(dims, 0.3) * [1.6, 1.1, 1.9][:dims]
    affine[:-1, -1] = [30.0, -12.0, 7.0][:dims]
    return SamplingGrid(SHAPES[dims], affine)


def affine(dims: int, parameters: Tensor) -> SpatialTransform:
    offset = parameters.reshape(-1, dims, dims + 1)
    turn = 0.1 * offset[..., :-1]
    centre = oblique_grid(dims).world().flatten(0, -2).mean(0)
    shift = offset[..., -1:] - turn @ centre[:, None]
    return AffineTransform(torch.cat([torch.eye(dims, dtype=torch.float64) + turn, shift], dim=-1))


def spline(dims: int, parameters: Tensor) -> SpatialTransform:
    control = oblique_grid(dims).resized((3,) * dims).world().flatten(0, -2)
    return ThinPlateSplineTransform(control, control + parameters.reshape(-1, 3**dims, dims))


def dense(dims: int, parameters: Tensor) -> SpatialTransform:
    return DenseTransform(0.5 * parameters.reshape(-1, dims, *SHAPES[dims]), oblique_grid(dims))


def composite(dims: int, parameters: Tensor) -> SpatialTransform:
    count = dims * (dims + 1)
    return affine(dims, parameters[:, :count]).then(spline(dims, parameters[:, count:]))


def inverse_spline(dims: int, parameters: Tensor) -> SpatialTransform:
    return spline(dims, parameters).inverse()


@dataclass(frozen=True)
class Family:
    """A family of maps on the oblique grid.

    Args:
        build: dimension and parameters (B, count) to B maps, differentiable; zeros are the identity, parameters below
            0.5 displace by less than a voxel.
        count: dimension to the number of parameters of one map.
        error: largest error of a point, in world units.
    """

    build: Callable[[int, Tensor], SpatialTransform]
    count: Callable[[int], int]
    error: float = 1e-9

    def drawn(self, dims: int, *, batch: int = 1, seed: int = 0) -> Tensor:
        """Random parameters (batch, count)."""
        return 0.3 * torch.rand(batch, self.count(dims), generator=generator(seed), dtype=torch.float64) - 0.15


FAMILIES = {
    "affine": Family(affine, lambda dims: dims * (dims + 1)),
    "thin-plate spline": Family(spline, lambda dims: dims * 3**dims),
    "dense": Family(dense, lambda dims: dims * prod(SHAPES[dims])),
    "composite": Family(composite, lambda dims: dims * (dims + 1) + dims * 3**dims),
    "inverse of a spline": Family(inverse_spline, lambda dims: dims * 3**dims, error=MISS),
}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def points_inside(dims: int, *, count: int = 11, batch: int | None = None, seed: int = 1) -> Tensor:
    """World points away from the border of the grid and from its voxel centres."""
    size = torch.tensor(SHAPES[dims], dtype=torch.float64)
    lead = (count,) if batch is None else (batch, count)
    index = 1.05 + torch.rand(*lead, dims, generator=generator(seed), dtype=torch.float64) * (size - 3.1)
    return oblique_grid(dims).index_to_world(index)


@pytest.fixture(params=FAMILIES.values(), ids=FAMILIES.keys())
def family(request: pytest.FixtureRequest) -> Family:
    return request.param


@pytest.fixture(params=[2, 3], ids=["2d", "3d"])
def dims(request: pytest.FixtureRequest) -> int:
    return request.param


def test_zero_parameters_are_the_identity(family: Family, dims: int) -> None:
    transform, grid = family.build(dims, torch.zeros(1, family.count(dims), dtype=torch.float64)), oblique_grid(dims)
    x = points_inside(dims)
    assert transform.spatial_dims == dims
    torch.testing.assert_close(transform.points(x), x, rtol=0, atol=1e-12)
    assert transform.displacement(grid).abs().max() < 1e-12
    inner = SamplingGrid((2,) * dims, np.block([[0.5 * np.eye(dims), x[:1].numpy().T], [np.zeros(dims), 1]]))
    torch.testing.assert_close(
        transform.jacobian(inner), torch.eye(dims).double().expand(1, *inner.shape, -1, -1), rtol=0, atol=1e-9
    )


def test_points_are_x_plus_displacement(family: Family, dims: int) -> None:
    transform, grid = family.build(dims, family.drawn(dims)), oblique_grid(dims)
    displacement = transform.displacement(grid)
    assert displacement.shape == (1, dims, *grid.shape)
    assert displacement.abs().max() > 0.02
    x = grid.world().flatten(0, -2)
    moved = transform.points(x) - x
    assert (displacement[0].flatten(1).T - moved).abs().max() < max(1e-11, family.error * 1e-3)


def test_inverse_takes_points_back_and_forth(family: Family, dims: int) -> None:
    transform, x = family.build(dims, family.drawn(dims)), points_inside(dims)
    y = transform.points(x)
    assert (y - x).norm(dim=-1).max() > 0.02
    assert (transform.inverse().points(y) - x).norm(dim=-1).max() < 2 * MISS
    assert (transform.points(transform.inverse().points(x)) - x).norm(dim=-1).max() < MISS


def test_then_applies_this_map_first(family: Family, dims: int) -> None:
    turn = AffineTransform(np.column_stack([1.2 * rotation(dims, 0.7), [3.0, -1.0, 2.0][:dims]]))
    transform, x = family.build(dims, 3 * family.drawn(dims)), points_inside(dims)
    for first, second in ((transform, turn), (turn.inverse(), transform), (transform, transform)):
        chained = first.then(second).points(x)
        assert (chained - second.points(first.points(x))).abs().max() <= family.error
    other_order = transform.points(turn.points(x))
    assert (transform.then(turn).points(x) - other_order).abs().max() > 1e-2
    nested = transform.then(turn).then(turn.then(transform.inverse())).then(turn.inverse())
    expected = turn.inverse().points(transform.inverse().points(turn.points(turn.points(transform.points(x)))))
    assert (nested.points(x) - expected).abs().max() <= MISS


def test_gradients_of_parameters_and_points(family: Family, dims: int) -> None:
    parameters = family.drawn(dims).requires_grad_()
    x = points_inside(dims, count=2).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda p, y: family.build(dims, p).points(y), (parameters, x), eps=1e-4, atol=1e-5, rtol=1e-4, fast_mode=True
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensor_gives_tensor_and_array_gives_detached_array(family: Family, dims: int, dtype: torch.dtype) -> None:
    transform = family.build(dims, family.drawn(dims).requires_grad_())
    x = points_inside(dims).to(dtype)
    from_tensor, from_array = transform.points(x), transform.points(x.numpy())
    assert isinstance(from_tensor, Tensor) and from_tensor.requires_grad
    assert isinstance(from_array, np.ndarray)
    assert (from_tensor.dtype, str(from_array.dtype)) == (dtype, str(dtype).removeprefix("torch."))
    np.testing.assert_allclose(from_array, from_tensor.detach(), rtol=0, atol=1e-5)
    exact = transform.points(x.double()).detach()
    np.testing.assert_allclose(from_array, exact, rtol=0, atol=1e-5 if dtype == torch.float32 else 1e-12)
    assert transform.displacement(oblique_grid(dims), dtype=dtype).dtype == dtype


def test_whole_numbers_are_not_rounded(family: Family, dims: int) -> None:
    transform = family.build(dims, family.drawn(dims))
    whole = points_inside(dims).round().long()
    expected = transform.points(whole.double())
    np.testing.assert_allclose(transform.points(whole.numpy()), expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(transform.points(whole).double(), expected, rtol=0, atol=1e-5)


def test_one_map_serves_every_shape_of_points(family: Family, dims: int) -> None:
    transform = family.build(dims, family.drawn(dims))
    x = points_inside(dims, batch=3)
    mapped = transform.points(x)
    assert mapped.shape == (3, 11, dims)
    for row in range(3):
        assert (transform.points(x[row]) - mapped[row]).abs().max() <= family.error
    assert transform.points(x[0, :0]).shape == (0, dims)


def test_batch_of_different_maps(family: Family, dims: int) -> None:
    parameters, grid = family.drawn(dims, batch=3), oblique_grid(dims)
    batch, x = family.build(dims, parameters), points_inside(dims, batch=3)
    spread, paired = batch.points(x[0]), batch.points(x)
    assert spread.shape == paired.shape == (3, 11, dims)
    assert batch.displacement(grid).shape == (3, dims, *grid.shape)
    assert batch.jacobian(grid).shape == (3, *grid.shape, dims, dims)
    assert (spread[0] - spread[1]).abs().max() > 1e-2
    for row in range(3):
        single = family.build(dims, parameters[row : row + 1])
        assert (single.points(x[0]) - spread[row]).abs().max() <= family.error
        assert (single.points(x[row]) - paired[row]).abs().max() <= family.error
        assert (single.inverse().points(x[0]) - batch.inverse().points(x[0])[row]).abs().max() <= 2 * MISS


def test_jacobian_is_that_of_finite_differences(family: Family, dims: int) -> None:
    transform = family.build(dims, 3 * family.drawn(dims))
    corner = points_inside(dims, count=1)[0]
    spot = SamplingGrid((1,) * dims, np.block([[np.eye(dims), corner.numpy()[:, None]], [np.zeros(dims), 1]]))
    step = 1e-3 * torch.eye(dims, dtype=torch.float64)
    expected = (transform.points(corner + step) - transform.points(corner - step)).T / 2e-3
    jacobian = transform.jacobian(spot).reshape(dims, dims)
    assert not jacobian.requires_grad
    assert (jacobian - jacobian.T).abs().max() > 1e-3  # else a transposed one would pass
    torch.testing.assert_close(jacobian, expected, rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("error")  # PyTorch warns when it is lent memory that must not be written
def test_inputs_are_not_modified(family: Family, dims: int) -> None:
    parameters, x = family.drawn(dims), points_inside(dims)
    before = parameters.clone(), x.clone()
    transform = family.build(dims, parameters)
    first = transform.points(x)
    transform.displacement(oblique_grid(dims))
    transform.jacobian(oblique_grid(dims))
    transform.inverse().points(x)
    torch.testing.assert_close((parameters, x), before, rtol=0, atol=0)
    frozen = x.numpy()
    frozen.setflags(write=False)
    np.testing.assert_array_equal(transform.points(frozen), first)
    np.testing.assert_allclose(transform.points(frozen[::-1])[::-1], first, rtol=0, atol=family.error)


def test_autocast_does_not_round_coordinates(family: Family, dims: int) -> None:
    transform, x = family.build(dims, family.drawn(dims)), points_inside(dims).float()
    expected = transform.points(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mapped = transform.points(x)
        displacement = transform.displacement(oblique_grid(dims), dtype=torch.float32)
    assert mapped.dtype == displacement.dtype == torch.float32
    torch.testing.assert_close(mapped, expected, rtol=0, atol=1e-5)
    exact = transform.displacement(oblique_grid(dims)).float()
    torch.testing.assert_close(displacement, exact, rtol=0, atol=2e-5)


def test_other_dimensions_are_refused(family: Family, dims: int) -> None:
    transform, other = family.build(dims, family.drawn(dims)), 5 - dims
    with pytest.raises(ValueError, match=rf"^points has shape 4x{other}; expected \(N, {dims}\) or \(B, N, {dims}\)"):
        transform.points(np.zeros((4, other)))
    for ask in (transform.displacement, transform.jacobian):
        with pytest.raises(ValueError, match=rf"^grid has {other} spatial axes .* expected {dims}"):
            ask(oblique_grid(other))
    with pytest.raises(ValueError, match=r"^transforms have \[2, 3\] spatial dimensions"):
        transform.then(family.build(other, family.drawn(other)))
