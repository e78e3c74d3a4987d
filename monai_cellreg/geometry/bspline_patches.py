"""B-splines whose control points are the centres of patches: the head of fully convolutional networks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..utils import check_choice, check_positive
from .bspline import BSplineTransform
from .bspline_kernel import ORDERS
from .bspline_lattice import axis_matrices
from .grid import SamplingGrid
from .separable import SeparableField, apply_separable


class PatchBSplineField(SeparableField):
    """Displacements of the centres of patches to a voxel displacement field, by one small matrix an axis.

    A network that halves the resolution n times gives one answer a patch of ``2**n`` voxels; here each stays where it
    was seen, whatever the size of the image. (:class:`BSplineField` spreads its lattice over the image instead.) Beyond
    the outermost centres the displacements go on as they are there, by rings of control points with the same value.

    Convention: displacements on the cube [-1, 1]^D of the image (see :attr:`SamplingGrid.cube_to_world`), components in
    tensor-axis order; zeros are the identity. Patches are laid from index 0; the last one may end outside the image.

    Args:
        spatial_size: image size, D axes.
        patch_size: side of a patch in voxels.
        order: 1, 2 or 3.

    Raises:
        ValueError: for a patch without voxels, or another order.

    Example:
        >>> PatchBSplineField((256, 208), 16).parameter_shape
        (2, 16, 13)
    """

    def __init__(self, spatial_size: Sequence[int], patch_size: int, *, order: int = 3) -> None:
        check_positive("patch_size", patch_size)
        check_choice("order", order, ORDERS)
        grid = SamplingGrid(tuple(spatial_size))
        patches = tuple(math.ceil(size / patch_size) for size in grid.shape)
        rings = math.ceil(order / 2)  # as many as the spline of a border voxel reads
        to_index = np.diag([*[float(patch_size)] * grid.spatial_dims, 1.0])
        to_index[:-1, -1] = (patch_size - 1) / 2 - rings * patch_size
        lattice = SamplingGrid(tuple(n + 2 * rings for n in patches), to_index)
        repeats = [_repeats(n, rings) for n in patches]
        matrices = axis_matrices(grid, lattice, order) or []
        super().__init__(grid, [matrix @ repeat for matrix, repeat in zip(matrices, repeats, strict=True)])
        self.order, self._repeats = order, repeats
        self.lattice = SamplingGrid(lattice.shape, np.linalg.inv(grid.cube_to_world) @ lattice.affine)
        self.parameter_shape = (grid.spatial_dims, *patches)

    def forward(self, parameters: Tensor) -> Tensor:
        """(B, D, *patches) displacements of the patches to a voxel field (B, D, *spatial_size)."""
        return self.voxel_field(parameters)

    def transform(self, parameters: Tensor) -> BSplineTransform:
        """The map of the cube [-1, 1]^D that the displacements (B, D, *patches) mean."""
        repeats = [repeat.to(parameters.device) for repeat in self._repeats]
        return BSplineTransform(apply_separable(parameters.double(), repeats), self.lattice, order=self.order)


def _repeats(patches: int, rings: int) -> Tensor:
    """Matrix (control points, patches) of an axis: the control points outside take the outermost patch."""
    nearest = torch.arange(-rings, patches + rings).clamp(0, patches - 1)
    return torch.eye(patches, dtype=torch.float64)[nearest]
