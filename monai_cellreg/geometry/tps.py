"""Thin-plate splines: as a map of world points, and as a head for networks.

References:
    Bookstein, Principal warps: thin-plate splines and the decomposition of deformations, IEEE TPAMI 1989.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ..utils import format_shape
from .affine import cube_points
from .interop import cube_to_voxel_ddf
from .transform import SpatialTransform

KERNEL_ENTRIES = 1 << 18  # (points x control points) a block, 2 MiB: it stays in the cache


class ThinPlateSplineTransform(SpatialTransform):
    """The smoothest map that carries control points to given points.

    Convention: as every :class:`SpatialTransform`; ``T(control_points) == targets`` when ``smoothing`` is zero. Inside,
    points are centred and scaled by the extent of the control points, so that unit and origin of the world do not
    matter.

    Args:
        control_points: (K, D) or (B, K, D) fixed world points.
        targets: (K, D) or (B, K, D) moving world points of the control points.
        smoothing: weight of the bending energy against the distance to the targets; zero interpolates.

    Raises:
        ValueError: when the control points are too few or lie on a line (2D) or plane (3D).

    Example:
        >>> corners = np.array([[0.0, 0], [0, 9], [9, 0], [9, 9]])
        >>> ThinPlateSplineTransform(corners, corners + [1, 0]).points(np.array([[4.0, 5.0]]))
        array([[5., 5.]])
    """

    def __init__(
        self, control_points: Tensor | np.ndarray, targets: Tensor | np.ndarray, *, smoothing: float = 0.0
    ) -> None:
        points, values = (_batched(torch.as_tensor(x).double()) for x in (control_points, targets))
        if points.shape[1:] != values.shape[1:] or points.shape[-1] not in (2, 3):
            raise ValueError(
                f"control_points has shape {format_shape(points.shape)} and targets {format_shape(values.shape)}; "
                "expected the same (B, K, D) with D of 2 or 3"
            )
        self.control_points, self.targets, self.smoothing = points, values, float(smoothing)
        extent = points.detach().flatten(0, 1)
        self._centre = extent.mean(dim=0)
        self._scale = float((extent - self._centre).abs().max()) or 1.0
        relative = smoothing / self._scale ** (2 if points.shape[-1] == 2 else 1)  # the kernel's unit: r^2 log r, r
        system = spline_system(self._scaled(points), smoothing=relative)
        self.coefficients = system @ (values - points)  # (B, K+D+1, D) of the displacement

    @property
    def spatial_dims(self) -> int:
        return self.control_points.shape[-1]

    def _map(self, points: Tensor) -> Tensor:
        x = points.double()
        coefficients = self.coefficients.to(x.device)
        control = self._scaled(self.control_points.to(x.device))
        blocks = self._scaled(x).split(max(1, KERNEL_ENTRIES // control.shape[1]), dim=1)
        return x + torch.cat([spline_basis(block, control) @ coefficients for block in blocks], dim=1)

    def _scaled(self, points: Tensor) -> Tensor:
        return (points - self._centre.to(points.device)) / self._scale


class ThinPlateSplineField(nn.Module):
    """Displacements of a regular grid of control points to a voxel displacement field, by one matrix product.

    Convention: displacements on the cube [-1, 1]^D of the image (see :attr:`SamplingGrid.cube_to_world`), components in
    tensor-axis order; zeros are the identity.

    Args:
        spatial_size: image size, D axes.
        control_shape: number of control points along each axis.

    Raises:
        ValueError: when an axis has fewer than two control points.
    """

    matrix: Tensor  # (K, voxels)
    control_points: Tensor  # (K, D) on the cube

    def __init__(self, spatial_size: Sequence[int], control_shape: Sequence[int]) -> None:
        super().__init__()
        self.spatial_size, self.control_shape = tuple(spatial_size), tuple(control_shape)
        if len(self.spatial_size) != len(self.control_shape) or min(self.control_shape) < 2:
            raise ValueError(
                f"control_shape is {self.control_shape} for spatial_size {self.spatial_size}; "
                "expected at least two control points along every axis"
            )
        control = cube_points(self.control_shape)
        system = spline_system(control[None])[0]
        voxels = cube_points(self.spatial_size).split(max(1, KERNEL_ENTRIES // len(control)))
        matrix = torch.cat([(spline_basis(x[None], control[None])[0] @ system).T for x in voxels], dim=1)  # (K, voxels)
        self.register_buffer("matrix", matrix.float(), persistent=False)
        self.register_buffer("control_points", control, persistent=False)
        self.parameter_shape = tuple(control.shape)

    def forward(self, parameters: Tensor) -> Tensor:
        """(B, K, D) control point displacements to a voxel field (B, D, *spatial_size)."""
        with torch.autocast(parameters.device.type, enabled=False):
            rows = parameters.float().transpose(1, 2).flatten(0, 1)  # (B D, K): one product for the whole batch
            return cube_to_voxel_ddf(
                (rows @ self.matrix).reshape(parameters.shape[0], -1, self.matrix.shape[1]), self.spatial_size
            )

    def transform(self, parameters: Tensor) -> ThinPlateSplineTransform:
        """The map of the cube [-1, 1]^D that the displacements (B, K, D) mean."""
        control = self.control_points.to(parameters.device).double()
        return ThinPlateSplineTransform(control, control + parameters.double())


def spline_system(control_points: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Matrix (B, K+D+1, K) from values at control points (B, K, D) to spline coefficients, solved in float64.

    Raises:
        ValueError: when the control points do not span the space; the message gives the condition number.
    """
    p = control_points.double()
    batch, count, dims = p.shape
    system = p.new_zeros(batch, count + dims + 1, count + dims + 1)
    system[:, :count] = spline_basis(p, p)
    system[:, :count, :count] += smoothing * torch.eye(count, dtype=p.dtype, device=p.device) * kernel_sign(dims)
    system[:, count:, :count] = system[:, :count, count:].transpose(1, 2)
    condition = float(torch.linalg.cond(system.detach()).max())
    if count < dims + 1 or not condition < 1e12:
        raise ValueError(
            f"control_points give a singular spline system ({count} points, condition number {condition:.3g}); "
            f"expected at least {dims + 1} distinct points that do not lie on a line (2D) or plane (3D)"
        )
    rhs = torch.eye(count + dims + 1, count, dtype=p.dtype, device=p.device).expand(batch, -1, -1)
    return torch.linalg.solve(system, rhs)


def kernel_sign(dims: int) -> float:
    """Sign for which the kernel is conditionally positive definite: r^2 log r in 2D, -r in 3D."""
    return 1.0 if dims == 2 else -1.0


def spline_basis(points: Tensor, control_points: Tensor) -> Tensor:
    """Kernel and affine basis (B, N, K+D+1) of points (B, N, D)."""
    square = points.new_zeros(())
    for p, c in zip(points.unbind(-1), control_points.unbind(-1), strict=True):  # a third of the time of sum(-1)
        square = square + (p[:, :, None] - c[:, None]).square()
    if points.shape[-1] == 2:
        kernel = 0.5 * torch.xlogy(square, square.clamp_min(1e-300))  # r^2 log r
    else:
        kernel = square.clamp_min(1e-300).sqrt()
    ones = torch.ones_like(points[..., :1])
    batch = max(points.shape[0], control_points.shape[0])
    affine = torch.cat([ones, points], dim=-1).expand(batch, -1, -1)
    return torch.cat([kernel, affine], dim=-1)


def _batched(x: Tensor) -> Tensor:
    return x[None] if x.ndim == 2 else x
