"""Derivatives of maps; of voxel fields: exact for linear fields, NumPy's otherwise, negative where the map mirrors."""

from __future__ import annotations

import numpy as np
import torch

from monai_cellreg.geometry import voxel_jacobian, voxel_jacobian_determinant
from monai_cellreg.geometry.derivatives import BLOCK, map_jacobian

SHAPES = {2: (4, 6), 3: (3, 4, 5)}


def test_jacobian_has_outputs_in_rows() -> None:
    def mapping(x: torch.Tensor) -> torch.Tensor:
        return torch.stack([x[..., 0] * x[..., 1], x[..., 1] ** 2 + 3 * x[..., 0]], dim=-1)

    jacobian = map_jacobian(mapping, torch.tensor([[[2.0, 5.0]]]))
    torch.testing.assert_close(jacobian, torch.tensor([[[[5.0, 2.0], [3.0, 10.0]]]]))


def test_jacobian_of_more_points_than_a_block() -> None:
    x = torch.linspace(-1, 1, 2 * BLOCK + 2).reshape(1, -1, 2)
    jacobian = map_jacobian(torch.square, x)
    assert jacobian.shape == (1, BLOCK + 1, 2, 2)
    torch.testing.assert_close(jacobian, torch.diag_embed(2 * x))


def linear_field(matrix: np.ndarray) -> torch.Tensor:
    """Voxel field (1, D, *shape) of the map ``x -> matrix x``."""
    shape = SHAPES[len(matrix)]
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
    return torch.tensor(np.tensordot(matrix - np.eye(len(shape)), index, axes=1))[None]


def test_linear_map_has_its_matrix_everywhere(spatial_dims: int) -> None:
    matrix = np.random.default_rng(0).normal(size=(spatial_dims, spatial_dims))
    field = linear_field(matrix)
    jacobian = voxel_jacobian(field)
    assert jacobian.shape == (1, *SHAPES[spatial_dims], spatial_dims, spatial_dims)
    np.testing.assert_allclose(jacobian, np.broadcast_to(matrix, jacobian.shape), rtol=0, atol=1e-12)
    np.testing.assert_allclose(voxel_jacobian_determinant(field), np.linalg.det(matrix), rtol=0, atol=1e-12)


def test_any_field_agrees_with_numpy(spatial_dims: int) -> None:
    field = torch.randn(2, spatial_dims, *SHAPES[spatial_dims], generator=torch.Generator().manual_seed(0)).double()
    jacobian = voxel_jacobian(field)
    for row in range(spatial_dims):
        gradients = np.gradient(field[1, row].numpy())
        for column in range(spatial_dims):
            expected = gradients[column] + (row == column)
            np.testing.assert_allclose(jacobian[1, ..., row, column], expected, rtol=0, atol=1e-12)


def test_mirrored_map_folds(spatial_dims: int) -> None:
    mirror = np.eye(spatial_dims)
    mirror[-1, -1] = -0.5
    determinant = voxel_jacobian_determinant(linear_field(mirror))
    assert determinant.shape == (1, *SHAPES[spatial_dims])
    np.testing.assert_allclose(determinant, -0.5)


def test_gradients(spatial_dims: int) -> None:
    field = torch.randn(1, spatial_dims, *(3,) * spatial_dims, generator=torch.Generator().manual_seed(0)).double()
    assert torch.autograd.gradcheck(voxel_jacobian_determinant, (field.requires_grad_(),), fast_mode=True)


def test_field_is_constant_along_an_axis_of_one_voxel() -> None:
    field = torch.stack([torch.arange(5.0) ** 2, 0.5 * torch.arange(5.0)]).reshape(1, 2, 1, 5)
    jacobian = voxel_jacobian(field)
    np.testing.assert_allclose(jacobian[0, 0, 2], [[1, 4], [0, 1.5]])
    np.testing.assert_allclose(voxel_jacobian_determinant(field), 1.5)
