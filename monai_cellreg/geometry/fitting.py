"""Maps of the affine group from corresponding points, by least squares.

References:
    Umeyama, Least-squares estimation of transformation parameters between two point patterns, IEEE TPAMI 1991.
    Kabsch, A solution for the best rotation to relate two sets of vectors, Acta Crystallographica A 1976.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..utils import check_choice, check_finite, format_shape
from .affine import AFFINE_KINDS, AffineTransform, float64_tensor
from .grid import SamplingGrid
from .transform import SpatialTransform

Points = Tensor | np.ndarray

MAX_CONDITION = 1e6  # points given in float32 that lie on a line reach it by their rounding


def fit_affine(
    fixed_points: Points, moving_points: Points, *, kind: str = "affine", weights: Points | None = None
) -> AffineTransform:
    """The map T of a kind that makes ``sum_n w_n |T(fixed_n) - moving_n|^2`` least.

    Convention: world points; T maps fixed to moving points. A rigid map or similarity never mirrors. Gradients of first
    order reach the points and weights, also where singular values coincide.

    Args:
        fixed_points: (N, D) or (B, N, D).
        moving_points: (N, D) or (B, N, D), row by row the moving points of ``fixed_points``.
        kind: ``"translation"``, ``"rigid"``, ``"similarity"`` or ``"affine"``.
        weights: (N,) or (B, N), not negative; equal when omitted. Zero leaves a pair out.

    Returns:
        One map for each of the B sets of pairs.

    Raises:
        ValueError: for shapes that do not match, values that are not finite, an unknown kind, and when the points do
            not determine the map: too few, coincident, on a line, in a plane. The text gives the condition number.

    Example:
        >>> corners = np.array([[0.0, 0], [0, 4], [2, 0]])
        >>> fit_affine(corners, 3 * corners + [5, 7], kind="similarity").points(np.array([[1.0, 1.0]])).round(6)
        array([[ 8., 10.]])
    """
    fixed, moving, w = check_pairs(fixed_points, moving_points, weights)
    check_choice("kind", kind, AFFINE_KINDS)
    matrix, condition = solve_affine(fixed, moving, w, kind=kind)
    worst = float(condition.max())
    if not worst < MAX_CONDITION:
        raise ValueError(
            f"fixed_points and moving_points do not determine a map of kind {kind!r} (at most "
            f"{int((w > 0).sum(dim=1).max())} pairs of weight above 0, condition number {worst:.3g}); expected at "
            f"least {needed_pairs(kind, fixed.shape[-1])} pairs that are distinct and "
            "do not lie on a line or, for an affine map in 3D, in a plane. Add pairs or take a kind of fewer parameters"
        )
    return AffineTransform(matrix)


def corresponding_points(
    transform: SpatialTransform, grid: SamplingGrid, *, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The voxel centres of a grid and where a map takes them: what every fit takes, here from a map or a dense field.

    ``fit_affine(*corresponding_points(DenseTransform(displacement, grid), grid), kind="rigid")`` is the rigid part of a
    displacement field; ``grid.resized(shape)`` gives fewer points over the same extent.

    Args:
        transform: any map.
        grid: where it is looked at.
        mask: (*grid.shape), true where it counts; everywhere when omitted.

    Returns:
        Fixed points (N, D) and moving points (B, N, D), float64, in world coordinates, on the map's device.

    Raises:
        ValueError: when the mask does not fit the grid.
    """
    points = grid.world(device=transform.device)
    if mask is not None:
        grid.check_fits("mask", mask)
        points = points[mask.bool().to(points.device)]
    points = points.reshape(1, -1, grid.spatial_dims)
    return points[0], transform._map(points).double()


