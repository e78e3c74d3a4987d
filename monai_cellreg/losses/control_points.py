"""Smoothness of spline maps, in closed form from their control points: no field is made, and no voxel is read."""

from __future__ import annotations

from itertools import combinations_with_replacement
from math import pi

import numpy as np
import torch
from monai.utils import LossReduction
from torch import Tensor, nn

from ..geometry import SamplingGrid
from ..geometry.bspline_kernel import spline_matrix
from ..geometry.bspline_lattice import check_control_shape
from ..geometry.separable import apply_separable
from ..geometry.tps import kernel_sign, spline_system
from ..utils import check_finite, format_shape
from .ddf import is_finite
from .reduction import check_reduction
from .tensors import plain

NODES, NODE_WEIGHTS = np.polynomial.legendre.leggauss(4)  # exact for products of two cubic pieces


class _ControlPointLoss(nn.Module):
    """Reduces energies of components to a loss."""

    def __init__(self, reduction: LossReduction | str) -> None:
        super().__init__()
        self.reduction = check_reduction(reduction)

    def _reduced(self, energy: Tensor, parameters: Tensor, name: str) -> Tensor:
        """Energies (B, D) as ``reduction`` says; the parameters they are of have to be finite."""
        if not is_finite(energy):
            check_finite(name, parameters)
        energy = energy.to(torch.promote_types(parameters.dtype, torch.float32))
        return energy if self.reduction == "none" else getattr(energy, self.reduction)()


class _BSplineEnergyLoss(_ControlPointLoss):
    """Mean of squared derivatives of a B-spline over its valid region; a subclass says of which order.

    Args:
        lattice: where the control points lie, on axes at right angles.
        order: of the spline, 1, 2 or 3, at least that of the derivative.
        reduction: ``"mean"`` over batch and components, ``"sum"`` or ``"none"``, which gives (B, D).

    Raises:
        ValueError: for an order that is too low, a lattice that is too small or oblique, or an unknown reduction.
    """

    derivative: int

    def __init__(
        self, lattice: SamplingGrid, *, order: int = 3, reduction: LossReduction | str = LossReduction.MEAN
    ) -> None:
        super().__init__(reduction)
        check_control_shape(lattice.shape, order)
        if order < self.derivative:
            raise ValueError(
                f"order is {order}, whose derivatives of order {self.derivative} are not square integrable; expected "
                f"{self.derivative} or more"
            )
        linear = lattice.affine[:-1, :-1] / lattice.spacing
        if np.abs(linear.T @ linear - np.eye(lattice.spatial_dims)).max() > 1e-6:
            raise ValueError(
                f"lattice has the affine {lattice.affine.tolist()}, whose axes are not at right angles; expected a "
                "lattice that is turned and scaled, but not sheared"
            )
        self.lattice, self.order = lattice, order
        for degree in range(self.derivative + 1):
            for axis, (size, length) in enumerate(zip(lattice.shape, lattice.spacing, strict=True)):
                factor = _root_mean_square(size, order, degree) / length**degree
                self.register_buffer(f"factor_{degree}_{axis}", factor, persistent=False)

    def forward(self, coefficients: Tensor) -> Tensor:
        """The energy of a spline.

        Args:
            coefficients: (B, D, *lattice.shape) in units of the lattice's world; computed in float64.

        Returns:
            Scalar, or (B, D) for the reduction ``"none"``.

        Raises:
            ValueError: when the coefficients do not fit the lattice or are not finite.
        """
        dims = self.lattice.spatial_dims
        self.lattice.check_fits("coefficients", coefficients, "B", dims)
        values = plain(coefficients, torch.float64)
        energy = values.new_zeros(values.shape[:2])
        for axes in combinations_with_replacement(range(dims), self.derivative):
            matrices = [self.get_buffer(f"factor_{axes.count(axis)}_{axis}").double() for axis in range(dims)]
            times = 1 if len(set(axes)) == 1 else 2  # d_jk and d_kj
            energy = energy + times * apply_separable(values, matrices).square().flatten(2).sum(2)
        return self._reduced(energy, coefficients, "coefficients")


class BSplineDiffusionLoss(_BSplineEnergyLoss):
    """Squared first derivatives of a B-spline map, ``sum_j (d u_i / d x_j)**2``, averaged over its valid region.

    The mean is exact, by products of one matrix an axis; :class:`DiffusionLoss` comes close to it on fine voxels. Takes
    the coefficients of a :class:`~monai_cellreg.geometry.BSplineTransform`, or the parameters of a
    :class:`~monai_cellreg.geometry.BSplineField`, whose lattice is in units of the cube.

    Args:
        lattice: where the control points lie, on axes at right angles.
        order: of the spline, 1, 2 or 3.
        reduction: ``"mean"`` over batch and components, ``"sum"`` or ``"none"``, which gives (B, D).

    Raises:
        ValueError: for a lattice that is too small or oblique, or an unknown order or reduction.

    References:
        Shackleford et al., Analytic regularization of uniform cubic B-spline deformation fields, MICCAI 2012.
    """

    derivative = 1


