"""The map that a registration answers: with the grids it was found on, and a way into a file."""

from __future__ import annotations

import os

from .grid import SamplingGrid
from .transform import CompositeTransform, SpatialTransform
from .transform_files import write_transform


class RegisteredTransform(CompositeTransform):
    """A chain that knows the images it belongs to.

    Args:
        transform: fixed world points to moving world points.
        fixed_grid: grid of the fixed image.
        moving_grid: grid of the moving image.

    Example:
        >>> from monai_cellreg.geometry import AffineTransform
        >>> grid = SamplingGrid((6, 8))
        >>> found = RegisteredTransform(AffineTransform.translation([1.0, -2.0]), grid, grid)
        >>> found.inverse().points(grid.world()[0, 0, None])
        tensor([[-1.,  2.]], dtype=torch.float64)
    """

    def __init__(self, transform: SpatialTransform, fixed_grid: SamplingGrid, moving_grid: SamplingGrid) -> None:
        super().__init__(transform.transforms if isinstance(transform, CompositeTransform) else [transform])
        self.fixed_grid, self.moving_grid = fixed_grid, moving_grid

    def inverse(self) -> RegisteredTransform:
        """The map from moving to fixed points, which belongs to the same images in the other order."""
        return RegisteredTransform(super().inverse(), self.moving_grid, self.fixed_grid)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the map to a file that ITK, SimpleITK, ANTs and 3D Slicer open; see :func:`write_transform`."""
        write_transform(path, self, self.fixed_grid)