def check_pairs(
    fixed_points: Points, moving_points: Points, weights: Points | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs of points as (B, N, D) and their weights (B, N) of one batch, once they are known to be sound.

    All are float64 and on the device of the fixed points.

    Raises:
        ValueError: for shapes that do not match, values that are not finite and negative weights.
    """
    fixed = float64_tensor(fixed_points)
    moving = float64_tensor(moving_points).to(fixed.device)
    w = fixed.new_ones(fixed.shape[-2:-1]) if weights is None else float64_tensor(weights).to(fixed.device)
    fixed, moving, w = (x[None] if x.ndim == rank else x for x, rank in ((fixed, 2), (moving, 2), (w, 1)))
    batch = max(len(x) for x in (fixed, moving, w) if x.ndim)
    if fixed.ndim != 3 or not _expands(moving, fixed, batch) or fixed.shape[-1] not in (2, 3):
        raise ValueError(
            f"fixed_points has shape {format_shape(fixed_points.shape)} and moving_points "
            f"{format_shape(moving_points.shape)}; expected the same (N, D) or (B, N, D) with D of 2 or 3"
        )
    if not _expands(w, fixed[..., 0], batch) or bool((w < 0).any()):
        raise ValueError(
            f"weights has shape {format_shape(w.shape)} and least value {float(w.min()) if w.numel() else 0:g}; "
            f"expected ({fixed.shape[1]},) or (B, {fixed.shape[1]}), one for each pair and none negative"
        )
    for name, values in (("fixed_points", fixed), ("moving_points", moving), ("weights", w)):
        check_finite(name, values)
    return fixed.expand(batch, -1, -1), moving.expand(batch, -1, -1), w.expand(batch, -1)


def needed_pairs(kind: str, dims: int) -> int:
    """How many pairs in general position determine a map of that kind."""
    return {"translation": 1, "rigid": dims, "similarity": dims, "affine": dims + 1}[kind]


def solve_affine(fixed: Tensor, moving: Tensor, weights: Tensor, *, kind: str) -> tuple[Tensor, Tensor]:
    """The least-squares solution, without judging it.

    Args:
        fixed: (B, N, D), float64.
        moving: (B, N, D).
        weights: (B, N).
        kind: see :func:`fit_affine`.

    Returns:
        Matrices (B, D, D+1) and their condition numbers (B): extent of the points over the part of it that determines
        the map; not a finite number where there is no unique solution.
    """
    total = weights.sum(dim=1, keepdim=True)
    w = (weights / torch.where(total > 0, total, 1.0))[..., None]  # (B, N, 1), sums to 1
    fixed_mean, moving_mean = ((w * p).sum(dim=1, keepdim=True) for p in (fixed, moving))
    x, y = fixed - fixed_mean, moving - moving_mean
    x_extent, y_extent = _extent(x, w, fixed_mean), _extent(y, w, moving_mean)
    if kind == "translation":
        linear = torch.eye(x.shape[-1]).to(x).expand(x.shape[0], -1, -1)
        condition = torch.where(total[:, 0] > 0, 1.0, torch.inf)
    elif kind == "affine":
        linear, least = _full_linear(x, y, w)
        condition = x_extent / least
    else:
        covariance = (w * y).mT @ x  # (B, D, D)
        linear, gap = nearest_rotation(covariance)
        condition = x_extent * y_extent / gap
        if kind == "similarity":
            linear = linear * ((linear * covariance).sum(dim=(1, 2)) / (w * x.square()).sum(dim=(1, 2)))[:, None, None]
    return torch.cat([linear, moving_mean.mT - linear @ fixed_mean.mT], dim=-1), condition


def nearest_rotation(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The rotation R for which ``trace(R^T matrix)`` is greatest, and how firmly it is determined.

    The gradient is that of the condition that ``R^T matrix`` is symmetric (implicit function theorem). It is finite
    where a singular value decomposition, which has to tell equal singular values apart, has none.

    Args:
        matrix: (B, D, D), float64.

    Returns:
        Rotations (B, D, D) and (B) the sum of the two least singular values, the last one negative where ``matrix``
        mirrors; zero where R is not unique.
    """
    u, s, vh = torch.linalg.svd(matrix.detach())
    mirrors = torch.ones_like(s)
    mirrors[:, -1] = torch.linalg.det(u @ vh).sign()
    s = s * mirrors
    rotation = (u * mirrors[:, None]) @ vh
    if matrix.requires_grad:
        asymmetry = rotation.mT @ matrix - matrix.mT @ rotation
        both = s[:, :, None] + s[:, None] + torch.diag_embed(torch.ones_like(s))  # the diagonal of the asymmetry is 0
        rotation = rotation + rotation @ vh.mT @ ((vh @ asymmetry @ vh.mT) / both) @ vh
    return rotation, s[:, -2] + s[:, -1]


def _full_linear(x: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """A of least ``sum_n w_n |A x_n - y_n|^2``, (B, D, D), and the least singular value (B) of the weighted ``x``.

    Solved by QR, since the normal equations square the condition number; then one step of refinement by them, which
    carries the gradient and needs no root of weights that may be zero.
    """
    root = w.detach().sqrt()
    missing = max(0, x.shape[-1] - x.shape[1])  # rows until the triangle is square
    a, b = (functional.pad(root * p.detach(), (0, 0, 0, missing)) for p in (x, y))
    q, r = torch.linalg.qr(a)
    linear = torch.linalg.solve_triangular(r, q.mT @ b, upper=True)  # (B, D, D), transposed
    rest = torch.linalg.solve_triangular(r.mT, (w * x).mT @ (y - x @ linear), upper=False)
    linear = linear + torch.linalg.solve_triangular(r, rest, upper=True)
    return linear.mT, torch.linalg.svdvals(r)[:, -1]


@torch.no_grad()
def _extent(centred: Tensor, w: Tensor, mean: Tensor) -> Tensor:
    """Root mean square distance (B) from the mean, and never less than what rounding of the coordinates may give."""
    return (w * centred.square()).sum(dim=(1, 2)).sqrt() + 1e-8 * mean.norm(dim=(1, 2))


def _expands(x: Tensor, like: Tensor, batch: int) -> bool:
    """Whether both are the same but for their first axes, of which each is one or ``batch``."""
    return x.shape[1:] == like.shape[1:] and {x.shape[0], like.shape[0]} <= {1, batch}
