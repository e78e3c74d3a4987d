"""The page of one registration."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..utils import format_shape
from .deformation import jacobian_determinant, jacobian_scale
from .metric_table import metric_rows
from .pictures import Bytes, colour_overlay, display_range, luminance, to_display
from .planes import LAYERS, deformation_planes, image_planes, upright, upright_order
from .rendering import write_page
from .verdict import Verdict

__all__ = ["PairPage", "write_pair_page"]


@dataclass(frozen=True)
class PairPage:
    """What the page shows. All images lie on the grid of the fixed image.

    Convention: ``displacement_vox`` takes a voxel of the fixed image to the point that is read there, both in voxels of
    the *fixed* image, along the tensor axes; its determinant is then that of the map of world points.

    Args:
        fixed: fixed image (C, *spatial), one channel or three (red, green, blue).
        moving: moving image, before the registration: where the two images lie in the world (C, *spatial).
        warped: moving image, after the registration (C, *spatial).
        displacement_vox: displacement (D, *spatial).
        spacing: distance of voxel centres along each axis; 1 when omitted.
        unit: unit of the spacing and of lengths in ``metrics``.
        orientation: where the axes lead, such as ``"RAS"``, to show anatomy upright; empty to show rows and columns.
        title: heading of the page.
        verdict: stands at the top.
        metrics: figures by name; ``x_before`` and ``x_after`` share a line.
        parameters: what the registration was asked to do.
        account: what the method did and why, a sentence each.

    Raises:
        ValueError: if shapes do not fit, or an image has neither one nor three channels.
    """

    fixed: NDArray
    moving: NDArray
    warped: NDArray
    displacement_vox: NDArray[np.floating]
    spacing: Sequence[float] = ()
    unit: str = "px"
    orientation: str = ""
    title: str = "Registration"
    verdict: Verdict | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    parameters: Mapping[str, object] = field(default_factory=dict)
    account: Sequence[str] = ()

    def __post_init__(self) -> None:
        spatial = self.fixed.shape[1:]
        dims = len(spatial)
        if dims not in (2, 3):
            raise ValueError(
                f"fixed has shape {format_shape(self.fixed.shape)}, expected (C, H, W) or (C, D, H, W); add an axis"
            )
        for name in ("fixed", "moving", "warped", "displacement_vox"):
            value = getattr(self, name)
            wanted = (dims,) if name == "displacement_vox" else (1, 3)
            if value.ndim != dims + 1 or value.shape[1:] != spatial or value.shape[0] not in wanted:
                raise ValueError(
                    f"{name} has shape {format_shape(value.shape)}, expected {' or '.join(map(str, wanted))} channels "
                    f"on the grid of the fixed image, {format_shape(spatial)}; resample it to that grid"
                )
        object.__setattr__(self, "spacing", tuple(float(s) for s in self.spacing) or (1.0,) * dims)
        if len(self.spacing) != dims:
            raise ValueError(f"spacing is {self.spacing}, expected {dims} numbers, one an axis; give one for each axis")


def write_pair_page(path: str | os.PathLike[str], page: PairPage) -> None:
    """Writes the page as one HTML file that needs no network; it appears only when it is complete.

    Args:
        path: file to write, ending in ``.html``.
        page: what to show.

    Raises:
        ValueError: if ``path`` does not end in ``.html``.
    """
    write_page(path, "pair.html", _context(page))


def _context(page: PairPage) -> dict[str, Any]:
    fixed, moving, warped = (upright(x, page.orientation) for x in (page.fixed, page.moving, page.warped))
    displacement = upright(page.displacement_vox, page.orientation, vectors=True)
    spacing = [page.spacing[k] for k in upright_order(page.orientation, len(page.spacing))]
    determinant = jacobian_determinant(displacement)
    scale = jacobian_scale(determinant)
    anatomical = bool(page.orientation)
    return {
        "page": page,
        "planes": image_planes(_layers(fixed, moving, warped), spacing, anatomical=anatomical),
        "maps": deformation_planes(displacement, determinant, scale, spacing, anatomical=anatomical),
        "captions": LAYERS,
        "scale": scale,
        "folded": int((determinant <= 0).sum()),
        "voxels": determinant.size,
        "rows": metric_rows(page.metrics, page.unit),
    }


def _layers(fixed: NDArray, moving: NDArray, warped: NDArray) -> dict[str, Bytes]:
    """Bytes by layer: the moving image has one brightness before and after."""
    ranges = {"fixed": display_range(fixed), "moving": display_range(moving)}
    shown = {
        "fixed": to_display(fixed, ranges["fixed"]),
        "before": to_display(moving, ranges["moving"]),
        "after": to_display(warped, ranges["moving"]),
    }
    grey = [
        to_display(luminance(image)[None], ranges[name])
        for image, name in ((fixed, "fixed"), (moving, "moving"), (warped, "moving"))
    ]
    return {
        **shown,
        "overlay_before": colour_overlay(grey[0], grey[1]),
        "overlay_after": colour_overlay(grey[0], grey[2]),
    }
