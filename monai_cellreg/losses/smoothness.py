"""How far a displacement field is from smooth: diffusion, bending energy, curvature and linear elasticity.

All take MONAI voxel DDFs and share one convention. With the spacing ``h_d`` of the voxels, ``u_i`` in voxels is the
displacement ``h_i u_i`` in world units and a step along axis ``j`` is ``h_j`` long, so that a derivative in world
units is ``h_i / h_j d_j u_i`` or ``h_i / (h_j h_k) d_jk u_i``. Derivatives are central differences (first) and compact
three-point differences (second) at all voxels but the outermost layer, exact on quadratic fields. Every energy here
keeps its value when the world axes are turned, so the direction of the image does not matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from math import prod

from monai.utils import LossReduction
from torch import Tensor, nn

from ..utils import Spacing, axis_spacing, check_finite, check_positive, check_spacing
from .ddf import as_field, as_weight, is_finite, shares
from .quadratic import Square, combined, difference, energy_map, total_energy
from .reduction import check_reduction
from .tensors import may_look


class SmoothnessLoss(nn.Module):
    """A loss that sums squared differences; a subclass says which.

    Args:
        normalize: measure in units of the image, which makes the value independent of its sampling.
        reduction: ``"mean"`` over components and voxels, ``"sum"`` or ``"none"``.
        spacing: distance of voxels in world units, one number or one for each axis; 1 when None.

    Raises:
        ValueError: for a spacing that is not positive or is given beside ``normalize``, or an unknown reduction.
    """

    def __init__(
        self,
        normalize: bool = False,
        reduction: LossReduction | str = LossReduction.MEAN,
        *,
        spacing: Spacing = None,
    ) -> None:
        super().__init__()
        check_spacing(spacing)
        if normalize and spacing is not None:
            raise ValueError(
                f"normalize is True and spacing is {spacing}; expected at most one of them: normalize measures in "
                "units of the image, spacing in world units"
            )
        self.normalize, self.spacing = normalize, spacing
        self.reduction = check_reduction(reduction)

    def forward(self, pred: Tensor, weight: Tensor | None = None) -> Tensor:
        """The energy of a displacement field.

        Args:
            pred: (B, D, *spatial) in voxels, at least 3 along every axis; float32 or better whatever autocast does.
            weight: (B or 1, 1, *spatial), how much each voxel counts, such as a mask. A voxel of weight 0 is hidden: it
                may hold NaN, and its neighbours, whose differences would read it, do not count either. So a box as
                weight gives the loss of the cropped field.

        Returns:
            Scalar; for the reduction ``"none"`` the weighted energy at all voxels but the outermost layer.

        Raises:
            ValueError: when shapes or spacing do not fit, an axis is too thin, a value is not finite, or the weight
                leaves no voxel.
        """
        field = as_field(pred, smallest=3)
        squares = self._squares(self._lengths(field.shape[2:]))
        if weight is None:
            loss = self._reduced(field, squares, None)
        else:
            weight = as_weight(weight, field)
            loss = self._reduced(field, squares, _away_from_hidden(weight))
            if not (may_look() and is_finite(loss)):  # filled only now, which spares most fields a copy
                loss = self._reduced(field.masked_fill(weight == 0, 0), squares, _away_from_hidden(weight))
        if not is_finite(loss):
            check_finite("pred", field)
        return loss

    def _reduced(self, field: Tensor, squares: Sequence[Square], weight: Tensor | None) -> Tensor:
        if self.reduction == "none":
            return energy_map(field, squares, weight)
        if self.reduction == "sum":
            return total_energy(field, squares, weight)
        values = len(field) * max(square.channel + square.channels for square in squares)
        if weight is None:
            return total_energy(field, squares) / (values * prod(size - 2 for size in field.shape[2:]))
        return total_energy(field, squares, shares(weight, "every voxel with neighbours on all sides")) / values

    def _lengths(self, spatial: Sequence[int]) -> tuple[float, ...]:
        """Length of a voxel along each axis."""
        return tuple(1 / size for size in spatial) if self.normalize else axis_spacing(self.spacing, len(spatial))

    def _squares(self, lengths: Sequence[float]) -> list[Square]:
        """The terms of the energy for voxels of these lengths."""
        raise NotImplementedError


class DiffusionLoss(SmoothnessLoss):
    """Squared first derivatives, ``sum_j (d u_i / d x_j)**2``, a value for each component ``i``.

    MONAI's loss of that name with its arguments and values, in a fraction of the time and memory, and with spacing and
    weight. ``reduction="none"`` gives (B, D, *(size - 2)).

    Args:
        normalize: measure in units of the image, which makes the value independent of its sampling.
        reduction: ``"mean"`` over components and voxels, ``"sum"`` or ``"none"``.
        spacing: distance of voxels in world units, one number or one for each axis; 1 when None.

    Raises:
        ValueError: for a spacing that is not positive or is given beside ``normalize``, or an unknown reduction.

    References:
        Fischer, Modersitzki, Fast diffusion registration, Contemporary Mathematics 313, 2002 (without their factor
        1/2); Balakrishnan et al., VoxelMorph, IEEE TMI 2019 (there with forward differences).

    Example:
        >>> import torch
        >>> rows = torch.arange(4.0).reshape(1, 1, 4, 1).expand(1, 1, 4, 5)
        >>> DiffusionLoss()(torch.cat([2 * rows, 0 * rows], dim=1))  # (2**2 + 0) / 2 components
        tensor(2.)
    """

    def _squares(self, lengths: Sequence[float]) -> list[Square]:
        return [
            Square(_derivative(i, [j], lengths), channel=i, channels=count)
            for i, count in _alike(lengths)
            for j in range(len(lengths))
        ]


class BendingEnergyLoss(SmoothnessLoss):
    """Squared second derivatives, ``sum_jk (d^2 u_i / d x_j d x_k)**2``, a value for each component ``i``.

    Zero for affine maps. MONAI's loss of that name with its arguments and values, in a fraction of the time and memory,
    and with spacing and weight. ``reduction="none"`` gives (B, D, *(size - 2)).

    Args:
        normalize: measure in units of the image, which makes the value independent of its sampling.
        reduction: ``"mean"`` over components and voxels, ``"sum"`` or ``"none"``.
        spacing: distance of voxels in world units, one number or one for each axis; 1 when None.

    Raises:
        ValueError: for a spacing that is not positive or is given beside ``normalize``, or an unknown reduction.

    References:
        Rueckert et al., Nonrigid registration using free-form deformations, IEEE TMI 1999, eq. 8, there integrated
        over a control point lattice (:class:`BSplineBendingLoss`).

    Example:
        >>> import torch
        >>> rows = torch.arange(4.0).reshape(1, 1, 4, 1).expand(1, 1, 4, 5)
        >>> BendingEnergyLoss()(torch.cat([rows**2, 0 * rows], dim=1))  # (2**2 + 0) / 2 components
        tensor(2.)
    """

    def _squares(self, lengths: Sequence[float]) -> list[Square]:
        axes = range(len(lengths))
        return [
            Square(_derivative(i, [j, k], lengths), 1.0 if j == k else 2.0, channel=i, channels=count)
            for i, count in _alike(lengths)
            for j in axes
            for k in axes[j:]
        ]


class CurvatureLoss(SmoothnessLoss):
    """Squared Laplacian, ``(sum_j d^2 u_i / d x_j^2)**2``, a value for each component ``i``.

    Zero for affine maps and, unlike the bending energy, for all harmonic ones. ``reduction="none"`` gives
    (B, D, *(size - 2)).

    Args:
        normalize: measure in units of the image, which makes the value independent of its sampling.
        reduction: ``"mean"`` over components and voxels, ``"sum"`` or ``"none"``.
        spacing: distance of voxels in world units, one number or one for each axis; 1 when None.

    Raises:
        ValueError: for a spacing that is not positive or is given beside ``normalize``, or an unknown reduction.

    References:
        Fischer, Modersitzki, Curvature based image registration, Journal of Mathematical Imaging and Vision 18, 2003
        (without their factor 1/2).
    """

    def _squares(self, lengths: Sequence[float]) -> list[Square]:
        return [
            Square(combined(_derivative(i, [j, j], lengths) for j in range(len(lengths))), channel=i, channels=count)
            for i, count in _alike(lengths)
        ]


class ElasticLoss(SmoothnessLoss):
    """Energy density of linear elasticity, ``mu * sum_ij e_ij**2 + lambda_ / 2 * (sum_i e_ii)**2``.

    ``e_ij = (d u_i / d x_j + d u_j / d x_i) / 2`` is the strain: zero for translations and small rotations. One value a
    voxel, for all components together: ``reduction="none"`` gives (B, 1, *(size - 2)).

    Args:
        mu: first Lame parameter of the penalty, the resistance to shear and to stretching.
        lambda_: second one, the resistance to a change of volume.
        reduction: ``"mean"`` over voxels, ``"sum"`` or ``"none"``.
        spacing: distance of voxels in world units, one number or one for each axis; 1 when None.

    Raises:
        ValueError: for a spacing or ``mu`` that is not positive, a negative ``lambda_``, or an unknown reduction.

    References:
        Broit, Optimal registration of deformed images, PhD thesis, University of Pennsylvania, 1981; Modersitzki,
        Numerical methods for image registration, Oxford 2004, chapter 9.
    """

    def __init__(
        self,
        mu: float = 1.0,
        lambda_: float = 0.0,
        *,
        reduction: LossReduction | str = LossReduction.MEAN,
        spacing: Spacing = None,
    ) -> None:
        super().__init__(reduction=reduction, spacing=spacing)
        check_positive("mu", mu)
        if not 0 <= lambda_ < float("inf"):
            raise ValueError(f"lambda_ is {lambda_}; expected a finite number of at least 0")
        self.mu, self.lambda_ = float(mu), float(lambda_)

    def _squares(self, lengths: Sequence[float]) -> list[Square]:
        stretches = [_derivative(i, [i], lengths) for i in range(len(lengths))]
        shears = [
            combined([_derivative(i, [j], lengths), _derivative(j, [i], lengths)])
            for i, j in combinations(range(len(lengths)), 2)
        ]
        squares = [Square(stretch, self.mu) for stretch in stretches]
        squares += [Square(shear, self.mu / 2) for shear in shears]  # e_ij and e_ji, each half of the sum
        return [*squares, Square(combined(stretches), self.lambda_ / 2)] if self.lambda_ else squares


def _derivative(component: int, axes: Sequence[int], lengths: Sequence[float]) -> dict[tuple[int, ...], float]:
    """Stencil of the derivative along each of ``axes`` of one component, in world units."""
    orders = [axes.count(axis) for axis in range(len(lengths))]
    factor = lengths[component]
    for axis in axes:
        factor /= lengths[axis]
    return difference(component, orders, factor)


def _away_from_hidden(weight: Tensor) -> Tensor:
    """The inner part (B, 1, *(size - 2)) of a weight, 0 wherever one of the 3^D voxels around is 0."""
    seen, inner = weight > 0, weight
    for axis in range(2, weight.ndim):
        length = weight.shape[axis] - 2
        inner = inner.narrow(axis, 1, length)
        before, at, after = (seen.narrow(axis, start, length) for start in range(3))
        seen = before & at & after
    return inner * seen


def _alike(lengths: Sequence[float]) -> Iterator[tuple[int, int]]:
    """First and number of the components that share their stencils: all where voxels are isotropic, else each alone."""
    if len(set(lengths)) == 1:
        yield 0, len(lengths)
    else:
        yield from ((component, 1) for component in range(len(lengths)))
