"""Gaussian radial basis functions: as a map of world points, and as a head for networks.

References:
    Deep learning for non-rigid registration of cell nuclei in temporal microscopy images, SPIE 2022, Sect. 2.1: a
    regular grid of control points, whose displaced positions the network predicts. The paper gives neither the form
    nor the width of its Gaussian; that the map interpolates the displaced positions, and its width, are ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ..utils import check_finite, check_positive, format_shape
from .affine import cube_axes, cube_points, float64_tensor
from .separable import apply_separable
from .tps import KERNEL_ENTRIES
from .transform import SpatialTransform

MAX_CONDITION = 1e12
DEFAULT_WIDTH = 1.5  # control spacings

Width = float | Sequence[float] | Tensor


class RadialBasisTransform(SpatialTransform):
    """``T(x) = x + sum_k w_k exp(-|(x - c_k) / sigma|^2 / 2)``.

    Convention: as every :class:`SpatialTransform`. Far from all control points the map is the identity; unlike a
    thin-plate spline it holds no affine part.

    Args:
        control_points: (K, D) or (B, K, D) fixed world points c.
        weights: (K, D) or (B, K, D) vectors w, in world units; :meth:`from_targets` finds them.
        sigma: standard deviation of the Gaussian in world units, one number or one for each world axis.

    Raises:
        ValueError: when the shapes do not match, a value is not finite or sigma is not positive.

    Example:
        >>> bump = RadialBasisTransform(np.zeros((1, 2)), np.array([[0.0, 2.0]]), sigma=3.0)
        >>> bump.points(np.array([[0.0, 0.0], [3.0, 0.0]])).round(3)
        array([[0.   , 2.   ],
               [3.   , 1.213]])
    """

    def __init__(self, control_points: Tensor | np.ndarray, weights: Tensor | np.ndarray, *, sigma: Width) -> None:
        self.control_points, self.weights = _matched(control_points, "weights", weights)
        self.sigma = as_widths(sigma, self.control_points.shape[-1])

    @classmethod
    def from_targets(
        cls,
        control_points: Tensor | np.ndarray,
        targets: Tensor | np.ndarray,
        *,
        sigma: Width,
        smoothing: float = 0.0,
    ) -> RadialBasisTransform:
        """The map that carries control points to given points.

        Args:
            control_points: (K, D) or (B, K, D) fixed world points.
            targets: (K, D) or (B, K, D) moving world points of the control points.
            sigma: see the class.
            smoothing: what is added to the diagonal of the kernel matrix; zero interpolates.

        Raises:
            ValueError: when control points coincide or lie too close for sigma; the text gives the condition number.
        """
        control, values = _matched(control_points, "targets", targets)
        system = gaussian_system(control, as_widths(sigma, control.shape[-1]), smoothing=smoothing)
        return cls(control, system @ (values - control), sigma=sigma)

    @property
    def spatial_dims(self) -> int:
        return self.control_points.shape[-1]

    def _map(self, points: Tensor) -> Tensor:
        x = points.double()
        control, weights = self.control_points.to(x.device), self.weights.to(x.device)
        blocks = x.split(max(1, KERNEL_ENTRIES // control.shape[1]), dim=1)
        return x + torch.cat([gaussian_kernel(block, control, self.sigma) @ weights for block in blocks], dim=1)


class RadialBasisField(nn.Module):
    """Displacements of a regular grid of control points to a voxel displacement field, by one small matrix an axis.

    A Gaussian is a product over the axes and so is the grid; interpolation and evaluation act on each axis alone, and
    no matrix has an entry for every voxel and control point.

    Convention: displacements on the cube [-1, 1]^D of the image (see :attr:`SamplingGrid.cube_to_world`), components in
    tensor-axis order, control points row by row; zeros are the identity. The map interpolates them.

    Default width: too narrow, and the field sags between the control points; too wide, and it overshoots and depends on
    remote ones. A shift common to all points is kept, along an axis, to 4 % at one control spacing, to 0.7 % at 1.5 and
    to 0.15 % at two (from five points on), while an error in the displacements grows at most 1.8, 1.8 and 2.0 fold with
    five points but 2.1, 3.9 and 12 fold with 17.

    Args:
        spatial_size: image size, D axes.
        control_shape: number of control points along each axis.
        sigma: standard deviation of the Gaussian on the cube, one number or one an axis; 1.5 control spacings of each
            axis when omitted.

    Raises:
        ValueError: when an axis has fewer than two control points, or sigma is not positive or so large that the
            control points cannot be told apart.
    """

    control_points: Tensor  # (K, D) on the cube

    def __init__(
        self, spatial_size: Sequence[int], control_shape: Sequence[int], *, sigma: float | Sequence[float] | None = None
    ) -> None:
        super().__init__()
        self.spatial_size, self.control_shape = tuple(spatial_size), tuple(control_shape)
        dims = len(self.spatial_size)
        if dims != len(self.control_shape) or min(self.control_shape) < 2:
            raise ValueError(
                f"control_shape is {self.control_shape} for spatial_size {self.spatial_size}; "
                "expected at least two control points along every axis"
            )
        default = [DEFAULT_WIDTH * 2 / (count - 1) for count in self.control_shape]
        self.sigma = as_widths(default if sigma is None else sigma, dims)
        for axis, (voxels, system) in enumerate(zip(cube_axes(self.spatial_size), self._systems(), strict=True)):
            control = cube_axes(self.control_shape)[axis]
            kernel = gaussian_kernel(voxels[None, :, None], control[None, :, None], self.sigma[axis : axis + 1])
            self.register_buffer(f"matrix_{axis}", (kernel[0] @ system).float(), persistent=False)
        self.register_buffer("control_points", cube_points(self.control_shape), persistent=False)
        self.parameter_shape = (math.prod(self.control_shape), dims)

    def forward(self, parameters: Tensor) -> Tensor:
        """(B, K, D) control point displacements to a voxel field (B, D, *spatial_size), float32."""
        half = [(s - 1) / 2 if s > 1 else 0.5 for s in self.spatial_size]
        matrices = [self.get_buffer(f"matrix_{axis}") for axis in range(len(self.spatial_size))]
        return apply_separable(
            self._on_grid(parameters.float() * parameters.new_tensor(half, dtype=torch.float32)), matrices
        )

    def transform(self, parameters: Tensor) -> RadialBasisTransform:
        """The map of the cube [-1, 1]^D that the displacements (B, K, D) mean."""
        control = self.control_points.to(parameters.device).double()
        systems = [system.to(parameters.device) for system in self._systems()]
        weights = apply_separable(self._on_grid(parameters.double()), systems).flatten(2).transpose(1, 2)
        return RadialBasisTransform(control, weights, sigma=self.sigma)

    def _systems(self) -> list[Tensor]:
        """For each axis, the matrix (n, n) from displacements to weights of its n control points."""
        axes = cube_axes(self.control_shape)
        return [gaussian_system(c[None, :, None], self.sigma[a : a + 1])[0] for a, c in enumerate(axes)]

    def _on_grid(self, parameters: Tensor) -> Tensor:
        """(B, K, D) as (B, D, *control_shape)."""
        if tuple(parameters.shape[1:]) != self.parameter_shape:
            raise ValueError(
                f"parameters has shape {format_shape(parameters.shape)}; expected (B, "
                f"{', '.join(map(str, self.parameter_shape))}): a displacement for each control point"
            )
        return parameters.transpose(1, 2).unflatten(2, self.control_shape)


def gaussian_kernel(points: Tensor, control_points: Tensor, sigma: Tensor) -> Tensor:
    """``exp(-|(x - c) / sigma|^2 / 2)``, (B, N, K), of points (B, N, D), control points (B, K, D) and widths (D,)."""
    square = points.new_zeros(())
    for x, c, width in zip(points.unbind(-1), control_points.unbind(-1), sigma.to(points), strict=True):
        square = square + ((x[:, :, None] - c[:, None]) / width).square()
    return (-0.5 * square).exp()


def gaussian_system(control_points: Tensor, sigma: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Matrix (B, K, K) from values at control points (B, K, D) to weights, solved in float64.

    Raises:
        ValueError: when the system is singular to working precision; the text gives the condition number.
    """
    c = control_points.double()
    identity = torch.eye(c.shape[1], dtype=c.dtype, device=c.device)
    kernel = gaussian_kernel(c, c, sigma) + smoothing * identity
    condition = float(torch.linalg.cond(kernel.detach()).max()) if c.shape[1] else math.inf
    if not condition < MAX_CONDITION:
        raise ValueError(
            f"control_points give a singular Gaussian system ({c.shape[1]} points, sigma {sigma.tolist()}, condition "
            f"number {condition:.3g}); expected at least one point, distinct points and a sigma of about their spacing"
        )
    return torch.linalg.solve(kernel, identity.expand_as(kernel))


def _matched(control_points: Tensor | np.ndarray, name: str, values: Tensor | np.ndarray) -> tuple[Tensor, Tensor]:
    """Control points and what belongs to each of them as (B, K, D), float64, on its device."""
    c = float64_tensor(control_points)
    v = float64_tensor(values).to(c.device)
    c, v = (x[None] if x.ndim == 2 else x for x in (c, v))
    if c.ndim != 3 or c.shape[1:] != v.shape[1:] or c.shape[-1] not in (2, 3):
        raise ValueError(
            f"control_points has shape {format_shape(c.shape)} and {name} {format_shape(v.shape)}; expected the same "
            "(B, K, D) with D of 2 or 3"
        )
    check_finite("control_points", c)
    check_finite(name, v)
    return c, v


def as_widths(sigma: Width, dims: int) -> Tensor:
    """One standard deviation an axis, (D,), float64."""
    widths = float64_tensor(sigma)
    check_positive("sigma", widths.detach().flatten().tolist())
    if widths.ndim > 1 or (widths.ndim == 1 and len(widths) != dims):
        raise ValueError(
            f"sigma has shape {format_shape(widths.shape)}; expected one number, or one for each of {dims} axes"
        )
    return widths.expand(dims)
