"""Labels of the datastore: their files, their names and their voxels."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monailabel.interfaces.datastore import Datastore

from ...data import read_label
from ...data.readers import page_count
from ...geometry import AffineTransform, SamplingGrid, resample_image
from ...utils import format_shape, plain
from .itk_files import itk_order, tensor_order
from .natural_order import natural_order

__all__ = ["TAGS", "label_array", "label_file", "label_names", "label_on", "labelled"]

logger = logging.getLogger(__name__)

TAGS = ("final", "original")
"""Which label of an image counts, the first that there is."""


def label_file(datastore: Datastore, image_id: str, tag: str = "") -> tuple[Path, str] | None:
    """The label of an image, and its tag.

    Args:
        datastore: where it is looked for.
        image_id: of the image.
        tag: of the label; the first of :data:`TAGS` that there is when empty.

    Returns:
        None where the image has no such label.
    """
    for each in (tag,) if tag else TAGS:
        if datastore.get_label_by_image_id(image_id, each):
            return Path(datastore.get_label_uri(image_id, each)), each
    return None


def labelled(datastore: Datastore) -> dict[str, str]:
    """Images with a label of any of :data:`TAGS`, and its tag: those with the first tag first, in natural order."""
    found = {image: label_file(datastore, image) for image in datastore.list_images()}
    tags = {image: label[1] for image, label in found.items() if label is not None}
    return dict(sorted(tags.items(), key=lambda item: (TAGS.index(item[1]), natural_order(item[0]))))


def label_names(datastore: Datastore, image_id: str, tag: str) -> dict[str, int]:
    """Names of the values of a label, by value: those that its info tells, else ``label 1`` and so on.

    3D Slicer tells ``label_info`` with the ``name`` and ``idx`` of each segment, MONAI Label's models ``params`` with
    ``label_names``.

    Raises:
        ValueError: when the label cannot be read.
    """
    path = Path(datastore.get_label_uri(image_id, tag))
    known, stamp = _told(datastore.get_label_info(image_id, tag)), path.stat()
    names: dict[str, int] = {}
    for value in _values(path, stamp.st_mtime_ns, stamp.st_size):
        name = known.get(value, f"label {value}")
        names[f"{name} {value}" if name in names else name] = value
    return names


def _told(info: Mapping[str, Any]) -> dict[int, str]:
    """Names by value, as far as the info of a label tells them."""
    segments, params = info.get("label_info"), info.get("params")
    names = params.get("label_names") if isinstance(params, dict) else None
    pairs: list[tuple[Any, Any]] = []
    if isinstance(segments, list):
        known = [each for each in segments if isinstance(each, dict)]
        pairs = [(each.get("idx", each.get("id", k)), each.get("name")) for k, each in enumerate(known, 1)]
    elif isinstance(names, dict):
        pairs = [(value, name) for name, value in names.items()]
    elif isinstance(names, list):
        pairs = list(enumerate(names, 1))
    return {value: name for value, name in pairs if isinstance(value, int) and isinstance(name, str) and name}


@lru_cache(maxsize=4096)
def _values(path: Path, mtime_ns: int, size: int) -> tuple[int, ...]:
    """The values of a label besides 0, read again only when the file has changed."""
    return tuple(int(value) for value in np.unique(label_array(path)) if value)


def label_array(path: Path) -> np.ndarray:
    """All pages of a label file as one int32 array, in ITK's order: (pages,) (z,) y, x.

    Raises:
        ImageReadError: when it cannot be used as a label.
    """
    pages = [read_label(path, page=page) for page in range(page_count(path))]
    arrays = [itk_order(plain(page).numpy(), str(page.meta["space"])) for page in pages]
    return arrays[0] if len(arrays) == 1 else np.stack(arrays)


def label_on(path: Path, grid: SamplingGrid) -> MetaTensor:
    """A label on the grid of its image, int32 (1, *grid.shape).

    Labels of scanners' images lie where their files say. Those of pictures lie pixel on pixel, whatever file a client
    has chosen for them: 3D Slicer stores the label of a PNG as NIfTI.

    Raises:
        ValueError: when the label cannot be read, or has another shape than its image.
    """
    label = None if page_count(path) > 1 else read_label(path)
    if label is not None and label.meta["space"] == grid.frame == "RAS" and label.ndim - 1 == grid.spatial_dims:
        if SamplingGrid.from_image(label).matches(grid):
            return grid.to_image(label)
        still = AffineTransform(np.eye(grid.spatial_dims + 1))
        return resample_image(label, still, grid, mode="nearest", padding="zeros")
    array = label_array(path)
    wanted = grid.shape[::-1] if grid.frame == "RAS" else grid.shape
    if [n for n in array.shape if n > 1] != [n for n in wanted if n > 1]:
        raise ValueError(
            f"label {str(path)!r} has shape {format_shape(array.shape)} but its image has {format_shape(wanted)}; "
            "expected the same. Annotate the image itself, or resample the label to it"
        )
    return grid.to_image(torch.from_numpy(tensor_order(array.reshape(wanted), grid.frame).copy()))
