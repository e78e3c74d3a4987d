"""The files of a pair, and what is written of its registration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from monai.data import MetaTensor

from ..data import read_image
from ..utils import check_choice
from .known import Known

__all__ = ["OutputOptions", "PairFiles", "read_images"]

PathLike = str | os.PathLike[str]

TRANSFORM_FORMATS = ("h5", "tfm", "txt", "nii.gz")


@dataclass(frozen=True)
class PairFiles:
    """What is known of two image files besides their names.

    Args:
        fixed_page: page of the fixed file, from 0; needed where it has several.
        moving_page: page of the moving file.
        fixed_label: file of labels of the fixed image, for the metrics.
        moving_label: file of labels of the moving image, warped as well.
        fixed_mask: file of a mask, above 0 where the fixed image counts.
        moving_mask: file of a mask of the moving image.
        fixed_points: table of landmarks of the fixed image; see :class:`~monai_cellreg.methods.Known`.
        moving_points: table of landmarks of the moving image, row by row those of the fixed one.
        coordinates: of the landmarks; see :class:`~monai_cellreg.methods.ApplyOptions`.

    Raises:
        ValueError: for landmarks of one image only, or unknown coordinates.
    """

    fixed_page: int | None = None
    moving_page: int | None = None
    fixed_label: PathLike | None = None
    moving_label: PathLike | None = None
    fixed_mask: PathLike | None = None
    moving_mask: PathLike | None = None
    fixed_points: PathLike | None = None
    moving_points: PathLike | None = None
    coordinates: Literal["index", "corner", "world"] = "index"

    def __post_init__(self) -> None:
        if (self.fixed_points is None) != (self.moving_points is None):
            raise ValueError("landmarks are given of one image only; expected fixed_points and moving_points together")
        self.guides()  # checks the coordinates

    def guides(self) -> Known:
        """The masks and landmarks."""
        return Known(self.fixed_mask, self.moving_mask, self.fixed_points, self.moving_points, self.coordinates)

    def told(self) -> dict[str, str | int]:
        """What is given, as it is kept in ``metrics.json``: pages, and whole paths."""
        pages = {name: getattr(self, name) for name in ("fixed_page", "moving_page")}
        files = {name: value for name, value in vars(self).items() if name not in (*pages, "coordinates")}
        return {
            **{name: page for name, page in pages.items() if page is not None},
            **{name: str(Path(file).resolve()) for name, file in files.items() if file is not None},
            **({} if self.fixed_points is None else {"coordinates": self.coordinates}),
        }


@dataclass(frozen=True)
class OutputOptions:
    """What is written of a registration.

    Args:
        transform_format: ``"h5"``, ``"tfm"`` or ``"txt"`` for a transform, ``"nii.gz"`` for a displacement field; see
            :func:`~monai_cellreg.geometry.write_transform`.
        report: write ``report.html``.
        parameters: what else was asked for, such as the command; kept in ``metrics.json`` and shown in the report.

    Raises:
        ValueError: for another format.
    """

    transform_format: str = "h5"
    report: bool = True
    parameters: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_choice("transform_format", self.transform_format, TRANSFORM_FORMATS)


def read_images(
    fixed: PathLike, moving: PathLike, *, fixed_page: int | None = None, moving_page: int | None = None
) -> tuple[MetaTensor, MetaTensor]:
    """The fixed and the moving image (C, *spatial), in their colours.

    Raises:
        ImageReadError: when a file cannot be used.
    """
    return read_image(fixed, page=fixed_page, color="keep"), read_image(moving, page=moving_page, color="keep")
