"""Affine maps against matrices written out, and the head for networks against the map it stands for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nibabel.affines import apply_affine

from monai_cellreg.geometry import AffineField, AffineTransform, CompositeTransform, SamplingGrid

POINTS = {2: np.array([[3.0, 5.0], [-2.0, 0.5]]), 3: np.array([[3.0, 5.0, -1.0], [-2.0, 0.5, 4.0]])}


@pytest.fixture
def matrix(spatial_dims: int, rotation: np.ndarray) -> np.ndarray:
    """Homogeneous: a turn, a stretch that does not commute with it, and a shift."""
    full = np.eye(spatial_dims + 1)
    full[:-1, :-1] = rotation @ np.diag([1.2, 0.7, 1.1][:spatial_dims])
    full[:-1, -1] = [4.0, -2.0, 9.0][:spatial_dims]
    return full


def test_quarter_turn_about_a_point() -> None:
    turn = AffineTransform(np.array([[0, -1, 30], [1, 0, 10]]))  # row, column (10, 20) stays
    np.testing.assert_array_equal(turn.points(np.array([[10.0, 20.0], [11.0, 20.0]])), [[10, 20], [10, 21]])


def test_every_form_of_matrix_gives_the_same_map(matrix: np.ndarray, spatial_dims: int) -> None:
    x = POINTS[spatial_dims]
    for form in (matrix, matrix[:-1], torch.tensor(matrix[None])):
        transform = AffineTransform(form)
        assert transform.spatial_dims == spatial_dims
        np.testing.assert_allclose(transform.points(x), apply_affine(matrix, x), rtol=0, atol=1e-12)


def test_inverse_is_the_inverse_matrix(matrix: np.ndarray) -> None:
    inverse = AffineTransform(np.stack([matrix, 2 * matrix])).inverse()
    assert isinstance(inverse, AffineTransform)
    expected = np.stack([np.linalg.inv(m)[:-1] for m in (matrix, np.diag([2] * (len(matrix) - 1) + [1]) @ matrix)])
    np.testing.assert_allclose(inverse.matrix, expected, rtol=0, atol=1e-12)


def test_chain_of_affine_maps_is_one_affine_map(matrix: np.ndarray) -> None:
    other = np.eye(len(matrix))
    other[0, 1], other[1, -1] = 0.5, -3.0
    chain = AffineTransform(matrix).then(AffineTransform(other))
    assert isinstance(chain, AffineTransform)
    np.testing.assert_allclose(chain.matrix[0], (other @ matrix)[:-1], rtol=0, atol=1e-12)
    assert not isinstance(chain.then(AffineTransform(np.stack([matrix, other]))), CompositeTransform)


@pytest.mark.parametrize("shape", [(2, 2), (3, 5), (4, 3), (5, 5), (1, 2, 2, 3), (3,)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^matrix has shape [\dx]+; expected \(D, D\+1\), \(D\+1, D\+1\) or a batch"):
        AffineTransform(np.zeros(shape))


def test_singular_map_has_no_inverse() -> None:
    with pytest.raises(ValueError, match=r"^matrix \[\[\[1\.0, 2\.0, 0\.0\], .* is singular; expected an invertible"):
        AffineTransform(np.array([[1, 2, 0], [2, 4, 0]])).inverse()


@pytest.mark.parametrize("size", [(6, 9), (1, 5), (4, 5, 7)], ids=str)
def test_field_is_the_map_of_the_cube(size: tuple[int, ...]) -> None:
    dims = len(size)
    head = AffineField(size)
    assert head.parameter_shape == (dims, dims + 1)
    parameters = 0.2 * torch.randn(3, dims, dims + 1, generator=torch.Generator().manual_seed(0))
    grid = SamplingGrid(size)
    index = grid.index().reshape(-1, dims)
    cube = apply_affine(np.linalg.inv(grid.cube_to_world), index)
    moved = apply_affine(grid.cube_to_world, head.transform(parameters).points(cube))  # (3, voxels, D)
    expected = np.moveaxis(moved - index.numpy(), -1, 1).reshape(3, dims, *size)
    np.testing.assert_allclose(head(parameters), expected, rtol=0, atol=1e-5)
    assert head(torch.zeros(1, dims, dims + 1)).abs().max() == 0


def test_field_counts_voxels_along_tensor_axes() -> None:
    parameters = torch.zeros(1, 2, 3)
    parameters[0, :, 2] = torch.tensor([2 / 5, -2 / 8])  # of a cube two wide, over 5 rows and 8 columns between centres
    field = AffineField((6, 9))(parameters)
    torch.testing.assert_close(field, torch.tensor([1.0, -1.0]).reshape(1, 2, 1, 1).expand(1, 2, 6, 9))


def test_field_is_exact_under_autocast_has_gradients_and_no_weights() -> None:
    head = AffineField((6, 2050))
    parameters = 0.1 * torch.ones(1, 2, 3, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        field = head(parameters)
    assert field.dtype == torch.float32
    torch.testing.assert_close(field, head(parameters), rtol=0, atol=0)
    (gradient,) = torch.autograd.grad(field[0, 1].mean(), parameters)
    torch.testing.assert_close(gradient[0], torch.tensor([[0, 0, 0], [0, 0, 2049 / 2]]), rtol=1e-3, atol=1e-2)
    assert head.state_dict() == {}
