"""The map: what every registration ends in, how maps chain and how they are inverted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ..utils import check_spatial, format_shape
from .derivatives import map_jacobian, symmetric_jacobian
from .grid import SamplingGrid
from .inversion import InversionReport, folds_near, invert_points

DERIVATIVE_STEP = 2e-4  # of the spacing: rounding and curvature both stay below 1e-7


class SpatialTransform(ABC):
    """A map from fixed world points to moving world points, batched and differentiable.

    Convention: pull-back, as resampling needs it (and ITK): ``warped(x) = moving(T(x))``. Points are world coordinates
    in the frame and unit of the fixed image's :class:`SamplingGrid`, components in the order of its world axes.
    A transform holds B maps (its batch); one map serves any batch. Tensors are mapped on the device where they are,
    arrays and grids on the map's own :attr:`device`, unless another is named.
    """

    @property
    @abstractmethod
    def spatial_dims(self) -> int:
        """Number of components of a point, 2 or 3."""

    @abstractmethod
    def _map(self, points: Tensor) -> Tensor:
        """Maps points (B, N, D); keeps their dtype, or returns a better one."""

    @property
    def device(self) -> torch.device:
        """Where the map's parameters lie; the CPU for a map that keeps no tensor."""
        return next((part.device for part in vars(self).values() if isinstance(part, Tensor)), torch.device("cpu"))

    def inverse(self) -> SpatialTransform:
        """The map from moving to fixed points; numerical unless the family has a closed form."""
        return InverseTransform(self)

    def then(self, other: SpatialTransform) -> SpatialTransform:
        """This map followed by ``other``: ``a.then(b).points(x) == b.points(a.points(x))``."""
        return compose([self, other])

    def _jacobian(self, points: Tensor, step: float) -> Tensor:
        """Derivatives (B, N, D, D) at points (B, N, D) by looking ``step`` to both sides; see :meth:`jacobian`."""
        return symmetric_jacobian(self._map, points, step)

    def _merged(self, following: SpatialTransform) -> SpatialTransform | None:
        """This map and the following one as a single map of the same family, where that is exact."""
        return None

    def _attempt(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`_map`, but refuses nothing: also says which points (B, N) got no more than the closest answer."""
        mapped = self._map(points)
        return mapped, torch.zeros(mapped.shape[:2], dtype=torch.bool, device=mapped.device)

    def points(self, points: Tensor | np.ndarray) -> Tensor | np.ndarray:
        """Moving points of fixed points.

        Args:
            points: (N, D) or (B, N, D) world coordinates, array or tensor.

        Returns:
            Points of the same kind and precision (float32 at least): a detached array for an array, a tensor (with
            gradient) for a tensor. (N, D) gives (N, D) when the transform holds one map, else (B, N, D).

        Raises:
            TypeError: for points that are neither.
            ValueError: when the points have another number of components.
        """
        if not isinstance(points, np.ndarray | Tensor):
            raise TypeError(f"points is a {type(points).__name__}, expected an array or a tensor; use numpy.asarray")
        if isinstance(points, np.ndarray):
            x = torch.from_numpy(np.array(points, dtype=np.result_type(points, np.float32))).to(self.device)
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

    def displacement(
        self, grid: SamplingGrid, *, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None
    ) -> Tensor:
        """``T(x) - x`` at every voxel centre of ``grid``: (B, D, *grid.shape), in world units."""
        x = self._centres(grid, dtype, device)
        moved = self._map(x) - x
        return moved.to(dtype).transpose(1, 2).reshape(moved.shape[0], grid.spatial_dims, *grid.shape)

    def jacobian(
        self, grid: SamplingGrid, *, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None
    ) -> Tensor:
        """``dT_i / dx_j`` at every voxel centre of ``grid``: (B, *grid.shape, D, D), detached.

        Where a map has a kink, as a linearly interpolated field has at its voxels, it is the mean of both sides, which
        at the voxels of the field are its central differences.
        """
        x = self._centres(grid, torch.float64, device)
        with torch.no_grad():
            jacobian = self._jacobian(x, DERIVATIVE_STEP * min(grid.spacing)).to(dtype)
        return jacobian.reshape(jacobian.shape[0], *grid.shape, grid.spatial_dims, grid.spatial_dims)

    def jacobian_determinant(
        self, grid: SamplingGrid, *, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None
    ) -> Tensor:
        """Ratio of moving to fixed volume at every voxel centre of ``grid``: (B, *grid.shape), detached.

        It is negative where the map mirrors; a map with determinants of both signs folds and has no inverse.
        """
        return torch.linalg.det(self.jacobian(grid, dtype=dtype, device=device))

    @torch.no_grad()
    def inversion_report(
        self,
        grid: SamplingGrid,
        *,
        inverse: SpatialTransform | None = None,
        device: torch.device | str | None = None,
    ) -> InversionReport:
        """How far an inverse misses: ``|T(S(y)) - y|`` at every voxel centre y of a grid of moving points.

        Args:
            grid: where to ask, in the moving image's world.
            inverse: the map S that is judged, such as a network's for the other direction; :meth:`inverse` when
                omitted. A chain is judged as a whole.
            device: where the work is done; on the map's device when omitted.

        Returns:
            The residuals; where S is numerical and finds no preimage, that of the closest point that was found.

        Raises:
            ValueError: for a grid of another dimension, an affine map that is singular, or where the map itself is
                refused because it holds a numerical inverse.

        Example:
            >>> from monai_cellreg.geometry import AffineTransform, DenseTransform
            >>> grid = SamplingGrid((6, 8))
            >>> bend = DenseTransform(torch.sin(grid.index()).movedim(-1, 0)[None] / 4, grid)
            >>> report = bend.then(AffineTransform.rigid(0.1)).inversion_report(grid)
            >>> report.largest < 1e-8, report.unreached, report.folded
            (True, 0.0, 0.0)
        """
        back = self.inverse() if inverse is None else inverse
        check_spatial(grid.shape, back.spatial_dims, "grid")
        y = self._centres(grid, torch.float64, device)
        x, missed = back._attempt(y)
        residual = (self._map(x) - y).norm(dim=-1)
        folded = torch.linalg.det(map_jacobian(self._map, x)) <= 0
        return InversionReport(
            largest=float(residual.max()),
            rms=float(residual.square().mean().sqrt()),
            unreached=float(missed.double().mean()),
            folded=float(folded.double().mean()),
        )

    def _centres(self, grid: SamplingGrid, dtype: torch.dtype, device: torch.device | str | None) -> Tensor:
        """World points (1, voxels, D) of a grid, on the map's device unless another is named."""
        check_spatial(grid.shape, self.spatial_dims, "grid")
        return grid.world(dtype=dtype, device=device or self.device).reshape(1, -1, grid.spatial_dims)


class CompositeTransform(SpatialTransform):
    """Maps applied one after the other, first to last; made by :func:`compose` or :meth:`SpatialTransform.then`."""

    def __init__(self, transforms: Sequence[SpatialTransform]) -> None:
        self.transforms = tuple(transforms)

    @property
    def spatial_dims(self) -> int:
        return self.transforms[0].spatial_dims

    @property
    def device(self) -> torch.device:
        """That of the first map that does not lie on the CPU, if any."""
        devices = [transform.device for transform in self.transforms]
        return next((device for device in devices if device.type != "cpu"), devices[0])

    def _map(self, points: Tensor) -> Tensor:
        for transform in self.transforms:
            points = transform._map(points)
        return points

    def _jacobian(self, points: Tensor, step: float) -> Tensor:
        jacobian = self.transforms[0]._jacobian(points, step)
        for before, transform in pairwise(self.transforms):
            points = before._map(points)
            jacobian = transform._jacobian(points, step) @ jacobian
        return jacobian

    def _attempt(self, points: Tensor) -> tuple[Tensor, Tensor]:
        start = mapped = points
        missed = torch.zeros(points.shape[:2], dtype=torch.bool, device=points.device)
        for transform in self.transforms:
            start = torch.where(missed[..., None], start, mapped)  # an answer far away would loosen all tolerances
            mapped, lost = transform._attempt(start)
            missed = missed | lost
        return mapped, missed

    def inverse(self) -> SpatialTransform:
        return compose([t.inverse() for t in reversed(self.transforms)])


class InverseTransform(SpatialTransform):
    """The numerical inverse of a map, solved at the points that are asked for; see also :meth:`inversion_report`.

    Args:
        transform: the map to invert.
        tolerance: largest residual ``|T(x) - y|`` accepted, in world units; when omitted, a billionth of the largest
            coordinate among the points and what they are mapped to, whatever their unit.

    Raises:
        ValueError: from ``points`` and its kin, when points have no preimage within the tolerance; the text gives the
            share of the points near which the map folds.

    Example:
        >>> from monai_cellreg.geometry import DenseTransform
        >>> grid = SamplingGrid((6, 8))
        >>> bend = DenseTransform(torch.sin(grid.index()).movedim(-1, 0)[None] / 4, grid)
        >>> there = bend.points(np.array([[2.5, 4.0]]))
        >>> bend.inverse().points(there).round(6)
        array([[2.5, 4. ]])
    """

    def __init__(self, transform: SpatialTransform, *, tolerance: float | None = None) -> None:
        self.transform = transform
        self.tolerance = tolerance

    @property
    def spatial_dims(self) -> int:
        return self.transform.spatial_dims

    @property
    def device(self) -> torch.device:
        """That of the map."""
        return self.transform.device

    def inverse(self) -> SpatialTransform:
        return self.transform

    def _jacobian(self, points: Tensor, step: float) -> Tensor:
        return torch.linalg.inv(self.transform._jacobian(self._map(points), step))

    def _attempt(self, points: Tensor) -> tuple[Tensor, Tensor]:
        _, x, residual, tolerance = self._solved(points)
        return x, ~(residual <= tolerance)

    def _map(self, points: Tensor) -> Tensor:
        y, x, residual, tolerance = self._solved(points)
        missed = ~(residual <= tolerance)
        if bool(missed.any()):
            self._refuse(y, x, residual, tolerance)
        if not torch.is_grad_enabled():
            return x
        error = self.transform._map(x) - points.double()
        if not error.requires_grad:
            return x
        # one differentiable Newton step carries the gradient (implicit function theorem)
        jacobian = map_jacobian(self.transform._map, x)
        return x - torch.linalg.solve_ex(jacobian, error[..., None])[0][..., 0]

    def _solved(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor, float]:
        """Moving points (B, N, D) for each of B maps, their fixed points, the residuals (B, N) and the tolerance."""
        y = points.detach().double()
        with torch.no_grad():
            ahead = self.transform._map(y)
        y = y.expand_as(ahead)
        tolerance = self.tolerance
        if tolerance is None:
            size = torch.cat([y, ahead]).nan_to_num(posinf=0.0, neginf=0.0).abs()
            tolerance = 1e-9 * float(size.max()) if size.numel() else 0.0
        return y, *invert_points(self.transform._map, y, tolerance=tolerance), tolerance

    def _refuse(self, y: Tensor, x: Tensor, residual: Tensor, tolerance: float) -> None:
        """Raises the error that says why points were not reached."""
        missed = ~(residual <= tolerance)
        columns = missed.any(dim=0).nonzero()[:, 0]
        folds = folds_near(self.transform._map, x[:, columns], y[:, columns]) & missed[:, columns]
        count, folded, total = int(missed.sum()), int(folds.sum()), missed.numel()
        reasons = [
            f"it folds near {folded / total:.2%} of them (Jacobian determinant at or below 0): regularise it there",
            f"it takes no point to {(count - folded) / total:.2%} of them: ask only for points that it reaches",
        ]
        raise ValueError(
            f"transform has no inverse at {count / total:.2%} of the points (largest residual "
            f"{float(residual.max()):.3g}, tolerance {tolerance:.3g}), expected a one-to-one map; "
            + ", and ".join(reason for reason, n in zip(reasons, (folded, count - folded), strict=True) if n)
        )


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
