"""Affine maps: of world points, and as a head for networks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ..utils import format_shape
from .grid import SamplingGrid, apply_affine
from .interop import cube_to_voxel_ddf
from .transform import SpatialTransform


class AffineTransform(SpatialTransform):
    """``T(x) = A x + t`` on world points.

    Args:
        matrix: (D, D+1), (B, D, D+1) or homogeneous (D+1, D+1), array or tensor; kept in float64.

    Raises:
        ValueError: for another shape.

    Example:
        >>> AffineTransform(np.array([[1, 0, 2], [0, 1, -1]])).points(np.zeros((1, 2)))
        array([[ 2., -1.]])
    """

    def __init__(self, matrix: Tensor | np.ndarray) -> None:
        m = torch.as_tensor(matrix).double()
        m = m[None] if m.ndim == 2 else m
        dims = m.shape[-1] - 1
        if m.ndim != 3 or dims not in (2, 3) or m.shape[1] not in (dims, dims + 1):
            raise ValueError(
                f"matrix has shape {format_shape(m.shape)}; expected (D, D+1), (D+1, D+1) or a batch of "
                "these, with D of 2 or 3"
            )
        self.matrix = m[:, :dims]

    @property
    def spatial_dims(self) -> int:
        return self.matrix.shape[1]

    def _map(self, points: Tensor) -> Tensor:
        m = self.matrix.to(points.device)
        return points.double() @ m[..., :-1].transpose(1, 2) + m[..., -1][:, None]  # float64 is safe from autocast

    def inverse(self) -> AffineTransform:
        try:
            linear = torch.linalg.inv(self.matrix[..., :-1])
        except torch.linalg.LinAlgError as error:
            raise ValueError(f"matrix {self.matrix.tolist()} is singular; expected an invertible affine map") from error
        return AffineTransform(torch.cat([linear, -linear @ self.matrix[..., -1:]], dim=-1))

    def _merged(self, following: SpatialTransform) -> SpatialTransform | None:
        if not isinstance(following, AffineTransform):
            return None
        linear, shift = following.matrix[..., :-1], following.matrix[..., -1:]
        return AffineTransform(
            torch.cat([linear @ self.matrix[..., :-1], linear @ self.matrix[..., -1:] + shift], dim=-1)
        )


class AffineField(nn.Module):
    """Affine parameters of a network to a voxel displacement field.

    Convention: parameters are the offset from the identity, on the cube [-1, 1]^D of the image (see
    :attr:`SamplingGrid.cube_to_world`), so that zeros are the identity.

    Args:
        spatial_size: image size, D axes.
    """

    basis: Tensor  # (voxels, D+1)

    def __init__(self, spatial_size: Sequence[int]) -> None:
        super().__init__()
        self.spatial_size = tuple(spatial_size)
        dims = len(self.spatial_size)
        self.parameter_shape = (dims, dims + 1)
        cube = cube_points(self.spatial_size)
        self.register_buffer("basis", torch.cat([cube, torch.ones_like(cube[:, :1])], dim=1).float(), persistent=False)

    def forward(self, parameters: Tensor) -> Tensor:
        """(B, D, D+1) parameters to a voxel field (B, D, *spatial_size)."""
        with torch.autocast(parameters.device.type, enabled=False):
            return cube_to_voxel_ddf(parameters.float() @ self.basis.T, self.spatial_size)

    def transform(self, parameters: Tensor) -> AffineTransform:
        """The map of the cube [-1, 1]^D that the parameters (B, D, D+1) mean."""
        dims = len(self.spatial_size)
        return AffineTransform(parameters.double() + torch.eye(dims, dims + 1).to(parameters).double())


def cube_points(shape: Sequence[int]) -> Tensor:
    """Points (N, D), float64, of a lattice of ``shape`` on the cube [-1, 1]^D; an axis of one point sits at 0."""
    grid = SamplingGrid(tuple(shape))
    return apply_affine(np.linalg.inv(grid.cube_to_world), grid.index().reshape(-1, grid.spatial_dims))
