"""Items of nuclei from a folder of images, ready for MONAI's datasets."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

import numpy as np
import torch
from monai.data import MetaTensor
from skimage.transform import resize

from ..transforms.nuclei import DEFAULT_CROPS, CropSettings, crop_nuclei, scale_by_percentiles
from ..transforms.pseudo_label import pseudo_label
from ..utils import check_choice
from .listing import list_items, load_item
from .split import split_by_group

__all__ = ["Section", "nuclei_items"]

Section = Literal["train", "validation", "test", "all"]


def nuclei_items(
    dataset_dir: str | PathLike[str],
    *,
    section: Section,
    image_size: int = 160,
    crops: CropSettings = DEFAULT_CROPS,
    whole_fields: bool = False,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Gives pictures of nuclei with their masks from one part of a folder; parts never share a group.

    A labelled field gives one item a nucleus (`crop_nuclei`). An unlabelled image counts as one frame: it is resized,
    scaled to [0, 1] and given a `pseudo_label`. Images of different sizes may be mixed.

    Args:
        dataset_dir: Folder in one of the layouts that `monai_cellreg.data.datasets` describes.
        section: "train", "validation" or "test": 70, 15 and 15 % of the images; "all": no split. Two groups, as the
            sequences 01 and 02 of the Cell Tracking Challenge, give one for training and one for both other sections.
        image_size: Side of the square pictures in pixels.
        crops: Choice and look of the single nuclei.
        whole_fields: Resizes labelled fields too, instead of cutting nuclei; the mask is then that of all nuclei.
        seed: Seed of the split, of the choice of nuclei and of the painted background.

    Returns:
        Dictionaries with "image" and "label", MetaTensors (1, image_size, image_size) float32 in [0, 1], and "group".

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If the folder holds no images, too few groups to split, volumes, or no nucleus that lies whole in
            its field; `ImageReadError` if a file cannot be used or a label does not fit its image.
    """
    check_choice("section", section, ("train", "validation", "test", "all"))
    found = list_items(dataset_dir)
    if section != "all":
        found = _section(found, section, seed)
    items = []
    for entry in found:
        image, label = load_item(entry)
        if image.ndim != 3:
            raise ValueError(
                f"image {entry['image']!r} has the shape {tuple(image.shape)}; expected a 2D image: store a volume's "
                "slices as pages of a TIFF"
            )
        if label is None or whole_fields:
            frames = [_resized(image, label, image_size)]
        else:
            field = f"{entry['group']}/{Path(entry['image']).name}/{entry['page']}"  # the same wherever the folder lies
            frames = crop_nuclei(image, label, image_size, settings=crops, seed=seed + crc32(field.encode()))
        items += [{**frame, "group": entry["group"]} for frame in frames]
    if not items:
        raise ValueError(
            f"dataset_dir {str(dataset_dir)!r} has no nucleus of {crops.min_area_px} pixels or more that lies whole in "
            f"its field, in {len(found)} images (section {section!r}); lower min_area_px, or use whole_fields=True"
        )
    return items


def _section(found: list[dict[str, Any]], section: Section, seed: int) -> list[dict[str, Any]]:
    """Gives the listed images of one part of a folder."""
    if len({entry["group"] for entry in found}) == 2:
        train, _, held_out = split_by_group(found, (0.7, 0.0, 0.3), seed=seed)
        return train if section == "train" else held_out
    return split_by_group(found, seed=seed)[("train", "validation", "test").index(section)]


def _resized(image: MetaTensor, label: MetaTensor | None, size: int) -> dict[str, MetaTensor]:
    """Gives a field as one square frame; without a label the mask is made from the picture."""
    pixels = np.asarray(image[0], dtype=np.float32)
    shrinks = max(pixels.shape) > size
    frame = scale_by_percentiles(resize(pixels, (size, size), order=1, anti_aliasing=shrinks, preserve_range=True))
    if label is None:
        mask = pseudo_label(frame[None])[0].numpy()
    else:
        mask = resize(np.asarray(label[0] > 0), (size, size), order=0).astype(np.float32)
    return {"image": _index_image(frame), "label": _index_image(mask)}


def _index_image(plane: np.ndarray) -> MetaTensor:
    return MetaTensor(torch.from_numpy(plane[None]), affine=torch.eye(4, dtype=torch.float64), meta={"space": "index"})
