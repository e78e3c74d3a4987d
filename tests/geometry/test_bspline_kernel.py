"""Uniform B-splines against SciPy, inside the lattice, on its borders and beyond."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline
from scipy.ndimage import map_coordinates

from monai_cellreg.geometry import bspline_kernel
from monai_cellreg.geometry.bspline_kernel import read_spline, spline_matrix, spline_weights

LATTICES = {2: (6, 9), 3: (5, 4, 7)}


@pytest.fixture(params=[1, 2, 3])
def order(request: pytest.FixtureRequest) -> int:
    return request.param


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def index_inside(lattice: tuple[int, ...], order: int, count: int = 40) -> torch.Tensor:
    """Coordinates (1, count, D) in the valid region; the first is its first corner, the last its last."""
    margin = (order - 1) / 2
    share = drawn(1, count, len(lattice), seed=1)
    share[0, 0], share[0, -1] = 0, 1
    return margin + share * (torch.tensor(lattice) - 1 - 2 * margin)


def test_weights_are_those_of_scipy(order: int) -> None:
    fraction = torch.linspace(0, 1, 11, dtype=torch.float64)[:-1]
    basis = BSpline.basis_element(np.arange(order + 2), extrapolate=False)
    expected = [basis(fraction.numpy() + order - k) for k in range(order + 1)]
    np.testing.assert_allclose(torch.stack(spline_weights(fraction, order)), expected, rtol=0, atol=1e-15)


def test_spline_is_that_of_scipy(order: int, spatial_dims: int) -> None:
    lattice = LATTICES[spatial_dims]
    coefficients, index = drawn(1, 2, *lattice), index_inside(lattice, order)
    read = read_spline(coefficients, index, order)
    for channel in range(2):
        values = coefficients[0, channel].numpy()
        expected = map_coordinates(values, index[0].T.numpy(), order=order, prefilter=False, mode="mirror")
        np.testing.assert_allclose(read[0, channel], expected, rtol=0, atol=1e-13)


def test_outside_the_value_at_the_border_goes_on(order: int, spatial_dims: int) -> None:
    lattice = LATTICES[spatial_dims]
    coefficients, index = drawn(1, 2, *lattice), 8 * drawn(1, 60, spatial_dims, seed=2) - 2
    margin = (order - 1) / 2
    inside = torch.minimum(index.clamp(min=margin), torch.tensor(lattice) - 1.0 - margin)
    assert (inside != index).any() and (inside == index).any()
    expected = read_spline(coefficients, inside, order)
    torch.testing.assert_close(read_spline(coefficients, index, order), expected, rtol=0, atol=0)


def test_points_that_are_not_a_number_stay_so(order: int) -> None:
    index = torch.tensor([[[2.0, float("nan")], [2.0, 3.0]]], dtype=torch.float64)
    assert read_spline(drawn(1, 1, 6, 9), index, order).isnan().flatten().tolist() == [True, False]


def test_batches_of_either_or_both(order: int) -> None:
    coefficients, index = drawn(3, 2, 6, 9), torch.cat([index_inside((6, 9), order), 3 + drawn(2, 40, 2)])
    both = read_spline(coefficients, index, order)
    assert both.shape == (3, 2, 40)
    for row in range(3):
        torch.testing.assert_close(read_spline(coefficients, index[row : row + 1], order)[row], both[row])
        torch.testing.assert_close(read_spline(coefficients[row : row + 1], index, order)[row], both[row])


def test_blocks_of_points_join(order: int, monkeypatch: pytest.MonkeyPatch) -> None:
    coefficients, index = drawn(1, 2, 6, 9), index_inside((6, 9), order)
    expected = read_spline(coefficients, index, order)
    monkeypatch.setattr(bspline_kernel, "CHUNK", 7)
    torch.testing.assert_close(read_spline(coefficients, index, order), expected, rtol=0, atol=0)


def test_first_and_second_derivatives(order: int, spatial_dims: int) -> None:
    coefficients = drawn(2, 1, *LATTICES[spatial_dims]).requires_grad_()
    index = (2.1 + 0.6 * drawn(2, 3, spatial_dims, seed=3)).requires_grad_()
    inputs = (coefficients, index)
    assert torch.autograd.gradcheck(lambda c, i: read_spline(c, i, order), inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda c, i: read_spline(c, i, order), inputs, fast_mode=True)


def test_matrix_reads_the_same_spline(order: int) -> None:
    index = 12 * drawn(50, seed=4) - 2
    matrix = spline_matrix(index, 8, order)
    coefficients = drawn(1, 1, 8)
    torch.testing.assert_close(
        matrix @ coefficients[0, 0], read_spline(coefficients, index[None, :, None], order)[0, 0], rtol=0, atol=1e-14
    )
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(50).double())
