"""What landmarks alone say of a pair: the map to start from, and how far a better one may miss them."""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot

import numpy as np
from torch import Tensor

from ...geometry import AffineTransform, Pair, SpatialTransform, fit_affine

IMPRECISE = 0.02  # of the moving image's diagonal, within which landmarks are not held against a map
IMPRECISE_IF_SURE = 0.05  # the same for a map of which the images speak clearly


@dataclass(frozen=True)
class LandmarkFit:
    """The map that landmarks alone give.

    Args:
        fixed: (N, D) world points.
        moving: (N, D) world points, row by row those of ``fixed``.
        kind: of the map, as many parameters as the landmarks determine with some to spare.
        matrix: (D+1, D+1) fixed world points to moving world points.
        diagonal: of the moving image, in world units.
        unit: of the world.
    """

    fixed: Tensor
    moving: Tensor
    kind: str
    matrix: np.ndarray
    diagonal: float
    unit: str

    @classmethod
    def of(cls, pair: Pair) -> LandmarkFit | None:
        """The fit of a pair's landmarks; None for a pair without.

        Raises:
            ValueError: for landmarks that do not determine a map, such as points on a line.
        """
        if pair.fixed_landmarks is None or pair.moving_landmarks is None:
            return None
        count, grid = len(pair.fixed_landmarks), pair.moving_grid
        dims = grid.spatial_dims
        kind = "affine" if count > 2 * dims else "rigid" if count > dims else "translation"
        fitted = fit_affine(pair.fixed_landmarks, pair.moving_landmarks, kind=kind)
        matrix = np.vstack([fitted.matrix[0].cpu().numpy(), np.eye(dims + 1)[-1:]])
        diagonal = hypot(*(n * s for n, s in zip(grid.shape, grid.spacing, strict=True)))
        return cls(pair.fixed_landmarks, pair.moving_landmarks, kind, matrix, diagonal, grid.unit)

    @property
    def transform(self) -> AffineTransform:
        """The map."""
        return AffineTransform(self.matrix)

    def residual(self, transform: SpatialTransform) -> float:
        """Root mean square distance in world units of the moving landmarks from where a map takes the fixed ones."""
        reached = transform.points(self.fixed.detach().cpu().numpy())
        return float(np.sqrt(np.square(reached - self.moving.detach().cpu().numpy()).sum(axis=1).mean()))

    def is_missed_by(self, transform: SpatialTransform, *, sure: bool = False) -> bool:
        """Whether a map misses the landmarks by more than they are imprecise and by more than their own map does.

        Args:
            transform: the map.
            sure: whether the images speak clearly for it.
        """
        imprecise = self.diagonal * (IMPRECISE_IF_SURE if sure else IMPRECISE)
        return self.residual(transform) > max(self.residual(self.transform), imprecise)

    def objection(self, found: SpatialTransform, cause: str, *, sure: bool = False) -> str:
        """Why the landmarks' own map is kept in place of another, in a sentence; empty where it is not.

        Args:
            found: the other map.
            cause: what led to it, the subject of the sentence.
            sure: see :meth:`is_missed_by`.
        """
        if not self.is_missed_by(found, sure=sure):
            return ""
        own, missed = (f"{self.residual(each):.3g} {self.unit}".rstrip() for each in (self.transform, found))
        return f"{cause} led {missed} away from the landmarks; their own map, {own} off, is kept."
