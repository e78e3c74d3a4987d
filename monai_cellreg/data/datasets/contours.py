"""Outlines of the left ventricle as Sunnybrook Cardiac Data stores them, and the labels that they enclose.

A file holds one closed outline, a point "x y" (column, row) a line, in pixels of its image, whose centres are at whole
numbers from 0. Points lie a half or quarter of a pixel apart.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.draw import polygon
from torch import Tensor

from ..cine_slice import LV_CAVITY, LV_MYOCARDIUM
from ..readers import ImageReadError

__all__ = ["INNER", "OUTER", "ContourName", "label_of", "read_contour"]

INNER, OUTER = "i", "o"  # endocardium, epicardium
_NAME = re.compile(r"IM-\d+-(\d+)-([io])contour-manual\.txt", re.IGNORECASE)


class ContourName(NamedTuple):
    """What the name of a file says: the number of the image, and `INNER` or `OUTER`."""

    number: int
    kind: str

    @classmethod
    def of(cls, path: Path) -> ContourName | None:
        """The name of a file of an outline; None for another file.

        Example:
            >>> ContourName.of(Path("IM-0001-0048-icontour-manual.txt"))
            ContourName(number=48, kind='i')
        """
        match = _NAME.fullmatch(path.name)
        return cls(int(match[1]), match[2].lower()) if match else None


def read_contour(path: Path, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Gives the points of an outline.

    Args:
        path: Text file as the module describes it.
        shape: (H, W) of its image.

    Returns:
        (N, 2) rows and columns in index coordinates.

    Raises:
        ImageReadError: If the file is damaged, has fewer than three points, or one outside its image.
    """
    try:
        with warnings.catch_warnings():  # an empty file is told below
            warnings.simplefilter("ignore")
            points = np.loadtxt(path, ndmin=2)
    except (OSError, ValueError) as error:
        raise ImageReadError(
            f"path {str(path)!r} cannot be read ({error}); expected a point 'x y' a line: copy it again"
        ) from error
    if len(points) < 3 or points.shape[1] != 2:
        raise ImageReadError(
            f"path {str(path)!r} has {len(points)} lines of {points.shape[1]} numbers; expected three points 'x y' or "
            "more: copy it again"
        )
    points = points[:, ::-1]
    inside = ((points >= -0.5) & (points <= np.array(shape) - 0.5)).all(axis=1)
    if not inside.all():
        row, column = points[~inside][0]
        raise ImageReadError(
            f"path {str(path)!r} has the point x {column:g}, y {row:g} outside its image of {shape[1]} columns and "
            f"{shape[0]} rows; expected pixels of the image: find the image that it was drawn on"
        )
    return points


def label_of(shape: tuple[int, int], inner: NDArray[np.float64] | None, outer: NDArray[np.float64] | None) -> Tensor:
    """Gives the label (H, W) uint8: cavity within the inner outline, myocardium between it and the outer one.

    Args:
        shape: (H, W).
        inner: (N, 2) rows and columns of the endocardium; None where the slice shows no cavity.
        outer: (N, 2) of the epicardium; None where it was not drawn.

    Example:
        >>> square = np.array([[0.0, 0.0], [0.0, 4.0], [4.0, 4.0], [4.0, 0.0]])
        >>> label_of((5, 6), square / 4 + 1, square).unique(return_counts=True)[1]
        tensor([ 5, 21,  4])
    """
    label = np.zeros(shape, dtype=np.uint8)
    for points, number in ((outer, LV_MYOCARDIUM), (inner, LV_CAVITY)):
        if points is not None:
            label[polygon(points[:, 0], points[:, 1], shape)] = number
    return torch.from_numpy(label)
