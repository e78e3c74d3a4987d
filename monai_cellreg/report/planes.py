"""What a page shows of an image in 2D or 3D: planes with their layers, each a picture or a stack of slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import nibabel.orientations as nio
import numpy as np
from numpy.typing import NDArray

from .deformation import ColourScale, grid_lines, jacobian_levels, line_palette
from .pictures import Bytes, Mosaic, resized

__all__ = ["LAYERS", "Plane", "deformation_planes", "fitted", "image_planes", "plane_axes", "upright", "upright_order"]

LAYERS = {
    "fixed": "fixed",
    "before": "moving, before",
    "after": "moving, after",
    "overlay_before": "overlay before",
    "overlay_after": "overlay after",
}
LONGEST_2D, LONGEST_3D = 1200, 176  # pixels along the longer side of a picture
MOST_SLICES = 32
GRID_LONGEST_2D, GRID_LONGEST_3D, GRID_CELLS = 800, 320, 18
SMALL_SIDE = 100
UPRIGHT = "IPR"  # rows run down, then to the back; columns run to the right
ANATOMICAL = ("axial", "coronal", "sagittal")


@dataclass(frozen=True)
class Plane:
    """One picture, or the slices along one axis.

    Attributes:
        axis: axis that the slices are taken along; ``"all"`` for the picture of a 2D image.
        name: caption; empty for a 2D image.
        aspect: width over height in world units.
        slices: index of each slice in the volume.
        layers: pictures by name, one mosaic each, that lie on each other.
        note: what was reduced for the page, empty if nothing was.
    """

    axis: str
    name: str
    aspect: float
    slices: tuple[int, ...]
    layers: Mapping[str, Mosaic]
    note: str = ""

    @property
    def start(self) -> int:
        """Number of the slice shown first: the middle one."""
        return (len(self.slices) - 1) // 2

    @property
    def is_small(self) -> bool:
        """Whether the pixels are to be seen as squares when the page enlarges them."""
        return max(max(m.height, m.width) for m in self.layers.values()) < SMALL_SIDE


def upright(channels: NDArray, orientation: str, *, vectors: bool = False) -> NDArray:
    """An image as it is looked at: from the front and from above, the patient's left on the left.

    Args:
        channels: (C, *spatial).
        orientation: where each axis leads, such as ``"RAS"``; empty to leave the image as it is.
        vectors: the channels are components along the axes and turn with them.

    Returns:
        The image with axes and directions changed, no value computed; 3D axes lead down, to the back and to the right.
    """
    if not orientation:
        return channels
    turn = _turn(orientation)
    turned = np.moveaxis(nio.apply_orientation(np.moveaxis(channels, 0, -1), turn), -1, 0)
    if not vectors:
        return turned
    order = upright_order(orientation, channels.ndim - 1)
    signs = turn[order, 1].reshape(-1, *[1] * (channels.ndim - 1)).astype(channels.dtype)
    return turned[order] * signs


def upright_order(orientation: str, spatial_dims: int) -> list[int]:
    """The axis of the image that each axis of :func:`upright` comes from."""
    return np.argsort(_turn(orientation)[:, 0]).tolist() if orientation else list(range(spatial_dims))


def _turn(orientation: str) -> NDArray:
    """New axis and sign of each axis."""
    return nio.ornt_transform(nio.axcodes2ornt(orientation), nio.axcodes2ornt(UPRIGHT[-len(orientation) :]))


def plane_axes(spatial_dims: int) -> list[int]:
    """The axes to slice along, those of the largest index first shown last; none, written -1, in 2D."""
    return [-1] if spatial_dims == 2 else list(range(spatial_dims))


def image_planes(layers: Mapping[str, Bytes], spacing: Sequence[float], *, anatomical: bool) -> list[Plane]:
    """The planes of images on one grid.

    Args:
        layers: name to bytes, (*spatial) or (*spatial, 3).
        spacing: of the voxels along each axis, in world units.
        anatomical: the axes are those of :func:`upright`.
    """
    spatial = next(iter(layers.values())).shape[: len(spacing)]
    planes = []
    for axis in plane_axes(len(spacing)):
        slices, shape, sides = _cut(spatial, spacing, axis)
        size = fitted(shape, LONGEST_2D if axis < 0 else LONGEST_3D)
        mosaics = {name: Mosaic.of(resized(_slices(image, axis, slices), size)) for name, image in layers.items()}
        note = "" if size == shape else f"shown at {size[1]} × {size[0]} of {shape[1]} × {shape[0]} pixels"
        planes.append(Plane(_key(axis), _name(axis, anatomical), sides[1] / sides[0], tuple(slices), mosaics, note))
    return planes


def deformation_planes(
    displacement_vox: NDArray[np.floating],
    determinant: NDArray[np.floating],
    scale: ColourScale,
    spacing: Sequence[float],
    *,
    anatomical: bool,
) -> list[Plane]:
    """The planes of a map, with layers ``grid`` and ``jacobian``, cut as :func:`image_planes` cuts.

    Args:
        displacement_vox: (D, *spatial) in voxels.
        determinant: (*spatial), see :func:`~monai_cellreg.report.deformation.jacobian_determinant`.
        scale: colours of the determinant.
        spacing: of the voxels along each axis, in world units.
        anatomical: the axes are those of :func:`upright`.
    """
    spatial = determinant.shape
    step = max(n * s for n, s in zip(spatial, spacing, strict=True)) / GRID_CELLS
    planes = []
    for axis in plane_axes(len(spacing)):
        slices, shape, sides = _cut(spatial, spacing, axis)
        inside = [a for a in range(len(spacing)) if a != axis]
        scaled = fitted(shape, LONGEST_2D if axis < 0 else LONGEST_3D)
        shrunk = _keep_folds(_slices(determinant, axis, slices), scaled)
        fine = GRID_LONGEST_2D if axis < 0 else GRID_LONGEST_3D
        size = tuple(max(1, round(fine * side / max(sides))) for side in sides)
        field = np.stack([_slices(displacement_vox[a], axis, slices) for a in inside], axis=1)
        steps = (step / spacing[inside[0]], step / spacing[inside[1]])
        lines = np.stack([grid_lines(plane, steps, (size[0], size[1])) for plane in field])
        layers = {
            "grid": Mosaic.of(lines, palette=line_palette()),
            "jacobian": Mosaic.of(jacobian_levels(shrunk, scale), palette=scale.palette),
        }
        planes.append(Plane(_key(axis), _name(axis, anatomical), sides[1] / sides[0], tuple(slices), layers))
    return planes


def _cut(
    spatial: Sequence[int], spacing: Sequence[float], axis: int
) -> tuple[list[int], tuple[int, int], tuple[float, float]]:
    """Slices to show along an axis, and height and width of each in pixels and in world units."""
    rows, columns = (a for a in range(len(spacing)) if a != axis)
    count = 1 if axis < 0 else min(spatial[axis], MOST_SLICES)
    slices = [0] if axis < 0 else np.linspace(0, spatial[axis] - 1, count).round().astype(int).tolist()
    sides = (spatial[rows] * spacing[rows], spatial[columns] * spacing[columns])
    return slices, (spatial[rows], spatial[columns]), sides


def _slices(volume: NDArray, axis: int, slices: Sequence[int]) -> NDArray:
    """(N, H, W, ...) of a volume (*spatial, ...), or the picture alone as N = 1."""
    return volume[None] if axis < 0 else np.moveaxis(np.take(volume, slices, axis), axis, 0)


def fitted(shape: tuple[int, int], longest: int) -> tuple[int, int]:
    """The shape, made smaller where its longer side exceeds ``longest``."""
    ratio = min(1.0, longest / max(shape))
    return max(1, round(shape[0] * ratio)), max(1, round(shape[1] * ratio))


def _keep_folds(determinant: NDArray[np.floating], size: tuple[int, int]) -> NDArray[np.floating]:
    """Determinants (N, H, W) at a smaller size, where a pixel that covers a fold takes the lowest value it covers."""
    if determinant.shape[1:] == size:
        return determinant
    rows, columns = (np.arange(new) * old // new for old, new in zip(determinant.shape[1:], size, strict=True))
    covered = np.minimum.reduceat(np.minimum.reduceat(determinant, rows, axis=1), columns, axis=2)
    return np.where(covered <= 0, covered, determinant[:, rows][:, :, columns])


def _key(axis: int) -> str:
    return "all" if axis < 0 else str(axis)


def _name(axis: int, anatomical: bool) -> str:
    if axis < 0:
        return ""
    return ANATOMICAL[axis] if anatomical else f"along axis {axis}"
