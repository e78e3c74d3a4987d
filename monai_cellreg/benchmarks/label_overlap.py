"""How well label maps agree, added up over several images, and what SimpleITK makes of a transform file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

__all__ = ["Overlap", "carried_by_itk", "count_overlap"]


class Overlap(NamedTuple):
    """Voxels of each label 1..N in two label maps.

    Args:
        common: (N,) in both.
        first: (N,) in the first.
        second: (N,) in the second.
    """

    common: np.ndarray
    first: np.ndarray
    second: np.ndarray

    @classmethod
    def total(cls, parts: Iterable[Overlap]) -> Overlap:
        """The sum over images."""
        found = list(parts)
        longest = max(len(part.common) for part in found)
        return cls(*(sum(np.pad(x, (0, longest - len(x))) for x in column) for column in zip(*found, strict=True)))

    def dice(self, labels: np.ndarray) -> float:
        """Mean ``2 |A & B| / (|A| + |B|)`` over labels, given by their numbers."""
        k = labels - 1
        return float(np.mean(2 * self.common[k] / (self.first[k] + self.second[k])))

    def iou(self, labels: np.ndarray) -> float:
        """Mean ``|A & B| / |A | B|`` over labels, given by their numbers."""
        k = labels - 1
        return float(np.mean(self.common[k] / (self.first[k] + self.second[k] - self.common[k])))

    @property
    def shared(self) -> np.ndarray:
        """Numbers of the labels that both maps have."""
        return np.flatnonzero((self.first > 0) & (self.second > 0)) + 1


def count_overlap(first: np.ndarray, second: np.ndarray) -> Overlap:
    """Voxels of each label of two maps.

    Args:
        first: (S...) whole numbers from 0.
        second: (S...).

    Raises:
        ValueError: for different shapes.

    Example:
        >>> count_overlap(np.array([0, 1, 1, 2]), np.array([1, 1, 1, 0])).common.tolist()
        [2, 0]
    """
    if first.shape != second.shape:
        raise ValueError(f"first has the shape {first.shape} but second {second.shape}; expected label maps alike")
    most = 1 + int(max(first.max(), second.max()))
    both = np.where(first == second, first, 0)
    return Overlap(*(np.bincount(x.ravel(), minlength=most)[1:] for x in (both, first, second)))


def carried_by_itk(transform: Path, reference_label: Path, image: Path) -> np.ndarray:
    """A label resampled by SimpleITK alone.

    Args:
        transform: file of an ITK transform from the image to the reference.
        reference_label: label map of the reference.
        image: whose grid the result has.

    Returns:
        The label map with reversed axes, as SimpleITK gives arrays.
    """
    label, grid = sitk.ReadImage(str(reference_label)), sitk.ReadImage(str(image))
    resampled = sitk.Resample(label, grid, sitk.ReadTransform(str(transform)), sitk.sitkNearestNeighbor, 0)
    return sitk.GetArrayFromImage(resampled)
