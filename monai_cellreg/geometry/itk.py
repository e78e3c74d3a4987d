"""Exchange of maps with ITK in memory: the only place that knows LPS and the order x, y(, z).

Convention: ITK's transforms map fixed to moving points as ours do; only the axes differ. For frame ``"index"``, ITK's x
is the last tensor axis (as ITK reads PNG and TIFF), so components are reversed. For frame ``"RAS"``, tensor axes are
x, y(, z) as in NIfTI, and ITK's LPS negates the first two components.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeGuard

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from ..utils import check_choice, check_finite, check_spatial, format_shape
from .affine import AffineTransform
from .bspline import BSplineTransform
from .dense import DenseTransform
from .grid import FRAMES, SamplingGrid
from .transform import CompositeTransform, SpatialTransform, compose
from .velocity import VelocityTransform

if TYPE_CHECKING:
    import SimpleITK

Exact = AffineTransform | BSplineTransform | DenseTransform  # what ITK holds as it is


@torch.no_grad()
def to_itk(transform: SpatialTransform, grid: SamplingGrid, *, index: int = 0) -> SimpleITK.Transform:
    """A map as an ITK transform: exactly where ITK has its family, otherwise as displacements at the voxels of a grid.

    Exact are affine maps, B-splines, dense displacements and the flows of velocities on their own grids, and chains of
    these. In other chains, all maps up to the last one of another family become one field at the voxels of ``grid``;
    those after it stay exact.

    ITK displaces nothing outside a field or the valid region of a B-spline, where ours continue from the border; exact
    is meant inside. A B-spline gets one more control point at each end, so that no voxel on its border falls outside by
    rounding; read back, it is another map beyond the border of the first.

    Args:
        transform: fixed world points to moving world points.
        grid: the fixed grid; its frame says what the world axes mean.
        index: which of the transform's B maps.

    Raises:
        ValueError: when map and grid differ in dimension, there is no such map, values are not finite, or displacements
            would have to lie on a sheared grid.

    Example:
        >>> shift = AffineTransform(np.array([[1, 0, 5], [0, 1, -2]]))  # five rows down, two columns to the left
        >>> to_itk(shift, SamplingGrid((20, 30))).TransformPoint((10, 0))
        (8.0, 5.0)
    """
    import SimpleITK as sitk

    check_spatial(grid.shape, transform.spatial_dims, "grid")
    parts = _exact_parts(transform, grid)
    _check_index(index, parts)
    converted = [_part_to_itk(part, grid.frame, index) for part in parts]
    return converted[0] if len(parts) == 1 else sitk.CompositeTransform(converted[::-1])  # the last is applied first


def from_itk(transform: SimpleITK.Transform, frame: str) -> SpatialTransform:
    """The map of an ITK transform: of any affine kind, a B-spline, a displacement field, or a composite of these.

    Outside a displacement field, or the valid region of a B-spline, our map continues from the border, where ITK's is
    the identity.

    Args:
        transform: in ITK's physical space.
        frame: ``"index"`` or ``"RAS"``: the world that the map is to act on.

    Raises:
        ValueError: for a B-spline of order 0, a field without voxels, a composite of 2D and 3D transforms, or an
            unknown frame.
    """
    import SimpleITK as sitk

    dims, kind = transform.GetDimension(), transform.Downcast()
    if isinstance(kind, sitk.CompositeTransform):
        parts = [kind.GetNthTransform(n) for n in reversed(range(kind.GetNumberOfTransforms()))]  # last added first
        if not transform.IsLinear() or any(part.GetDimension() != dims for part in parts):
            return compose([from_itk(part, frame) for part in parts])
    if transform.IsLinear():
        origin, axes = (0.0,) * dims, physical_axes(frame, dims)
        columns = [transform.TransformVector(axis, origin) for axis in np.eye(dims).tolist()]
        linear, shift = np.transpose(columns), np.array(transform.TransformPoint(origin))
        return AffineTransform(np.column_stack([axes @ linear @ axes, axes @ shift]))
    if isinstance(kind, sitk.BSplineTransform):
        coefficients, lattice = _vectors(sitk.Compose(kind.GetCoefficientImages()), frame)
        return BSplineTransform(coefficients, lattice, order=kind.GetOrder())
    field = sitk.DisplacementFieldTransform(transform)  # keeps the memory of its image, which is only lent
    return field_from_itk(field.GetDisplacementField(), frame)


@torch.no_grad()
def field_to_itk(transform: SpatialTransform, grid: SamplingGrid, *, index: int = 0) -> SimpleITK.Image:
    """Displacements at the voxels of a grid as an image of float64 vectors; see :func:`to_itk` for the arguments."""
    check_spatial(grid.shape, transform.spatial_dims, "grid")
    sampled = _sampled(transform, grid)
    _check_index(index, [sampled])
    return _vector_image(_values(sampled, index), grid, grid.frame)


def field_from_itk(image: SimpleITK.Image, frame: str) -> DenseTransform:
    """The map of an image of displacement vectors.

    Raises:
        ValueError: when the image has no voxels, or not as many components as axes.
    """
    dims, components = image.GetDimension(), image.GetNumberOfComponentsPerPixel()
    if components != dims or dims not in (2, 3) or 0 in image.GetSize():
        raise ValueError(
            f"image has size {format_shape(image.GetSize())} with {components} values a voxel; expected displacement "
            "vectors, two values in 2D and three in 3D. Choose the file of the field, or copy it anew"
        )
    return DenseTransform(*_vectors(image, frame))


def image_to_itk(image: Tensor, grid: SamplingGrid) -> SimpleITK.Image:
    """An image of one channel as ITK's, at the same place in physical space.

    Args:
        image: (1, *grid.shape), on any device.
        grid: where it lies.

    Returns:
        A copy, in the type of ``image``.

    Raises:
        ValueError: for another shape, or a sheared grid, which ITK's images cannot lie on.

    Example:
        >>> image = image_to_itk(torch.arange(6.0).reshape(1, 2, 3), SamplingGrid((2, 3)))
        >>> image.GetSize(), image[2, 1]
        ((3, 2), 5.0)
    """
    grid.check_fits("image", image, 1)
    _check_right_angles(grid)
    return _on_grid(image.detach().cpu().movedim(0, -1).numpy(), grid, grid.frame)


def physical_axes(frame: str, dims: int) -> np.ndarray:
    """Matrix (D, D) between world components and ITK's physical x, y(, z); its own inverse."""
    check_choice("frame", frame, FRAMES)
    return np.eye(dims)[::-1] if frame == "index" else np.diag([-1.0, -1.0, 1.0][:dims])


