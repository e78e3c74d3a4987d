"""The map: what every registration ends in, how maps chain and how they are inverted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..utils import check_spatial, format_shape
from .grid import SamplingGrid
from .inversion import invert_points, map_jacobian


class SpatialTransform(ABC):
    """A map from fixed world points to moving world points, batched and differentiable.

    Convention: pull-back, as resampling needs it (and ITK): ``warped(x) = moving(T(x))``. Points are world coordinates
    in the frame and unit of the fixed image's :class:`SamplingGrid`, components in the order of its world axes.
    A transform holds B maps (its batch); one map serves any batch.
    """

    @property
    @abstractmethod
    def spatial_dims(self) -> int:
        """Number of components of a point, 2 or 3."""

    @abstractmethod
    def _map(self, points: Tensor) -> Tensor:
        """Maps points (B, N, D); keeps their dtype, or returns a better one."""

    def inverse(self) -> SpatialTransform:
        """The map from moving to fixed points; numerical unless the family has a closed form."""
        return InverseTransform(self)

    def then(self, other: SpatialTransform) -> SpatialTransform:
        """This map followed by ``other``: ``a.then(b).points(x) == b.points(a.points(x))``."""
        return compose([self, other])

    def _merged(self, following: SpatialTransform) -> SpatialTransform | None:
        """This map and the following one as a single map of the same family, where that is exact."""
        return None

    def points(self, points: Tensor | np.ndarray) -> Tensor | np.ndarray:
        """Moving points of fixed points.

        Args:
            points: (N, D) or (B, N, D) world coordinates, array or tensor.

        Returns:
            Points of the same kind and precision (float32 at least): a detached array for an array, a tensor (with
            gradient) for a tensor. (N, D) gives (N, D) when the transform holds one map, else (B, N, D).

        Raises:
            ValueError: when the points have another number of components.
        """
        if isinstance(points, np.ndarray):
            x = torch.from_numpy(np.array(points, dtype=np.result_type(points, np.float32)))
        else:
            x = points.to(torch.promote_types(points.dtype, torch.float32))
        if x.ndim not in (2, 3) or x.shape[-1] != self.spatial_dims:
            raise ValueError(
                f"points has shape {format_shape(x.shape)}; expected (N, {self.spatial_dims}) or "
                f"(B, N, {self.spatial_dims})"
            )
        flat = x.ndim == 2
        mapped = self._map(x[None] if flat else x).to(x.dtype)
        mapped = mapped[0] if flat and mapped.shape[0] == 1 else mapped
        return mapped.detach().cpu().numpy() if isinstance(points, np.ndarray) else mapped

    def displacement(self, grid: SamplingGrid, *, dtype: torch.dtype = torch.float64) -> Tensor:
        """``T(x) - x`` at every voxel centre of ``grid``: (B, D, *grid.shape), in world units."""
        check_spatial(grid.shape, self.spatial_dims, "grid")
        x = grid.world(dtype=dtype).reshape(1, -1, grid.spatial_dims)
        moved = self._map(x) - x
        return moved.to(dtype).transpose(1, 2).reshape(moved.shape[0], grid.spatial_dims, *grid.shape)

    def jacobian(self, grid: SamplingGrid, *, dtype: torch.dtype = torch.float64) -> Tensor:
        """``dT_i / dx_j`` at every voxel centre of ``grid``: (B, *grid.shape, D, D), detached."""
        check_spatial(grid.shape, self.spatial_dims, "grid")
        x = grid.world(dtype=dtype).reshape(1, -1, grid.spatial_dims)
        batch = self._map(x[:, :1]).shape[0]
        jacobian = map_jacobian(self._map, x.expand(batch, -1, -1))
        return jacobian.reshape(batch, *grid.shape, grid.spatial_dims, grid.spatial_dims)


class CompositeTransform(SpatialTransform):
    """Maps applied one after the other, first to last; made by :func:`compose` or :meth:`SpatialTransform.then`."""

    def __init__(self, transforms: Sequence[SpatialTransform]) -> None:
        self.transforms = tuple(transforms)

    @property
    def spatial_dims(self) -> int:
        return self.transforms[0].spatial_dims

    def _map(self, points: Tensor) -> Tensor:
        for transform in self.transforms:
            points = transform._map(points)
        return points

    def inverse(self) -> SpatialTransform:
        return compose([t.inverse() for t in reversed(self.transforms)])


class InverseTransform(SpatialTransform):
    """The numerical inverse of a map, solved at the points that are asked for.

    Args:
        transform: the map to invert.
        tolerance: largest residual ``|T(x) - y|`` accepted, in world units.

    Raises:
        ValueError: from ``points`` and its kin, when points have no preimage within the tolerance (the map folds).
    """

    def __init__(self, transform: SpatialTransform, *, tolerance: float = 1e-4) -> None:
        self.transform = transform
        self.tolerance = tolerance

    @property
    def spatial_dims(self) -> int:
        return self.transform.spatial_dims

    def inverse(self) -> SpatialTransform:
        return self.transform

    def _map(self, points: Tensor) -> Tensor:
        y = points.detach().double()
        batch = self.transform._map(y[:, :1]).shape[0]
        y = y.expand(max(batch, y.shape[0]), -1, -1)
        x, residual = invert_points(self.transform._map, y, tolerance=self.tolerance / 10)
        missed = ~(residual <= self.tolerance)
        if bool(missed.any()):
            raise ValueError(
                f"transform has no inverse at {float(missed.double().mean()):.2%} of the points (largest residual "
                f"{float(residual.max()):.3g}, tolerance {self.tolerance:.3g}): it folds there; expected a one-to-one "
                "map. Regularise the registration or ask for points inside the image"
            )
        if torch.is_grad_enabled():  # one differentiable Newton step carries the gradient (implicit function theorem)
            jacobian = map_jacobian(self.transform._map, x)
            error = self.transform._map(x) - points.double()
            x = x - (torch.linalg.pinv(jacobian.nan_to_num()) @ error[..., None])[..., 0]
        return x


def compose(transforms: Sequence[SpatialTransform]) -> SpatialTransform:
    """Maps applied first to last as one map; nested chains are flattened and neighbouring affines merged.

    Raises:
        ValueError: for no map at all, or maps of different dimensions.
    """
    dims = {t.spatial_dims for t in transforms}
    if len(dims) != 1:
        raise ValueError(
            f"transforms have {sorted(dims)} spatial dimensions; expected at least one map, all of the same dimension"
        )
    flat: list[SpatialTransform] = []
    for transform in transforms:
        for part in transform.transforms if isinstance(transform, CompositeTransform) else (transform,):
            merged = flat[-1]._merged(part) if flat else None
            if merged is None:
                flat.append(part)
            else:
                flat[-1] = merged
    return flat[0] if len(flat) == 1 else CompositeTransform(flat)
