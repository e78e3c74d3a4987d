"""What a frame shows: cells, structure, resemblance and changes of size, against NumPy and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from monai_cellreg.geometry import AffineTransform, DenseTransform, SamplingGrid
from monai_cellreg.inferers.content import cells, change_of_size, resemblance, structure

AFFINE = np.array([[0.0, 2.0, 30.0], [-0.5, 0.0, -12.0], [0.0, 0.0, 1.0]])
SHAPES = [(70, 100), (20, 40, 30)]


def noise(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(1, *shape)))


def ramp(shape: tuple[int, ...]) -> torch.Tensor:
    """A background of second degree."""
    axes = torch.meshgrid(*(torch.linspace(-1, 1, n, dtype=torch.float64) for n in shape), indexing="ij")
    return (3 + sum((k + 1) * axis + axis**2 for k, axis in enumerate(axes)) + axes[0] * axes[1])[None]


def ball(shape: tuple[int, ...], radius: float = 0.4, offset: float = 0.0) -> torch.Tensor:
    axes = torch.meshgrid(*(torch.linspace(-1, 1, n, dtype=torch.float64) for n in shape), indexing="ij")
    return ((axes[0] - offset) ** 2 + sum(axis**2 for axis in axes[1:]) < radius**2)[None].double()


def step(size: int, shape: tuple[int, ...]) -> int:
    """Pixels of a cell along an axis: the fewest that make no more than 24 cells, 16 in a volume."""
    most = {2: 24, 3: 16}[len(shape)]
    return next(k for k in range(1, size + 1) if k * most >= size)


@pytest.mark.parametrize("shape", SHAPES)
def test_cells_are_means_without_a_quadratic(shape: tuple[int, ...]) -> None:
    found = cells(ramp(shape))
    assert found.shape[1:] == tuple(n // step(n, shape) for n in shape)
    assert found.abs().max() < 0.02  # the mean of a square over a cell is a square and a constant
    steps = [step(n, shape) for n in shape]
    image = noise(shape).numpy()[0]
    one = image[tuple(slice(0, k) for k in steps)].mean() - image[tuple(slice(k, 2 * k) for k in steps)].mean()
    plain = cells(noise(shape))[0]
    assert float(plain[(0,) * len(shape)] - plain[(1,) * len(shape)]) == pytest.approx(one, abs=0.3)
    np.testing.assert_allclose(float(plain.mean()), 0, atol=1e-12)
    np.testing.assert_allclose(cells(noise(shape) + 5 * ramp(shape))[0], plain, rtol=0, atol=0.05)


@pytest.mark.parametrize("shape", SHAPES)
def test_structure_tells_objects_from_noise(shape: tuple[int, ...]) -> None:
    assert abs(structure(noise(shape))) < 0.08
    assert abs(structure(noise(shape) + 20 * ramp(shape))) < 0.08
    assert structure(ball(shape)) > 0.5
    assert structure(ball(shape, 0.6) + 0.5 * noise(shape)) > 0.4
    smooth = torch.from_numpy(gaussian_filter(noise(shape).numpy(), (0, *[n / 8 for n in shape])))
    assert 0.7 < structure(smooth) <= 1
    assert structure(torch.ones(1, *shape)) == 0


def test_structure_of_an_image_of_one_cell_is_none() -> None:
    assert structure(torch.ones(1, 1, 1)) == 0


@pytest.mark.parametrize("shape", SHAPES)
def test_resemblance_ignores_noise_and_background(shape: tuple[int, ...]) -> None:
    first, second = (ball(shape, 0.6) + 0.5 * noise(shape, seed) + 2 * ramp(shape) for seed in (1, 2))
    assert resemblance(first, second) > 0.7
    apart = ball(shape, 0.6, offset=0.5) + 0.5 * noise(shape, 3) + 2 * ramp(shape)
    assert resemblance(first, apart) < 0.45
    assert abs(resemblance(first, noise(shape, 4) + 2 * ramp(shape))) < 0.15
    assert np.corrcoef(first.flatten(), apart.flatten())[0, 1] > 0.6  # what they share is the background
    one, two = cells(first).flatten().numpy(), cells(apart).flatten().numpy()
    assert resemblance(first, apart) == pytest.approx(np.corrcoef(one, two)[0, 1], abs=1e-12)
    assert resemblance(first, -3 * first + 7) == pytest.approx(-1)


def test_resemblance_is_a_mean_over_channels() -> None:
    image = ball((40, 56))
    assert resemblance(torch.cat([image, image]), torch.cat([image, 0 * image])) == pytest.approx(0.5)


def test_change_of_size_is_that_of_the_content() -> None:
    grid = SamplingGrid((70, 100), AFFINE)
    centre = grid.index_to_world(torch.tensor([34.5, 49.5], dtype=torch.float64)).numpy()

    def scaled(factor: float) -> AffineTransform:
        matrix = np.eye(3)
        matrix[:2, :2] *= factor
        matrix[:2, 2] = centre - factor * centre
        return AffineTransform(matrix)

    still = AffineTransform(np.eye(3))
    image = ball(grid.shape)
    assert change_of_size(image, grid, scaled(0.5), still) == pytest.approx(-2)
    assert change_of_size(image, grid, scaled(2**0.5), still) == pytest.approx(1)
    assert change_of_size(image, grid, scaled(0.8), scaled(0.8)) == pytest.approx(0)
    assert change_of_size(image, grid, still, scaled(2.0)) == pytest.approx(-2)
    # a field that shrinks the inside of the ball alone, and one that shrinks all but it
    rows, columns = np.indices(grid.shape)
    distance = np.hypot((rows - 34.5) / 34.5, (columns - 49.5) / 49.5)
    factor = 0.5 * np.clip((0.9 - distance) / 0.3, 0, 1)
    for inside in (True, False):
        share = factor if inside else 0.5 - factor
        world = grid.world().numpy() - centre
        shift = -np.moveaxis(world * share[..., None], -1, 0)
        field = DenseTransform(torch.from_numpy(shift)[None], grid)
        assert change_of_size(image, grid, field, still) == pytest.approx(-2 if inside else 0, abs=0.05)


def test_change_of_size_of_a_map_that_collapses_is_finite() -> None:
    grid = SamplingGrid((30, 40))
    nothing = AffineTransform(np.diag([0.0, 1.0, 1.0]))
    assert change_of_size(ball(grid.shape), grid, nothing, AffineTransform(np.eye(3))) == pytest.approx(np.log2(1e-3))
