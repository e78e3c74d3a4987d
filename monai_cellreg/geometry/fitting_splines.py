"""Thin-plate splines and Gaussian radial basis maps from corresponding points, by penalised least squares.

Both families are linear in the displacements d of their control points: at other points the displacement is ``M d``,
where M is the identity for the control points themselves. The fit solves ``(M^T W M + smoothing E) d = M^T W v`` for
the displacements v and weights W of the pairs; E is the energy of the family (bending; the native norm of the
Gaussian). With the pairs as control points this is the smoothing spline.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..utils import format_shape
from .affine import float64_tensor
from .fitting import Points, check_pairs
from .rbf import RadialBasisTransform, Width, as_widths, gaussian_kernel, gaussian_system
from .tps import KERNEL_ENTRIES, ThinPlateSplineTransform, kernel_sign, spline_basis, spline_system

MAX_CONDITION = 1e12


def fit_thin_plate_spline(
    fixed_points: Points,
    moving_points: Points,
    *,
    control_points: Points | None = None,
    smoothing: float = 0.0,
    weights: Points | None = None,
) -> ThinPlateSplineTransform:
    """The thin-plate spline with the least ``sum_n w_n |T(fixed_n) - moving_n|^2 + smoothing * bending``.

    Args:
        fixed_points: (N, D) or (B, N, D) world points.
        moving_points: (N, D) or (B, N, D), row by row the moving points of ``fixed_points``.
        control_points: (K, D) or (B, K, D) world points that the spline is made of, fewer than pairs; the fixed points
            when omitted, which the spline then interpolates unless there is smoothing.
        smoothing: weight of the bending energy, as in :class:`ThinPlateSplineTransform`.
        weights: (N,) or (B, N), not negative; one when omitted.

    Raises:
        ValueError: as :func:`fit_affine` for unsound pairs; when the control points lie on a line or in a plane, or the
            pairs leave some of them undetermined, with the condition number.

    Example:
        >>> x = torch.cartesian_prod(torch.arange(3.0), torch.arange(3.0))
        >>> fit_thin_plate_spline(x, 2 * x, control_points=x[[0, 2, 6, 8]]).points(torch.tensor([[0.5, 4.0]]))
        tensor([[1., 8.]])
    """
    fixed, moving, w = check_pairs(fixed_points, moving_points, weights)
    if control_points is None and weights is None:
        return ThinPlateSplineTransform(fixed, moving, smoothing=smoothing)
    control = fixed if control_points is None else _control(control_points, fixed)
    count, dims = control.shape[1:]
    extent = control.detach().flatten(0, 1)
    centre = extent.mean(dim=0)
    unit = float((extent - centre).abs().max()) or 1.0
    nodes = (control - centre) / unit
    system = spline_system(nodes)  # (B, K+D+1, K)
    energy = kernel_sign(dims) * system[:, :count] / unit ** (2 if dims == 2 else 1)
    moved = _fit_displacements(
        lambda x: spline_basis((x - centre) / unit, nodes) @ system, smoothing * energy, fixed, moving - fixed, w
    )
    return ThinPlateSplineTransform(control, control + moved)


def fit_radial_basis(
    fixed_points: Points,
    moving_points: Points,
    *,
    sigma: Width,
    control_points: Points | None = None,
    smoothing: float = 0.0,
    weights: Points | None = None,
) -> RadialBasisTransform:
    """The Gaussian radial basis map with the least ``sum_n w_n |T(fixed_n) - moving_n|^2 + smoothing * norm``.

    Args:
        fixed_points: (N, D) or (B, N, D) world points.
        moving_points: (N, D) or (B, N, D), row by row the moving points of ``fixed_points``.
        sigma: standard deviation of the Gaussian in world units, one number or one an axis.
        control_points: (K, D) or (B, K, D) world points that the Gaussians sit on, fewer than pairs; the fixed points
            when omitted.
        smoothing: weight of the norm, as in :meth:`RadialBasisTransform.from_targets`.
        weights: (N,) or (B, N), not negative; one when omitted.

    Raises:
        ValueError: as :func:`fit_affine` for unsound pairs; when control points coincide or lie too close for sigma, or
            the pairs leave some of them undetermined, with the condition number.
    """
    fixed, moving, w = check_pairs(fixed_points, moving_points, weights)
    if control_points is None and weights is None:
        return RadialBasisTransform.from_targets(fixed, moving, sigma=sigma, smoothing=smoothing)
    control = fixed if control_points is None else _control(control_points, fixed)
    widths = as_widths(sigma, fixed.shape[-1])
    system = gaussian_system(control, widths)  # (B, K, K), the inverse kernel matrix and the energy
    moved = _fit_displacements(
        lambda x: gaussian_kernel(x, control, widths) @ system, smoothing * system, fixed, moving - fixed, w
    )
    return RadialBasisTransform(control, system @ moved, sigma=widths)


def _fit_displacements(
    matrix: Callable[[Tensor], Tensor], energy: Tensor, points: Tensor, displacements: Tensor, weights: Tensor
) -> Tensor:
    """Displacements (B, K, D) of the control points.

    Args:
        matrix: points (B, N, D) to M (B, N, K).
        energy: (B, K, K), smoothing included.
        points: (B, N, D).
        displacements: (B, N, D) of the points.
        weights: (B, N).
    """
    count = energy.shape[-1]
    block = max(1, KERNEL_ENTRIES // max(1, count))
    normal, right = energy, torch.zeros_like(energy[..., :1])
    for x, v, w in zip(*(t.split(block, dim=1) for t in (points, displacements, weights)), strict=True):
        m = matrix(x)
        weighted = (w[..., None] * m).mT
        normal, right = normal + weighted @ m, right + weighted @ v
    condition = float(torch.linalg.cond(normal.detach()).max())
    if not condition < MAX_CONDITION:
        raise ValueError(
            f"fixed_points do not determine the map at control_points ({points.shape[1]} pairs, {count} control "
            f"points, condition number {condition:.3g}); expected pairs of weight above 0 around every control point. "
            "Give fewer control points or a smoothing above 0"
        )
    return torch.linalg.solve(normal, right)


def _control(control_points: Points, fixed: Tensor) -> Tensor:
    """Control points as (B, K, D), float64, of the dimension and batch of the fixed points."""
    control = float64_tensor(control_points).to(fixed.device)
    control = control[None] if control.ndim == 2 else control
    if control.ndim != 3 or control.shape[-1] != fixed.shape[-1] or control.shape[0] not in (1, fixed.shape[0]):
        raise ValueError(
            f"control_points has shape {format_shape(control_points.shape)} but the pairs {format_shape(fixed.shape)}; "
            f"expected (K, {fixed.shape[-1]}), or (B, K, {fixed.shape[-1]}) with a set for each set of pairs"
        )
    return control
