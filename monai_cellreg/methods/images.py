"""Whatever a user calls an image, as a channel-first tensor that knows where it lies."""

from __future__ import annotations

import os
from collections.abc import Sequence
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
    """An image as a tensor (1, *spatial), or (3, *spatial) for colour, or a label map as (1, *spatial).

    Args:
        image: path of a file; a ``MetaTensor`` (C, *spatial), which keeps its affine; or an array or tensor whose world
            coordinates are its indices: (*spatial), (1, *spatial), or colour as :func:`channel_axis` finds it. An
            alpha channel is dropped.
        name: what the caller calls it, for errors.
        label: it holds whole-number labels, or a mask.

    Raises:
        TypeError: for anything else.
        ValueError: for another shape, labels in colour, or values that are not finite or not real numbers.

    Example:
        >>> as_image(np.zeros((20, 30, 3)), "fixed").shape
        torch.Size([3, 20, 30])
    """
    if isinstance(image, (str, os.PathLike)):
        return read_label(Path(image)) if label else read_image(Path(image), color="keep")
    if not isinstance(image, (np.ndarray, Tensor)):
        raise TypeError(f"{name} is a {type(image).__name__}; expected a path, an array, a tensor or a MetaTensor")
    if image.is_complex() if isinstance(image, Tensor) else image.dtype.kind not in "biuf":
        raise ValueError(f"{name} has values of type {image.dtype}; expected real numbers. Convert it first")
    tensor = image if isinstance(image, Tensor) else torch.from_numpy(_torch_type(image))
    shape = tuple(tensor.shape)
    if not isinstance(tensor, MetaTensor):
        axis = channel_axis(shape)
        tensor = tensor[None] if axis is None else tensor.movedim(axis, 0)
    if tensor.ndim in (3, 4) and tensor.shape[0] == 4:
        tensor = tensor[:3]
    if tensor.ndim not in (3, 4) or tensor.shape[0] not in ((1,) if label else (1, 3)):
        kinds = "labels (1, H, W) or (1, D, H, W)" if label else "grey (1, H, W) or (1, D, H, W), or three channels"
        raise ValueError(
            f"{name} is a {type(image).__name__} of shape {shape}; expected {kinds}. Arrays and plain tensors may "
            "leave out a single channel. Choose channels, add or drop axes"
        )
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"{name} has values that are not finite; expected numbers. Replace NaN and infinity first")
    return tensor


def channel_axis(shape: Sequence[int]) -> int | None:
    """Where an array or plain tensor has its channels: on axis 0, on axis -1, or nowhere (None).

    A last axis of 3 or 4 is colour, and a first axis of 3, where all other axes are longer than 4; a volume of three
    planes needs a channel axis of one.

    Example:
        >>> [channel_axis(shape) for shape in ((20, 30), (20, 30, 3), (3, 20, 30), (1, 3, 20, 30), (12, 20, 30))]
        [None, -1, 0, 0, None]
    """
    if len(shape) in (3, 4) and shape[-1] in (3, 4) and min(shape[:-1]) > 4:
        return -1
    if len(shape) == 4 or (len(shape) == 3 and (shape[0] == 1 or (shape[0] == 3 and min(shape[1:]) > 4))):
        return 0
    return None


def in_layout(image: np.ndarray, given: np.ndarray) -> np.ndarray:
    """An image (C, *spatial) with its channels where a given array has them; see :func:`channel_axis`."""
    axis = channel_axis(given.shape)
    return image[0] if axis is None else np.moveaxis(image, 0, axis)


def _torch_type(array: np.ndarray) -> np.ndarray:
    """A copy; types that torch lacks or cannot sample become another one that holds their values."""
    native = array.dtype.newbyteorder("=")
    return np.ascontiguousarray(array.astype(SAMPLED_AS.get(native, native)))
