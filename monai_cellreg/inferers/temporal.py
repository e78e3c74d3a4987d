"""Maps of a movie made smooth over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..geometry import AffineTransform, DenseTransform, SamplingGrid, SpatialTransform
from .frame import FrameMap

TRUNCATE = 4.0  # standard deviations at which the Gaussian ends, as in SciPy


def temporal_weights(trusted: Sequence[bool], t: int, sigma: float) -> dict[int, float]:
    """What the map of each frame counts for the smooth map of frame t.

    In the midst of a movie these are the weights of a Gaussian. Frames that are not trusted weigh nothing; beside them
    and at the ends the others are weighed so that their sum is 1 and their mean lies at t (a line is fitted, not a
    constant), so that steady motion is kept everywhere, also where the Gaussian has one side only. Motion is not
    continued beyond the last trusted frame: what follows has the mean of what came before.

    Args:
        trusted: whether the map of each frame was found from the frame itself.
        t: the frame.
        sigma: standard deviation in frames, above 0.

    Returns:
        Weights by frame; empty where no frame within four standard deviations is trusted.

    References:
        Fan, Design-adaptive nonparametric regression, Journal of the American Statistical Association 1992: the local
        line.

    Example:
        >>> temporal_weights([True, True, False, True, True], 2, 0.8)  # an empty frame, from those beside it
        {0: 0.0437..., 1: 0.4562..., 3: 0.4562..., 4: 0.0437...}
    """
    radius = int(TRUNCATE * sigma + 0.5)
    window = [k for k in range(max(t - radius, 0), min(t + radius + 1, len(trusted))) if trusted[k]]
    if not window:
        return {}
    away = np.array(window, dtype=np.float64) - t
    weights = np.exp(-(away**2) / (2 * sigma**2))
    weights /= weights.sum()
    mean, square = weights @ away, weights @ away**2
    if mean and (trusted[t] or window[0] < t < window[-1]) and square > mean**2:
        weights *= (square - away * mean) / (square - mean**2)
    return dict(zip(window, weights.tolist(), strict=True))


class SmoothedMaps(Sequence[FrameMap]):
    """The maps of a movie filtered over time, each made when it is asked for.

    All maps start on the reference, so that the displacements of one of its points over time can be averaged. Affine
    maps give an affine map, others displacements at the voxels of the reference. Frames that are not trusted get their
    map from those around them. Asked for in order, each map is read once, and no more are kept than the Gaussian needs.

    Args:
        maps: of all frames, from one reference.
        sigma: standard deviation in frames, above 0.
        grid: where the reference lies.
        reference: the frame that is the reference, whose map stays the identity; None for a mean.
    """

    def __init__(self, maps: Sequence[FrameMap], sigma: float, grid: SamplingGrid, reference: int | None) -> None:
        self.maps, self.sigma, self.grid, self.reference = maps, sigma, grid, reference
        self.trusted = [each.is_trusted for each in maps]
        self.parts: dict[int, AffineTransform | Tensor] = {}

    def __len__(self) -> int:
        return len(self.maps)

    def __getitem__(self, t: int) -> FrameMap:  # type: ignore[override]
        t = range(len(self))[t]
        weights = {} if t == self.reference else temporal_weights(self.trusted, t, self.sigma)
        found = self.maps[t]
        return replace(found, transform=self._mean(weights)) if weights else found

    @torch.no_grad()
    def _mean(self, weights: dict[int, float]) -> SpatialTransform:
        """The weighted mean of maps."""
        self.parts = {k: self.parts[k] if k in self.parts else self._part(k) for k in weights}
        matrices = {k: part.matrix for k, part in self.parts.items() if isinstance(part, AffineTransform)}
        if len(matrices) == len(weights):
            return AffineTransform(torch.stack([weights[k] * matrix for k, matrix in matrices.items()]).sum(0))
        total = torch.zeros(1, self.grid.spatial_dims, *self.grid.shape)
        for k, part in self.parts.items():
            shift = part.displacement(self.grid, device="cpu") if isinstance(part, AffineTransform) else part
            total += weights[k] * shift
        return DenseTransform(total, self.grid)

    def _part(self, k: int) -> AffineTransform | Tensor:
        """The map of a frame as what is averaged: itself where it is affine, else its displacements (1, D, *shape)."""
        transform = self.maps[k].transform
        if isinstance(transform, AffineTransform):
            return transform
        return transform.displacement(self.grid, device="cpu").float()