def _exact_parts(transform: SpatialTransform, grid: SamplingGrid) -> list[Exact]:
    """A chain as maps that ITK has: up to the last one that it has not, one field at the voxels of the grid.

    That one alone could not be sampled: the points that reach it need not lie on the grid.
    """
    parts = transform.transforms if isinstance(transform, CompositeTransform) else (transform,)
    kept: list[Exact] = []
    for count in range(len(parts), 0, -1):
        part = parts[count - 1]
        if isinstance(part, VelocityTransform):
            part = DenseTransform(part.flow(), part.grid)  # its flow is linear between the voxels
        if not _is_exact(part):
            return [_sampled(compose(parts[:count]), grid), *kept]
        kept.insert(0, part)
    return kept


def _is_exact(part: SpatialTransform) -> TypeGuard[Exact]:
    if isinstance(part, BSplineTransform | DenseTransform):
        return _has_right_angles(part.lattice if isinstance(part, BSplineTransform) else part.grid)
    return isinstance(part, AffineTransform)


def _has_right_angles(grid: SamplingGrid) -> bool:
    direction = grid.affine[:-1, :-1] / np.array(grid.spacing)
    return np.allclose(direction.T @ direction, np.eye(grid.spatial_dims), atol=1e-4)


def _check_right_angles(grid: SamplingGrid) -> None:
    if not _has_right_angles(grid):
        raise ValueError(
            f"grid is sheared (affine {grid.affine.tolist()}); expected axes at right angles, as ITK's images and "
            "displacement fields need them. Give a grid without shear over the same region"
        )


def _sampled(transform: SpatialTransform, grid: SamplingGrid) -> DenseTransform:
    """A map by its displacements at the voxels of a grid."""
    _check_right_angles(grid)
    return DenseTransform(transform.displacement(grid), grid)


def _parameters(part: Exact) -> Tensor:
    """The tensor of a part, of which the first axis counts its maps."""
    if isinstance(part, AffineTransform):
        return part.matrix
    return part.coefficients if isinstance(part, BSplineTransform) else part.field


