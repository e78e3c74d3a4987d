"""Outlines under a map: their edges bend, so points are put on them first."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..utils import check_finite, check_positive, format_shape
from .transform import SpatialTransform

DEFAULT_PIECES = 100  # edges that the extent of an outline is divided into when nobody says how long they may be


def map_polygon(
    transform: SpatialTransform,
    vertices: Tensor | np.ndarray,
    *,
    closed: bool = True,
    max_edge: float | None = None,
) -> Tensor | np.ndarray:
    """The outline of a mapped polygon, or a mapped polyline, with enough vertices to follow its bent edges.

    Convention: as every :class:`SpatialTransform`, a registration takes fixed world points to moving ones; an outline
    in the moving image is brought to the fixed one by ``transform.inverse()``.

    Args:
        transform: the map.
        vertices: (N, D) world points in order, array or tensor; the first one is not repeated at the end.
        closed: whether an edge leads from the last vertex to the first.
        max_edge: largest length of an edge before the map, in world units: longer ones are divided into equal parts; a
            hundredth of the outline's diagonal when omitted.

    Returns:
        (M, D) mapped points with M >= N, among them the mapped vertices, of the kind and precision that
        :meth:`SpatialTransform.points` gives; (B, M, D) when the transform holds several maps.

    Raises:
        ValueError: when the vertices have another shape or are not finite, or ``max_edge`` is not positive.

    Example:
        >>> from monai_cellreg.geometry import AffineTransform
        >>> shift = AffineTransform(np.array([[1, 0, 10], [0, 1, 0]]))
        >>> map_polygon(shift, np.array([[0.0, 0], [0, 4]]), closed=False, max_edge=2)
        array([[10.,  0.],
               [10.,  2.],
               [10.,  4.]])
    """
    dims = transform.spatial_dims
    if vertices.ndim != 2 or vertices.shape[0] < 2 or vertices.shape[1] != dims:
        raise ValueError(
            f"vertices has shape {format_shape(vertices.shape)}; expected (N, {dims}), N of 2 or more. Map the "
            "outlines one by one"
        )
    check_finite("vertices", vertices)
    corners = torch.as_tensor(np.array(vertices)) if isinstance(vertices, np.ndarray) else vertices
    corners = corners.to(torch.promote_types(corners.dtype, torch.float32))
    if max_edge is None:
        diagonal = float((corners.amax(dim=0) - corners.amin(dim=0)).norm())
        max_edge = diagonal / DEFAULT_PIECES or 1.0
    check_positive("max_edge", max_edge)
    outline = _divided(corners, max_edge, closed=closed)
    return transform.points(outline.numpy() if isinstance(vertices, np.ndarray) else outline)


def _divided(vertices: Tensor, max_edge: float, *, closed: bool) -> Tensor:
    """Vertices (N, D) with further ones (M, D) on every edge that is longer than ``max_edge``."""
    starts = vertices if closed else vertices[:-1]
    edges = (vertices.roll(-1, dims=0) if closed else vertices[1:]) - starts
    pieces = (edges.detach().norm(dim=-1) / max_edge).ceil().clamp_min(1).long()
    edge = torch.arange(len(edges), device=vertices.device).repeat_interleave(pieces)
    before = (pieces.cumsum(0) - pieces)[edge]  # points on earlier edges
    step = torch.arange(len(edge), device=vertices.device) - before
    share = step.to(vertices.dtype) / pieces[edge]  # whole numbers would be divided in float32
    points = starts[edge] + share[:, None] * edges[edge]
    return points if closed else torch.cat([points, vertices[-1:]])
