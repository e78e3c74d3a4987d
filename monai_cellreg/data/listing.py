"""Finding the images of a folder whatever its layout, and loading what was found."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from monai.data import MetaTensor

from .datasets import cell_tracking, image_folder
from .readers import ImageReadError, read_image, read_label

__all__ = ["list_items", "load_item"]


def list_items(root: str | PathLike[str]) -> list[dict[str, Any]]:
    """Lists the images of a folder: Cell Tracking Challenge sequences where there are any, else an image folder.

    Args:
        root: Folder in one of the layouts that `monai_cellreg.data.datasets` describes.

    Returns:
        One dictionary a page: "image" (path), "label" (path or None), "page" (int or None) and "group".

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If no image is found.
        ImageReadError: If a file's pages cannot be counted.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"root {str(root)!r} is not an existing folder; expected a folder of images")
    layout = cell_tracking if cell_tracking.is_cell_tracking(root) else image_folder
    items = layout.list_items(root)
    if not items:
        raise ValueError(
            f"root {str(root)!r} holds no images; looked for images/* or images directly in it "
            f"({', '.join(image_folder.IMAGE_SUFFIXES)}; labels in labels/ under the same names), and for Cell "
            "Tracking Challenge sequences (01/t000.tif, labels in 01_label/, 01_GT/ or 01_ST/)"
        )
    return items


def load_item(item: Mapping[str, Any]) -> tuple[MetaTensor, MetaTensor | None]:
    """Reads the image and the label that an item names, and checks that they fit.

    Args:
        item: Dictionary as `list_items` gives it.

    Returns:
        The image (1, *spatial) float32 and its label (1, *spatial) int32, or None for an unlabelled image.

    Raises:
        ImageReadError: If a file cannot be used, or the label's size is not the image's.
    """
    image = read_image(item["image"], page=item["page"])
    if item["label"] is None:
        return image, None
    label = read_label(item["label"], page=item["page"])
    if label.shape != image.shape:
        raise ImageReadError(
            f"label {item['label']!r} has the size {tuple(label.shape[1:])} but its image {item['image']!r} has "
            f"{tuple(image.shape[1:])}; expected equal sizes"
        )
    return image, label
