"""Registering two files and writing everything that others open."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor

from ..data import write_image
from ..data.formats import file_suffix, is_dicom, writer_for
from ..geometry import resample, to_voxel_ddf
from ..report import PairPicture, save_before_after
from ..transforms import normalise, to_grey
from ..utils import ensure_writable_dir, plain
from .images import channel_axis
from .json_files import write_json
from .method import Method
from .pair_files import OutputOptions, PairFiles, PathLike, read_images
from .register import register
from .registration import Registration
from .report_files import REPORT, write_report
from .run_record import RECORD, all_or_nothing, told

__all__ = ["picture", "register_files"]


def register_files(
    fixed: PathLike,
    moving: PathLike,
    out: PathLike,
    *,
    method: str | Method = "auto",
    known: PairFiles | None = None,
    written: OutputOptions | None = None,
) -> Registration:
    """Registers two image files and writes the result to a folder.

    Writes ``warped.<extension of the moving file>`` in its number type and colours (``.tif`` where that format cannot
    be written), ``transform.h5`` (ITK: opened by SimpleITK, ITK, ANTs and 3D Slicer), ``report.html``, ``metrics.json``
    with all that tells how the result came about, for 2D images on one grid the picture ``overlay.png`` and, with a
    moving label, ``warped_label.<its extension>``. The files appear together when the last is complete; those of an
    earlier run that this one does not write vanish.

    Args:
        fixed: file of the fixed image.
        moving: file of the moving image.
        out: folder for the results; made when missing.
        method: see :func:`~monai_cellreg.methods.register`.
        known: pages to read, labels, masks and landmarks.
        written: what to write; everything when omitted.

    Returns:
        The registration.

    Raises:
        ValueError: when an image or label cannot be used, or the method is unknown.
        OSError: when the folder cannot be written.
    """
    known, written = known or PairFiles(), written or OutputOptions()
    folder = ensure_writable_dir(out)
    result = register(
        *read_images(fixed, moving, fixed_page=known.fixed_page, moving_page=known.moving_page),
        method=method,
        fixed_label=known.fixed_label,
        moving_label=known.moving_label,
        known=known.guides(),
    )
    with all_or_nothing(folder) as staging:
        _write_images(staging, result, moving, known)
        transform = f"transform.{written.transform_format}"
        result.transform.save(staging / transform)
        if result.pair.fixed_grid.spatial_dims == 2 and result.pair.fixed_grid.matches(result.pair.moving_grid):
            save_before_after(staging / "overlay.png", [picture(result, Path(moving).name)])
        files = {"fixed": str(Path(fixed).resolve()), "moving": str(Path(moving).resolve()), **known.told()}
        content = told(result, files) | {
            "transform": transform,
            "parameters": dict(written.parameters),
        }
        if written.report:
            write_report(result, staging / REPORT, content)
        content["files"] = sorted([RECORD, *(path.name for path in staging.iterdir())])
        write_json(staging / RECORD, content)
    return result


def picture(result: Registration, name: str) -> PairPicture:
    """What is drawn of a registration of 2D images on one grid; outlines where both labels are known."""
    pair = result.pair
    fixed, moving, warped = (_shown(image) for image in (pair.fixed, pair.moving, result.warped))
    empty = torch.zeros(1, *pair.fixed_grid.shape)
    known = pair.fixed_label is not None and pair.moving_label is not None
    masks = [
        torch.as_tensor(np.asarray(x) > 0).float() if known else empty for x in (pair.fixed_label, pair.moving_label)
    ]
    warped_mask = resample(masks[1][None], result.transform, pair.fixed_grid, pair.moving_grid, mode="nearest")[0]
    ddf = to_voxel_ddf(result.transform, pair.fixed_grid, pair.moving_grid)[0].cpu().numpy()
    return PairPicture(fixed, moving, warped, ddf, *(m[0].numpy() for m in (*masks, warped_mask)), name)


def _shown(image: torch.Tensor | np.ndarray) -> np.ndarray:
    """An image of a registration as grey values (H, W) in [0, 1]."""
    values = torch.tensor(np.asarray(image, dtype=np.float32))
    axis = channel_axis(values.shape) if isinstance(image, np.ndarray) else 0
    channels = values[None] if axis is None else values.movedim(axis, 0)
    return normalise(to_grey(channels)[None])[0, 0].numpy()


def _write_images(folder: Path, result: Registration, moving: PathLike, known: PairFiles) -> None:
    pair = result.pair
    write_image(folder / f"warped{_written_suffix(moving)}", result.warped, like=_source(pair.moving))
    if known.moving_label is None or pair.moving_label is None:
        return
    label = resample(
        plain(pair.moving_label)[None], result.transform, pair.fixed_grid, pair.moving_grid, mode="nearest"
    )[0]
    path = folder / f"warped_label{_written_suffix(known.moving_label)}"
    write_image(path, pair.fixed_grid.to_image(label), like=_source(pair.moving_label))


def _written_suffix(source: PathLike) -> str:
    """The extension of a file, or that of a format which can be written: films are not, but their frames are."""
    if is_dicom(source):
        return "" if Path(source).is_dir() else ".dcm"
    suffix = file_suffix(source)
    try:
        writer_for(Path(f"image{suffix}"))
    except ValueError:
        return ".tif"
    return suffix


def _source(image: torch.Tensor) -> MetaTensor | None:
    return image if isinstance(image, MetaTensor) else None
