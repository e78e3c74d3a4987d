"""The flow of a velocity field against the matrix exponential, an ODE solver and MONAI."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from monai.networks.blocks import DVF2DDF
from nibabel.affines import apply_affine
from scipy.integrate import solve_ivp
from scipy.linalg import expm
from scipy.ndimage import map_coordinates

from monai_cellreg.geometry import SamplingGrid, VelocityField, VelocityTransform, exponentiate, velocity

SIZES = {2: (24, 30), 3: (22, 28, 24)}


@pytest.fixture
def grid(fixed_grid: SamplingGrid) -> SamplingGrid:
    """As ``fixed_grid``, larger: what flows in over the border must not reach the middle."""
    return SamplingGrid(SIZES[fixed_grid.spatial_dims], fixed_grid.affine)


def middle(grid: SamplingGrid, count: int = 60) -> np.ndarray:
    """World points (count, D) in the middle third of a grid."""
    size = np.array(grid.shape) - 1
    return apply_affine(grid.affine, np.random.default_rng(0).uniform(size / 3, 2 * size / 3, (count, len(size))))


def linear_field(grid: SamplingGrid) -> tuple[torch.Tensor, np.ndarray]:
    """A velocity (1, D, *grid.shape) linear in world coordinates, and the affine matrix of its flow."""
    dims = grid.spatial_dims
    generator = np.zeros((dims + 1, dims + 1))
    generator[:dims, :dims] = np.random.default_rng(1).normal(0, 0.08, (dims, dims))
    generator[:dims, -1] = [0.9, -0.7, 0.5][:dims] - generator[:dims, :dims] @ middle(grid).mean(0)
    field = apply_affine(generator, grid.world().numpy())
    return torch.tensor(np.moveaxis(field, -1, 0))[None], expm(generator)


def smooth_field(grid: SamplingGrid, *, batch: int = 1) -> torch.Tensor:
    """A velocity (batch, D, *grid.shape) of a few world units that turns, and vanishes at the border."""
    share = grid.index() / (torch.tensor(grid.shape) - 1)  # (*shape, D)
    envelope = (torch.pi * share).sin().prod(dim=-1)
    waves = [(3 * share[..., k] - 2 * share[..., k - 1] + k).cos() for k in range(grid.spatial_dims)]
    field = 2 * envelope * torch.stack(waves)
    return torch.stack([field * (1 - 0.6 * row) for row in range(batch)])


def test_linear_field_gives_the_matrix_exponential(grid: SamplingGrid) -> None:
    field, flow = linear_field(grid)
    x = middle(grid)
    expected = apply_affine(flow, x)
    assert np.abs(expected - x).max() > 1
    errors = [np.abs(VelocityTransform(field, grid, steps=n).points(x) - expected).max() for n in (6, 7, 12)]
    assert errors[1] < 1e-3
    assert errors[1] == pytest.approx(errors[0] / 2, rel=0.05)  # the first step is straight: an error of first order
    assert errors[2] < 4e-5
    backward = VelocityTransform(field, grid, steps=12).inverse().points(x)
    np.testing.assert_allclose(backward, apply_affine(np.linalg.inv(flow), x), rtol=0, atol=4e-5)


def test_smooth_field_gives_the_path_of_an_ode_solver(grid: SamplingGrid) -> None:
    field, x = smooth_field(grid), middle(grid)
    to_index = np.linalg.inv(grid.affine)

    def speed(_: float, y: np.ndarray) -> np.ndarray:
        index = apply_affine(to_index, y.reshape(-1, grid.spatial_dims)).T
        return np.stack([map_coordinates(v, index, order=1) for v in field[0].numpy()], axis=-1).ravel()

    expected = solve_ivp(speed, (0, 1), x.ravel(), rtol=1e-5, atol=1e-5).y[:, -1].reshape(x.shape)
    assert np.abs(expected - x).max() > 1.5
    np.testing.assert_allclose(VelocityTransform(field, grid).points(x), expected, rtol=0, atol=0.04)


def test_flow_over_unit_time_is_many_short_ones(grid: SamplingGrid) -> None:
    field, x = smooth_field(grid), middle(grid)
    short, moved = VelocityTransform(field / 5, grid), x
    for _ in range(5):
        moved = short.points(moved)
    np.testing.assert_allclose(VelocityTransform(field, grid).points(x), moved, rtol=0, atol=0.03)


def test_inverse_flows_backward(grid: SamplingGrid) -> None:
    field, x = smooth_field(grid), middle(grid)
    transform = VelocityTransform(field, grid, steps=9)
    inverse = transform.inverse()
    assert isinstance(inverse, VelocityTransform) and inverse.steps == 9
    moved = transform.points(x)
    assert np.abs(moved - x).max() > 1.5
    np.testing.assert_allclose(inverse.points(moved), x, rtol=0, atol=0.02)
    np.testing.assert_array_equal(inverse.inverse().points(x), moved)
    assert float(transform.jacobian_determinant(grid).min()) > 0.4


def test_displacement_goes_on_outside(grid: SamplingGrid) -> None:
    field, _ = linear_field(grid)
    transform, size = VelocityTransform(field, grid), np.array(grid.shape)
    index = np.random.default_rng(0).uniform(-size, 2 * size, (50, len(size)))
    outside, border = (apply_affine(grid.affine, i) for i in (index, index.clip(0, size - 1)))
    moved = transform.points(outside) - outside
    np.testing.assert_allclose(moved, transform.points(border) - border, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("fastest", "expected"), [(0.0, 0), (1 / 32, 0), (0.032, 1), (1.0, 5), (1.01, 6), (4.0, 7)])
def test_number_of_squarings(fastest: float, expected: int) -> None:
    field = torch.zeros(2, 4, 5, dtype=torch.float64)
    field[:, 1, 2] = torch.tensor([0.6, -0.8], dtype=torch.float64) * fastest
    assert velocity.squarings(field * (1 - 1e-9)) == expected


def test_each_map_has_its_own_number_of_squarings(grid: SamplingGrid, monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    monkeypatch.setattr(
        velocity, "exponentiate", lambda v, *, steps: (used.append(steps), exponentiate(v, steps=steps))[1]
    )
    fields, x = smooth_field(grid, batch=2), middle(grid)
    both = VelocityTransform(fields, grid)
    moved = both.points(x)
    both.points(x)
    assert len(used) == 2 and used[0] > used[1]  # each once
    for row in range(2):
        single = VelocityTransform(fields[row : row + 1], grid)
        np.testing.assert_allclose(single.points(x), moved[row], rtol=0, atol=1e-12)
    assert VelocityTransform(fields, grid, steps=3).points(x).shape == moved.shape
    assert used[-2:] == [3, 3]


def test_gradient_is_there_although_the_first_use_had_none(grid: SamplingGrid) -> None:
    field, x = smooth_field(grid).requires_grad_(), torch.tensor(middle(grid))
    transform = VelocityTransform(field, grid, steps=4)
    with torch.no_grad():
        first = transform.points(x)
    (gradient,) = torch.autograd.grad(transform.points(x)[:, 0].sum(), field)
    direction = smooth_field(grid).flip(1)
    ahead, behind = (VelocityTransform(field.detach() + h * direction, grid, steps=4) for h in (1e-5, -1e-5))
    finite = (ahead.points(x) - behind.points(x))[:, 0].sum() / 2e-5
    assert float((gradient * direction).sum()) == pytest.approx(float(finite), rel=1e-5)
    torch.testing.assert_close(transform.points(x).detach(), first, rtol=0, atol=0)


def test_a_map_that_was_used_in_training_can_be_copied(grid: SamplingGrid) -> None:
    transform, x = VelocityTransform(smooth_field(grid).requires_grad_(), grid), torch.tensor(middle(grid))
    moved = transform.points(x)
    assert moved.requires_grad
    torch.testing.assert_close(copy.deepcopy(transform).points(x), moved, rtol=0, atol=0)


@pytest.mark.parametrize("padding", ["border", "zeros", "reflection"])
def test_exponential_is_that_of_monai(spatial_dims: int, padding: str) -> None:
    generator = torch.Generator().manual_seed(0)
    field = 2 * torch.randn(2, spatial_dims, *SIZES[spatial_dims], generator=generator)
    expected = DVF2DDF(num_steps=5, padding_mode=padding)(field)
    torch.testing.assert_close(exponentiate(field, steps=5, padding=padding), expected, rtol=0, atol=1e-4)


def test_exponential_reads_in_the_mode_asked_for() -> None:
    field = smooth_field(SamplingGrid((24, 30)))
    nearest, linear = (exponentiate(field, steps=1, mode=mode) for mode in ("nearest", "linear"))
    rounded = field / 2 + SamplingGrid((24, 30)).index().movedim(-1, 0)
    row, column = rounded[0].round().long().unbind(0)
    torch.testing.assert_close(nearest[0], field[0] / 2 + field[0, :, row, column] / 2, rtol=0, atol=1e-12)
    assert (nearest - linear).abs().max() > 1e-2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_exponential_is_float32_or_better(dtype: torch.dtype) -> None:
    field = smooth_field(SamplingGrid((24, 30))).to(dtype)
    flow = exponentiate(field, steps=5)
    assert flow.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(flow.double(), exponentiate(field.double(), steps=5), rtol=0, atol=1e-5)


def test_field_of_the_image_is_its_exponential() -> None:
    field = smooth_field(SamplingGrid((24, 30))).float()
    torch.testing.assert_close(VelocityField((24, 30))(field), exponentiate(field, steps=7), rtol=0, atol=1e-6)


def test_coarse_velocities_count_voxels_of_the_image() -> None:
    shift = torch.tensor([1.5, -2.0]).reshape(1, 2, 1, 1)
    flow = VelocityField((12, 18), velocity_shape=(5, 7))(shift.expand(1, 2, 5, 7))
    torch.testing.assert_close(flow, shift.expand(1, 2, 12, 18), rtol=0, atol=1e-5)


def test_what_does_not_fit_is_refused() -> None:
    grid = SamplingGrid((4, 5))
    with pytest.raises(ValueError, match=r"^velocity has shape 1x2x5x4 but its grid is 4x5; expected \(B, 2, 4, 5\)"):
        VelocityTransform(torch.zeros(1, 2, 5, 4), grid)
    with pytest.raises(ValueError, match=r"^velocity holds 40 of 40 values that are NaN or infinite"):
        VelocityTransform(torch.full((1, 2, 4, 5), torch.nan), grid)
    for ask in (
        lambda: VelocityTransform(torch.zeros(1, 2, 4, 5), grid, steps=-1),
        lambda: exponentiate(torch.zeros(1, 2, 4, 5), steps=-1),
        lambda: VelocityField((4, 5), steps=-1),
    ):
        with pytest.raises(ValueError, match=r"^steps is -1; expected the number of squarings, 0 or more"):
            ask()
    with pytest.raises(ValueError, match=r"^shape has 3 spatial axes .* expected 2"):
        VelocityField((4, 5), velocity_shape=(4, 5, 6))
