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

SAMPLED_AS = {
    np.dtype(stored): np.dtype(sampled)
    for stored, sampled in (
        (np.bool_, np.uint8),
        (np.uint16, np.int32),
        (np.uint32, np.int64),
        (np.uint64, np.int64),
        (np.float16, np.float32),
        (np.longdouble, np.float64),
    )
}


def as_image(image: ImageLike, name: str, *, label: bool = False) -> Tensor:
    """An image or label map as a tensor (1, *spatial).

    Args:
        image: path of a file; a ``MetaTensor`` (C, *spatial), which keeps its affine; or an array or tensor (H, W) or
            (D, H, W), with or without a leading channel axis of one, whose world coordinates are its indices.
        name: what the caller calls it, for errors.
        label: read a path as whole-number labels.

    Raises:
        TypeError: for anything else.
        ValueError: for another shape, colour, or values that are not finite or not real numbers.
    """
    if isinstance(image, (str, os.PathLike)):
        return read_label(Path(image)) if label else read_image(Path(image))
    if not isinstance(image, (np.ndarray, Tensor)):
        raise TypeError(f"{name} is a {type(image).__name__}; expected a path, an array, a tensor or a MetaTensor")
    if image.is_complex() if isinstance(image, Tensor) else image.dtype.kind not in "biuf":
        raise ValueError(f"{name} has values of type {image.dtype}; expected real numbers. Convert it first")
    tensor = image if isinstance(image, Tensor) else torch.from_numpy(_torch_type(image))
    shape = tuple(tensor.shape)
    if not isinstance(tensor, MetaTensor) and (tensor.ndim == 2 or (tensor.ndim == 3 and shape[0] != 1)):
        if tensor.ndim == 3 and shape[-1] in (3, 4) and min(shape[:2]) > 4:
            raise ValueError(
                f"{name} has shape {shape}, which looks like colour; expected grey (H, W). Convert it, e.g. with "
                "skimage.color.rgb2gray"
            )
        tensor = tensor[None]
    if tensor.ndim not in (3, 4) or tensor.shape[0] != 1:
        raise ValueError(
            f"{name} is a {type(image).__name__} of shape {shape}; expected one channel, (1, H, W) or (1, D, H, W), "
            "which arrays and plain tensors may leave out. Convert colour to grey, add or drop axes"
        )
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"{name} has values that are not finite; expected numbers. Replace NaN and infinity first")
    return tensor


def _torch_type(array: np.ndarray) -> np.ndarray:
    """A copy; types that torch lacks or cannot sample become another one that holds their values."""
    native = array.dtype.newbyteorder("=")
    return np.ascontiguousarray(array.astype(SAMPLED_AS.get(native, native)))
