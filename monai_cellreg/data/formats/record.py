"""What passes between the files of this folder and the readers and writers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from ...geometry.grid import DECIMALS

INDEX_SPACE = "index"
RAS_SPACE = "RAS"


class ImageReadError(ValueError):
    """A file that cannot be used as an image or label; the message says which file, why, and what would be accepted."""


@dataclass(frozen=True)
class OpenOptions:
    """How a file is opened.

    Args:
        as_label: A palette's numbers are wanted, not its colours.
        channel: Channel to read of a file with a channel axis, from 0; None counts channels as pages.
        as_movie: A single axis besides those of a picture is time, whatever the file calls it.
    """

    as_label: bool = False
    channel: int | None = None
    as_movie: bool = False


class Stored(NamedTuple):
    """One page as stored: `array` is (*spatial) or, with `in_colour`, (*spatial, samples), in our order of axes.

    `affine` (4, 4) leads from index to world in `space`, measured in `unit`; None is the identity in pixels. `header`
    is what the writer of the same format gives back; it holds nothing but JSON.
    """

    array: np.ndarray
    in_colour: bool = False
    affine: np.ndarray | None = None
    space: str = INDEX_SPACE
    unit: str = "px"
    header: dict[str, Any] | None = None

    def header_text(self) -> str:
        """The header as one string: a batch of images with unequal headers can still be collated."""
        return json.dumps(self.header or {})


class OpenedImage(Protocol):
    """An open file of one or more pages."""

    pages: int

    def read(self, page: int) -> Stored:
        """Gives one page, from 0."""

    def close(self) -> None:
        """Closes the file."""


class Placed(NamedTuple):
    """An image to be written.

    `array` (C, *spatial) has its final number type; `affine` (4, 4) leads to the world in `space`, measured in `unit`,
    and holds the place of a slice in 3D where its source knew it; `header` is that of the source.
    """

    array: np.ndarray
    affine: np.ndarray
    space: str
    unit: str
    header: dict[str, Any]

    @property
    def spatial_dims(self) -> int:
        """Number of axes without the channels, 2 or 3."""
        return self.array.ndim - 1

    @property
    def samples_last(self) -> np.ndarray:
        """(*spatial) where there is one channel, else (*spatial, C)."""
        return self.array[0] if self.array.shape[0] == 1 else np.moveaxis(self.array, 0, -1)

    @property
    def affine_mm(self) -> np.ndarray:
        """The affine for formats that measure in millimetres; pixels count as millimetres."""
        affine = self.affine.copy()
        affine[:3] *= 10.0 ** (DECIMALS[self.unit] - DECIMALS["mm"]) if self.unit in DECIMALS else 1.0
        return affine

    @property
    def spacing_um(self) -> tuple[float, ...] | None:
        """Distance of voxels along each tensor axis in micrometres; None where the unit is no length."""
        if self.unit not in DECIMALS:
            return None
        lengths = np.linalg.norm(self.affine[:3, : self.spatial_dims], axis=0)
        return tuple(float(x) for x in lengths * 10.0 ** (DECIMALS[self.unit] - DECIMALS["µm"]))