def _check_index(index: int, parts: list[Exact]) -> None:
    batch = max(_parameters(part).shape[0] for part in parts)
    if not 0 <= index < batch:
        raise ValueError(f"index is {index} but the transform holds {batch} maps, counted from 0; choose one")


def _values(part: Exact, index: int) -> np.ndarray:
    """The parameters of one of the maps of a part; a single map serves every index."""
    maps = _parameters(part)
    values = maps[min(index, maps.shape[0] - 1)].detach().cpu().double().numpy()
    check_finite("transform", values)
    return values


def _part_to_itk(part: Exact, frame: str, index: int) -> SimpleITK.Transform:
    import SimpleITK as sitk

    values = _values(part, index)
    if isinstance(part, AffineTransform):
        axes = physical_axes(frame, part.spatial_dims)
        affine = sitk.AffineTransform(part.spatial_dims)
        affine.SetMatrix((axes @ values[:, :-1] @ axes).ravel().tolist())
        affine.SetTranslation((axes @ values[:, -1]).tolist())
        return affine
    if isinstance(part, DenseTransform):
        return sitk.DisplacementFieldTransform(_vector_image(values, part.grid, frame))
    widened = np.pad(values, [(0, 0)] + [(1, 1)] * part.spatial_dims, mode="edge")
    image = _vector_image(widened, _widened(part.lattice), frame)
    components = [sitk.VectorIndexSelectionCast(image, k) for k in range(part.spatial_dims)]
    return sitk.BSplineTransform(components, part.order)


def _widened(lattice: SamplingGrid) -> SamplingGrid:
    """A lattice with one more point at each end of every axis."""
    step = np.eye(lattice.spatial_dims + 1)
    step[:-1, -1] = -1
    return SamplingGrid(tuple(n + 2 for n in lattice.shape), lattice.affine @ step, lattice.frame, lattice.unit)


def _vector_image(values: np.ndarray, grid: SamplingGrid, frame: str) -> SimpleITK.Image:
    """Vectors (D, *grid.shape) in world units as an image that lies on the grid."""
    return _on_grid(np.moveaxis(values, 0, -1) @ physical_axes(frame, grid.spatial_dims), grid, frame)


def _on_grid(values: np.ndarray, grid: SamplingGrid, frame: str) -> SimpleITK.Image:
    """Values (*grid.shape, C) as an image that lies on the grid; one of scalars where C is 1."""
    import SimpleITK as sitk

    axes = physical_axes(frame, grid.spatial_dims)
    linear = axes @ _reordered_columns(grid.affine[:-1, :-1], frame)
    spacing = np.linalg.norm(linear, axis=0)
    voxels = _reordered_voxels(values, frame)
    is_vector = values.shape[-1] > 1
    image = sitk.GetImageFromArray(voxels if is_vector else voxels[..., 0], isVector=is_vector)
    image.SetOrigin((axes @ grid.affine[:-1, -1]).tolist())
    image.SetSpacing(spacing.tolist())
    image.SetDirection((linear / spacing).ravel().tolist())
    return image


def _vectors(image: SimpleITK.Image, frame: str) -> tuple[Tensor, SamplingGrid]:
    """Vectors (1, D, *shape) in world units, float64, of an image, and the grid that they lie on."""
    import SimpleITK as sitk

    dims = image.GetDimension()
    axes = physical_axes(frame, dims)
    linear = np.reshape(image.GetDirection(), (dims, dims)) * image.GetSpacing()
    affine = np.eye(dims + 1)
    affine[:-1, :-1] = axes @ _reordered_columns(linear, frame)
    affine[:-1, -1] = axes @ image.GetOrigin()
    vectors = _reordered_voxels(sitk.GetArrayFromImage(image).astype(np.float64), frame) @ axes
    return torch.from_numpy(np.moveaxis(vectors, -1, 0)[None]), SamplingGrid(vectors.shape[:-1], affine, frame)


def _reordered_columns(linear: np.ndarray, frame: str) -> np.ndarray:
    """Columns of an affine between the order of tensor axes and ITK's axes x, y(, z)."""
    return linear[:, ::-1] if frame == "index" else linear


def _reordered_voxels(values: np.ndarray, frame: str) -> np.ndarray:
    """Values (*spatial, C) between the order of tensor axes and that of SimpleITK's arrays, which is (z,) y, x."""
    if frame == "index":
        return values
    return rearrange(values, "x y c -> y x c" if values.ndim == 3 else "x y z c -> z y x c")
