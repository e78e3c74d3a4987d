"""Scores of a registration that lies in files."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from monai.data import MetaTensor

from ..data.readers import read_grid, read_label
from ..geometry import SamplingGrid, SpatialTransform, read_transform, resample_image
from ..metrics import image_diagonal
from ..utils import check_choice
from .evaluate import Evaluation, label_scores, landmark_scores, map_scores
from .json_files import write_json
from .pixel_size import in_one_unit
from .point_files import COORDINATES, read_landmarks

__all__ = ["EvaluationFiles", "evaluate_files"]

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class EvaluationFiles:
    """What there is of a registration.

    Args:
        fixed: the fixed image: where the map is looked at, where pixel coordinates lie, and the diagonal for rTRE.
        moving: the moving image, for the pixel coordinates of its landmarks.
        fixed_label: labels of the fixed image.
        warped_label: labels of the moving image that lie on the fixed image already.
        moving_label: labels of the moving image, to be warped by the transform.
        fixed_points: table of landmarks of the fixed image.
        moving_points: table of landmarks of the moving image, row by row those of the fixed one.
        transform: fixed-to-moving map (see :func:`~monai_cellreg.geometry.read_transform`).
        coordinates: of the landmarks; see :class:`~monai_cellreg.methods.apply.ApplyOptions`.

    Raises:
        ValueError: when a file lacks its partner, or there is nothing to measure.
    """

    fixed: PathLike | None = None
    moving: PathLike | None = None
    fixed_label: PathLike | None = None
    warped_label: PathLike | None = None
    moving_label: PathLike | None = None
    fixed_points: PathLike | None = None
    moving_points: PathLike | None = None
    transform: PathLike | None = None
    coordinates: Literal["index", "corner", "world"] = "index"

    def __post_init__(self) -> None:
        check_choice("coordinates", self.coordinates, COORDINATES)
        if (self.fixed_points is None) != (self.moving_points is None):
            raise ValueError("landmarks are given of one image only; expected fixed_points and moving_points together")
        others = [name for name in ("warped_label", "moving_label") if getattr(self, name) is not None]
        if (self.fixed_label is not None) != (len(others) == 1) or (others == ["moving_label"] and not self.transform):
            given = [name for name in ("fixed_label", *others, "transform") if getattr(self, name) is not None]
            raise ValueError(
                f"labels cannot be compared by {', '.join(given)}; expected fixed_label with warped_label, or "
                "fixed_label with moving_label and transform"
            )
        has_grid = self.fixed is not None or self.fixed_label is not None
        if self.fixed_label is None and self.fixed_points is None and not (self.transform and has_grid):
            raise ValueError(
                "there is nothing to measure; expected labels, landmarks, or a transform with the fixed image that it "
                "belongs to"
            )


def evaluate_files(files: EvaluationFiles, *, out: PathLike | None = None) -> Evaluation:
    """Measures a registration by all that is known of it.

    Args:
        files: see :class:`EvaluationFiles`.
        out: JSON file to write the scores to.

    Returns:
        The scores; lengths are in the unit of the fixed image.

    Raises:
        ValueError: when files do not fit each other, or cannot be used.
        OSError: when a file is missing, or ``out`` cannot be written.
    """
    fixed_label = None if files.fixed_label is None else read_label(files.fixed_label)
    moving_label = None if files.moving_label is None else read_label(files.moving_label)
    fixed_grid, moving_grid = _grid_of(files.fixed, fixed_label), _grid_of(files.moving, moving_label)
    if fixed_grid and moving_grid:
        fixed_grid, moving_grid, _ = in_one_unit(fixed_grid, moving_grid)
        fixed_grid.check_same_world("fixed", moving_grid, "moving")
    fixed_label, moving_label = _placed(fixed_label, fixed_grid), _placed(moving_label, moving_grid)
    frame = next((grid.frame for grid in (fixed_grid, moving_grid) if grid), "index")
    transform = None if files.transform is None else read_transform(files.transform, frame)
    if transform and fixed_grid and transform.spatial_dims != fixed_grid.spatial_dims:
        raise ValueError(
            f"transform is {transform.spatial_dims}D but the fixed image {fixed_grid.spatial_dims}D; expected the "
            "same: give the transform that was found for these images"
        )
    found = Evaluation(
        labels={} if fixed_label is None else _labels(files, fixed_label, moving_label, transform),
        landmarks={} if files.fixed_points is None else _landmarks(files, fixed_grid, moving_grid, transform),
        transform=map_scores(transform, fixed_grid) if transform and fixed_grid else {},
    )
    if out is not None:
        write_json(out, {**asdict(found), "mean": found.mean})
    return found


def _grid_of(image: PathLike | None, label: MetaTensor | None) -> SamplingGrid | None:
    if image is not None:
        return read_grid(image)
    return None if label is None else SamplingGrid.from_image(label)


def _placed(label: MetaTensor | None, grid: SamplingGrid | None) -> MetaTensor | None:
    """Labels where their image lies, if they have its size: files of labels often lack the size of their pixels."""
    return grid.to_image(label) if label is not None and grid and tuple(label.shape[1:]) == grid.shape else label


def _labels(
    files: EvaluationFiles, fixed_label: MetaTensor, moving_label: MetaTensor | None, transform: SpatialTransform | None
) -> dict[int, dict[str, float]]:
    grid = SamplingGrid.from_image(fixed_label)
    if moving_label is not None and transform is not None:
        warped = resample_image(moving_label, transform, grid, mode="nearest")
    else:
        warped = read_label(files.warped_label)
        placed, on, _ = in_one_unit(SamplingGrid.from_image(warped), grid)
        if not placed.matches(on):
            raise ValueError(
                f"warped_label lies on another grid than fixed_label (shapes {tuple(warped.shape[1:])} and "
                f"{grid.shape}); expected the same voxels. Give moving_label and transform to have it warped"
            )
    return label_scores(fixed_label, warped, spacing=grid.spacing)


def _landmarks(
    files: EvaluationFiles, fixed: SamplingGrid | None, moving: SamplingGrid | None, transform: SpatialTransform | None
) -> dict[str, float]:
    if files.coordinates != "world" and (fixed is None) != (moving is None):
        grid = fixed or moving
        if not np.array_equal(grid.affine, np.eye(grid.spatial_dims + 1)):
            raise ValueError(
                f"{'fixed' if fixed else 'moving'} has pixels of {' x '.join(f'{s:g}' for s in grid.spacing)} "
                f"{grid.unit}; pixel coordinates of landmarks need both images. Give the other one, or "
                "coordinates='world'"
            )
    dims = next((x.spatial_dims for x in (transform, fixed, moving) if x), 2)
    points = [
        read_landmarks(path, grid, dims, files.coordinates)
        for path, grid in ((files.fixed_points, fixed), (files.moving_points, moving))
    ]
    diagonal = image_diagonal(fixed.shape, fixed.spacing) if fixed else None
    return landmark_scores(*points, transform, diagonal=diagonal)
