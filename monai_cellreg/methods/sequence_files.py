"""What a registered movie leaves in a folder for other programs."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data import write_image
from ..data.movies import contrast_limits, write_mp4, write_ome_tiff
from ..geometry import SamplingGrid
from ..utils import atomic_path, plain
from .json_files import write_json
from .sequence_frames import FrameTransforms, MovieFrames, WarpedFrames
from .sequence_metrics import TemporalStatistics
from .sequence_store import transform_name

__all__ = ["write_metrics", "write_movies", "write_pictures", "write_transforms"]

LEAST_SIDE = 320  # pixels; smaller frames are enlarged by a whole factor in the MP4
GAP = 4


def write_transforms(folder: Path, transforms: FrameTransforms) -> None:
    """``transforms/t000.h5`` and so on: reference to frame, as ITK, ANTs and 3D Slicer open them."""
    for t, transform in enumerate(transforms):
        transform.save(folder / "transforms" / transform_name(t, len(transforms)))


def write_movies(folder: Path, frames: MovieFrames, before: WarpedFrames, after: WarpedFrames) -> None:
    """``stabilised.ome.tif`` in the number type and pixel size of the movie, and ``stabilised.mp4``, before | after."""
    whole = np.issubdtype(frames.source_dtype, np.integer)
    write_ome_tiff(
        folder / "stabilised.ome.tif",
        (frame.nan_to_num(0) if whole else frame for frame in after),
        count=len(after),
        seconds_per_frame=frames.seconds_per_frame,
    )
    limits = contrast_limits(_finite(frame) for frame in after)
    write_mp4(folder / "stabilised.mp4", _beside(before, after), limits=limits)


def write_pictures(folder: Path, statistics: TemporalStatistics, grid: SamplingGrid) -> None:
    """``mean.png`` and ``std.png``: mean and standard deviation over time, before | after, each on one scale."""
    for name in ("mean", "std"):
        images = [_picture(getattr(statistics, f"{name}_{when}"), grid) for when in ("before", "after")]
        low, high = contrast_limits(images)
        picture = ((_joined(*images) - low) * (255 / (high - low))).clamp(0, 255).round().to(torch.uint8)
        write_image(folder / f"{name}.png", picture)


def write_metrics(folder: Path, rows: Sequence[Mapping[str, Any]], overall: Mapping[str, Any]) -> None:
    """``metrics.csv``, a row a frame, and ``metrics.json``, which also has the figures of the whole movie."""
    with atomic_path(folder / "metrics.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    write_json(folder / "metrics.json", {**overall, "per_frame": rows})


def _beside(before: WarpedFrames, after: WarpedFrames) -> Iterator[Tensor]:
    for pair in zip(before, after, strict=True):
        yield _joined(*(_picture(frame, after.grid) for frame in pair))


def _joined(left: Tensor, right: Tensor) -> Tensor:
    """Two pictures (C, H, W) with a gap between them."""
    gap = torch.full((*left.shape[:2], GAP), float(torch.cat([left, right]).max()))
    return torch.cat([left, gap, right], dim=2)


def _picture(frame: Tensor, grid: SamplingGrid) -> Tensor:
    """A frame (C, H, W) without NaN, large enough to look at; of a volume, the middle slice."""
    picture = _finite(frame)
    if grid.spatial_dims == 3:
        axis = 1 if grid.frame == "index" else 3  # slices come first in stacks of pictures, last in NIfTI
        picture = picture.select(axis, picture.shape[axis] // 2)
    factor = -(-LEAST_SIDE // max(picture.shape[1:]))
    return picture.repeat_interleave(factor, dim=1).repeat_interleave(factor, dim=2)


def _finite(frame: Tensor) -> Tensor:
    return plain(frame).float().nan_to_num(0, 0, 0)
