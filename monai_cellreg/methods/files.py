"""Registering two files and writing everything that others open."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import torch

from ..data import write_image
from ..data.readers import file_suffix
from ..geometry import resample, to_voxel_ddf, write_transform
from ..report import PairPicture, save_before_after
from ..transforms import normalise
from ..utils import atomic_path, ensure_writable_dir
from .method import Method
from .register import register
from .registration import Registration

PathLike = str | os.PathLike[str]


def register_files(
    fixed: PathLike,
    moving: PathLike,
    out: PathLike,
    *,
    method: str | Method = "joint",
    fixed_label: PathLike | None = None,
    moving_label: PathLike | None = None,
) -> Registration:
    """Registers two image files and writes the result to a folder.

    Writes ``warped.<extension of the moving file>`` in its number type, ``transform.h5`` (ITK: opened by SimpleITK,
    ITK, ANTs and 3D Slicer), ``metrics.json``, for 2D images on one grid the picture ``overlay.png`` and, with a moving
    label, ``warped_label.<its extension>``. Each file appears when it is complete.

    Args:
        fixed: file of the fixed image.
        moving: file of the moving image.
        out: folder for the results; made when missing.
        method: see :func:`~monai_cellreg.methods.register`.
        fixed_label: file of labels of the fixed image.
        moving_label: file of labels of the moving image.

    Returns:
        The registration.

    Raises:
        ValueError: when an image or label cannot be used, or the method is unknown.
        OSError: when the folder cannot be written.
    """
    folder = ensure_writable_dir(out)
    result = register(fixed, moving, method=method, fixed_label=fixed_label, moving_label=moving_label)
    pair = result.pair
    write_image(folder / f"warped{file_suffix(moving)}", result.warped, like=_on_grid_of(pair.moving, result.warped))
    write_transform(folder / "transform.h5", result.transform, pair.fixed_grid)
    if moving_label is not None and pair.moving_label is not None:
        label = resample(
            pair.moving_label.as_tensor()[None], result.transform, pair.fixed_grid, pair.moving_grid, mode="nearest"
        )[0]
        path = folder / f"warped_label{file_suffix(moving_label)}"
        write_image(path, label, like=_on_grid_of(pair.moving_label, pair.fixed_grid.to_image(label)))
    names = {name: str(path) for name, path in (("fixed", fixed), ("moving", moving))}
    content = {**names, "method": method if isinstance(method, str) else type(method).__name__, **result.metrics}
    with atomic_path(folder / "metrics.json") as temporary:
        Path(temporary).write_text(json.dumps(content, indent=2) + "\n")
    if pair.fixed_grid.spatial_dims == 2 and pair.fixed_grid.matches(pair.moving_grid):
        save_before_after(folder / "overlay.png", [picture(result, Path(moving).name)])
    return result


def picture(result: Registration, name: str) -> PairPicture:
    """What is drawn of a registration of 2D images on one grid; outlines where both labels are known."""
    pair = result.pair
    fixed, moving, warped = (
        normalise(torch.tensor(np.asarray(x, dtype=np.float32)).reshape(1, 1, *pair.fixed_grid.shape))[0, 0].numpy()
        for x in (pair.fixed, pair.moving, result.warped)
    )
    empty = torch.zeros(1, *pair.fixed_grid.shape)
    known = pair.fixed_label is not None and pair.moving_label is not None
    masks = [
        torch.as_tensor(np.asarray(x) > 0).float() if known else empty for x in (pair.fixed_label, pair.moving_label)
    ]
    warped_mask = resample(masks[1][None], result.transform, pair.fixed_grid, pair.moving_grid, mode="nearest")[0]
    ddf = to_voxel_ddf(result.transform, pair.fixed_grid, pair.moving_grid)[0].numpy()
    return PairPicture(fixed, moving, warped, ddf, *(m[0].numpy() for m in (*masks, warped_mask)), name)


def _on_grid_of(source: torch.Tensor, placed: torch.Tensor) -> torch.Tensor:
    """``placed`` with the number type that ``source`` was stored in."""
    placed.meta["source_dtype"] = source.meta["source_dtype"]
    return placed