class BSplineBendingLoss(_BSplineEnergyLoss):
    """Squared second derivatives of a B-spline map, ``sum_jk (d^2 u_i / d x_j d x_k)**2``, averaged likewise.

    Exact as :class:`BSplineDiffusionLoss` is; :class:`BendingEnergyLoss` comes close to it on fine voxels.

    Args:
        lattice: where the control points lie, on axes at right angles.
        order: of the spline, 2 or 3.
        reduction: ``"mean"`` over batch and components, ``"sum"`` or ``"none"``, which gives (B, D).

    Raises:
        ValueError: for a lattice that is too small or oblique, or an unknown order or reduction.

    References:
        Rueckert et al., Nonrigid registration using free-form deformations, IEEE TMI 1999, eq. 8; Shackleford et al.,
        Analytic regularization of uniform cubic B-spline deformation fields, MICCAI 2012.

    Example:
        >>> from monai_cellreg.geometry import BSplineField
        >>> field = BSplineField((64, 48), control_spacing=16)
        >>> loss = BSplineBendingLoss(field.lattice, order=field.order)
        >>> loss(torch.ones(1, *field.parameter_shape)).abs() < 1e-12  # a translation does not bend
        tensor(True)
    """

    derivative = 2


class ThinPlateSplineBendingLoss(_ControlPointLoss):
    """Bending energy of a thin-plate spline over all of space, ``8 pi w^T K w``, from the values at its control points.

    ``integral sum_jk (d^2 u_i / d x_j d x_k)**2 dx`` of the interpolating spline, with the coefficients ``w`` of its
    kernel ``K`` (``r^2 log r`` in 2D, ``-r`` in 3D); zero for affine maps. Takes the parameters of a
    :class:`~monai_cellreg.geometry.ThinPlateSplineField`, or ``targets - control_points`` of a
    :class:`~monai_cellreg.geometry.ThinPlateSplineTransform`, in the units of its control points.

    Args:
        control_points: (K, D).
        reduction: ``"mean"`` over batch and components, ``"sum"`` or ``"none"``, which gives (B, D).

    Raises:
        ValueError: when the control points do not span the space, or for an unknown reduction.

    References:
        Bookstein, Principal warps: thin-plate splines and the decomposition of deformations, IEEE TPAMI 1989 (the
        bending energy matrix, without its factor); Wahba, Spline models for observational data, SIAM 1990, section 2.4.
    """

    matrix: Tensor  # (K, K), float64

    def __init__(self, control_points: Tensor, *, reduction: LossReduction | str = LossReduction.MEAN) -> None:
        super().__init__(reduction)
        if control_points.ndim != 2 or control_points.shape[1] not in (2, 3):
            raise ValueError(
                f"control_points has shape {format_shape(control_points.shape)}; expected (K, D) with D of 2 or 3"
            )
        count, dims = control_points.shape
        points = control_points.detach().double() - control_points.detach().double().mean(0)
        scale = points.abs().max().clamp_min(torch.finfo(torch.float64).tiny)  # for a system of good condition
        kernel_part = spline_system((points / scale)[None])[0, :count] * kernel_sign(dims)
        matrix = 8 * pi * kernel_part * scale ** (dims - 4)  # two squared second derivatives, and a volume
        self.register_buffer("matrix", matrix, persistent=False)

    def forward(self, displacement: Tensor) -> Tensor:
        """The energy of the spline that takes given values.

        Args:
            displacement: (B, K, D) at the control points; computed in float64.

        Returns:
            Scalar, or (B, D) for the reduction ``"none"``.

        Raises:
            ValueError: for another shape, or values that are not finite.
        """
        count = self.matrix.shape[0]
        if displacement.ndim != 3 or displacement.shape[1] != count:
            raise ValueError(
                f"displacement has shape {format_shape(displacement.shape)}, expected (B, {count}, D), one vector for "
                f"each of the {count} control points"
            )
        values = plain(displacement, torch.float64)
        energy = (values * (self.matrix.double() @ values)).sum(1)
        return self._reduced(energy, displacement, "displacement")


def _root_mean_square(size: int, order: int, derivative: int) -> Tensor:
    """A matrix whose product with coefficients of one axis has the squared derivative's mean as squared length.

    The mean is over the valid region, the derivative in steps of the lattice. The derivative of a spline is a spline of
    one order less, of the differences of its coefficients.

    Returns:
        (size, size) or smaller, float64.
    """
    cells, left = size - order, order - derivative
    difference = torch.eye(size, dtype=torch.float64).diff(n=derivative, dim=0)  # (size - derivative, size)
    if left == 0:  # constant on each cell
        return difference / cells**0.5
    offset = torch.as_tensor((NODES + 1) / 2 + (left - 1) / 2)
    index = (torch.arange(cells, dtype=torch.float64)[:, None] + offset).flatten()
    values = spline_matrix(index, size - derivative, left) @ difference  # at the nodes of all cells
    weights = torch.as_tensor(NODE_WEIGHTS / 2).repeat(cells) / cells
    return torch.linalg.qr(weights.sqrt()[:, None] * values, mode="r").R  # as short, and of no more rows than columns
