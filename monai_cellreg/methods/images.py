"""Whatever a user calls an image, as a channel-first tensor that knows where it lies."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor

from ..data import read_image, read_label

ImageLike = str | os.PathLike[str] | np.ndarray | Tensor


def as_image(image: ImageLike, name: str, *, label: bool = False) -> Tensor:
    """An image or label map as a tensor (1, *spatial).

    Args:
        image: path of a file; a ``MetaTensor`` (C, *spatial), which keeps its affine; or an array or tensor (H, W) or
            (D, H, W), with or without a leading channel axis of one, whose world coordinates are its indices.
        name: what the caller calls it, for errors.
        label: read a path as whole-number labels.

    Raises:
        ValueError: for another shape, colour, or values that are not finite.
    """
    if isinstance(image, (str, os.PathLike)):
        return read_label(Path(image)) if label else read_image(Path(image))
    if not isinstance(image, (np.ndarray, Tensor)):
        raise TypeError(f"{name} is a {type(image).__name__}; expected a path, an array, a tensor or a MetaTensor")
    tensor = image if isinstance(image, Tensor) else torch.from_numpy(_torch_type(np.ascontiguousarray(image)))
    shape = tuple(tensor.shape)
    if not isinstance(tensor, MetaTensor) and (tensor.ndim == 2 or (tensor.ndim == 3 and shape[0] != 1)):
        if tensor.ndim == 3 and shape[-1] in (3, 4) and min(shape[:2]) > 4:
            raise ValueError(
                f"{name} has shape {shape}, which looks like colour; expected grey (H, W). Convert it, e.g. with "
                "skimage.color.rgb2gray"
            )
        tensor = tensor[None]
    if tensor.ndim not in (3, 4) or tensor.shape[0] != 1:
        raise ValueError(f"{name} has shape {shape}; expected (H, W) or (D, H, W), or one channel before them")
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"{name} has values that are not finite; expected numbers. Replace NaN and infinity first")
    return tensor


def _torch_type(array: np.ndarray) -> np.ndarray:
    """Types that torch lacks or cannot sample, as the next larger one."""
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        return array.astype(np.int32 if array.dtype.itemsize == 2 else np.int64)
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype == np.float16 or array.dtype.kind not in "iuf":
        return array.astype(np.float32)
    return array.astype(array.dtype.newbyteorder("="))
