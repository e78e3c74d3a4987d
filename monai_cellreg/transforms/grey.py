"""Colour images as grey ones, for what compares intensities."""

from __future__ import annotations

import torch
from torch import Tensor

from ..utils import format_shape

LUMINANCE = (0.2125, 0.7154, 0.0721)  # of red, green and blue, as scikit-image's rgb2gray


def to_grey(image: Tensor) -> Tensor:
    """The luminance of an image.

    Args:
        image: (1, *spatial) grey or (3, *spatial) red, green and blue, of any type.

    Returns:
        (1, *spatial) in the range of ``image``, float32.

    Raises:
        ValueError: for another number of channels.

    References:
        ITU-R Recommendation BT.709.

    Example:
        >>> to_grey(torch.tensor([200, 100, 0]).reshape(3, 1, 1)).round(decimals=2)
        tensor([[[114.0400]]])
    """
    channels = image.shape[0]
    if channels not in (1, 3):
        raise ValueError(
            f"image has shape {format_shape(image.shape)} with {channels} channels first; expected 1 (grey) or 3 (red, "
            "green, blue). Choose or mix channels first"
        )
    values = image.float()
    if channels == 1:
        return values
    return torch.tensordot(values.new_tensor(LUMINANCE), values, dims=1)[None]
