"""The files of a pair, and what is written of its registration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from monai.data import MetaTensor

from ..data import read_image
from ..utils import check_choice

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
    """

    fixed_page: int | None = None
    moving_page: int | None = None
    fixed_label: PathLike | None = None
    moving_label: PathLike | None = None


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
    fixed: PathLike, moving: PathLike, known: PairFiles, *, color: Literal["grey", "keep"] = "keep"
) -> tuple[MetaTensor, MetaTensor]:
    """The fixed and the moving image (C, *spatial).

    Raises:
        ImageReadError: when a file cannot be used.
    """
    return (
        read_image(fixed, page=known.fixed_page, color=color),
        read_image(moving, page=known.moving_page, color=color),
    )
