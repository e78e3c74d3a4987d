"""Images as pictures on a screen: brightness, colour overlays, and data URIs that a page carries in itself."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ..transforms import to_grey

__all__ = ["Mosaic", "colour_overlay", "data_uri", "display_range", "luminance", "media_uri", "resized", "to_display"]

Bytes = NDArray[np.uint8]

DARK_PERCENTILE, BRIGHT_PERCENTILE = 0.5, 99.5
SMALL_PIXELS = 150_000  # pictures up to this size are kept without loss
WEBP_QUALITY = 86


@dataclass(frozen=True)
class Mosaic:
    """Pictures of one size in one file, row by row; a single picture is a mosaic of one.

    Attributes:
        uri: the file as a data URI.
        columns: pictures in a row.
        rows: number of rows.
        height: height of one picture in pixels.
        width: width of one picture in pixels.
    """

    uri: str
    columns: int
    rows: int
    height: int
    width: int

    @classmethod
    def of(cls, pictures: Bytes, *, palette: Bytes | None = None) -> Mosaic:
        """Lays pictures (N, H, W) or (N, H, W, 3) out as nearly a square; see :func:`data_uri` for ``palette``."""
        count, height, width = pictures.shape[:3]
        columns = max(1, min(count, round((count * height / width) ** 0.5)))
        rows = -(-count // columns)
        sheet = np.zeros((rows * columns, *pictures.shape[1:]), np.uint8)
        sheet[:count] = pictures
        sheet = sheet.reshape(rows, columns, *pictures.shape[1:]).swapaxes(1, 2)
        sheet = sheet.reshape(rows * height, columns * width, *pictures.shape[3:])
        return cls(data_uri(sheet, palette=palette), columns, rows, height, width)


def luminance(image: NDArray) -> NDArray[np.float32]:
    """The grey picture (*spatial) of an image (C, *spatial) of one channel, or of three: red, green and blue.

    Raises:
        ValueError: for another number of channels.
    """
    return to_grey(torch.from_numpy(np.ascontiguousarray(image, np.float32)))[0].numpy()


def display_range(image: NDArray) -> tuple[float, float]:
    """The values shown as black and as white: a robust range, or all of 0 to 255 for colour as files store it.

    Args:
        image: (C, *spatial), one or three channels.
    """
    if image.shape[0] == 3 and image.dtype == np.uint8:
        return 0.0, 255.0
    values = np.asarray(image, np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, (DARK_PERCENTILE, BRIGHT_PERCENTILE))
    if low >= high:  # a few bright pixels on nothing
        low, high = values.min(), values.max()
    return float(low), float(high if high > low else low + 1)


def to_display(image: NDArray, limits: tuple[float, float]) -> Bytes:
    """An image (C, *spatial) as bytes, (*spatial) when grey and (*spatial, 3) in colour.

    Args:
        image: one or three channels; what is not finite is shown black.
        limits: values that become 0 and 255, see :func:`display_range`.

    Example:
        >>> to_display(np.array([[[0.0, 5.0, 20.0]]]), (0, 10))
        array([[  0, 128, 255]], dtype=uint8)
    """
    low, high = limits
    values = image if image.shape[0] == 3 else luminance(image)[None]
    scaled = (np.nan_to_num(np.asarray(values, np.float32), nan=low, posinf=high, neginf=low) - low) / (high - low)
    shown = np.rint(np.clip(scaled, 0, 1) * 255).astype(np.uint8)
    return np.moveaxis(shown, 0, -1) if image.shape[0] == 3 else shown[0]


def colour_overlay(fixed: Bytes, moving: Bytes) -> Bytes:
    """Fixed in magenta and moving in green, (*spatial, 3), both grey (*spatial): where they agree the picture is grey.

    The two colours are told apart with every common kind of colour blindness.
    """
    return np.stack([fixed, moving, fixed], axis=-1)


def resized(pictures: Bytes, size: tuple[int, int]) -> Bytes:
    """Pictures (N, H, W[, C]) brought to another size (rows, columns); each pixel is the mean of those it covers."""
    if pictures.shape[1:3] == tuple(size):
        return pictures
    return np.stack([np.asarray(Image.fromarray(p).resize(size[::-1], Image.Resampling.BOX)) for p in pictures])


def data_uri(picture: Bytes, *, palette: Bytes | None = None) -> str:
    """A picture as a data URI: PNG, or WebP for a large one without a palette.

    Args:
        picture: (H, W) grey, (H, W, 3) colour, or (H, W) numbers of colours of the ``palette``.
        palette: (K, 4) red, green, blue and opacity of at most 256 colours; kept exactly.
    """
    image, buffer = Image.fromarray(np.ascontiguousarray(picture)), io.BytesIO()
    if palette is not None:
        image = Image.frombytes("P", image.size, image.tobytes())
        image.putpalette(palette[:, :3].tobytes(), "RGB")
        image.save(buffer, "PNG", transparency=palette[:, 3].tobytes(), bits=_bits(len(palette)))
        return media_uri("image/png", buffer.getvalue())
    if picture.shape[0] * picture.shape[1] <= SMALL_PIXELS:
        image.save(buffer, "PNG")
        return media_uri("image/png", buffer.getvalue())
    image.save(buffer, "WEBP", quality=WEBP_QUALITY)
    return media_uri("image/webp", buffer.getvalue())


def _bits(colours: int) -> int:
    """Bits a pixel that number so many colours, as PNG allows."""
    return next(bits for bits in (1, 2, 4, 8) if 2**bits >= colours)


def media_uri(kind: str, data: bytes) -> str:
    """A file's bytes as a data URI of a kind such as ``"video/mp4"``."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
