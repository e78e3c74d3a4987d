"""Made digits in the format of MNIST: printed figures, deformed and written with pens of different widths."""

from __future__ import annotations

import os
import struct
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import center_of_mass, distance_transform_edt
from torch import Tensor

from ..geometry import sample
from ..transforms import DeformationRange, KnownPairs
from ..utils import atomic_path, check_positive, check_same_shape, ensure_writable_dir

__all__ = ["simulated_digits", "write_digits"]

FONTS = (
    *(f"DejaVu{face}" for face in ("Sans", "Sans-Bold", "Sans-Oblique", "Sans-BoldOblique")),
    *(f"DejaVu{face}" for face in ("Serif", "Serif-Bold", "Serif-Italic", "Serif-BoldItalic")),
    *(f"STIXGeneral{face}" for face in ("", "Bol", "Italic", "BolIta")),
    *("cmss10", "cmtt10"),
)  # of matplotlib; not those whose zero has a dot
SIZE, HEIGHT = 28, 20  # of an image and of the figure in it, in pixels, as in MNIST
FINE = 4  # parts of a pixel in which figures are drawn
BATCH = 250  # digits that are written together
CORRECTIONS = 6  # of the middle of mass
THINNER, THICKER = -0.3, 0.6  # by which strokes end further in or out, in pixels
HAND = DeformationRange(rotation_deg=9, stretch=0.16, shift=0, local=0.16, least=0.3, family="bspline")
CONTROL_SHAPE = (6, 6)


def simulated_digits(per_class: int, *, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Digits 0 to 9 that vary roughly as much as handwritten ones, and that need no data.

    Each is a printed figure in one of the fonts of matplotlib, under a random deformation that does not fold, a
    B-spline with turn, stretch and slant, with thinner or thicker strokes. It is centred by its mass, as in MNIST.

    Args:
        per_class: digits of each class.
        seed: of all chance.

    Returns:
        Images (10 * per_class, 28, 28) and their classes 0 to 9 over and over again, so that every part of the list
        has all of them.

    Raises:
        ValueError: for less than one digit.

    Example:
        >>> images, classes = simulated_digits(2)
        >>> images.shape, classes[8:12].tolist()
        ((20, 28, 28), [8, 9, 0, 1])
    """
    check_positive("per_class", per_class)
    generator = torch.Generator().manual_seed(seed)
    classes = np.tile(np.arange(10, dtype=np.uint8), int(per_class))
    fonts = torch.randint(len(FONTS), classes.shape, generator=generator).tolist()
    thicker = THINNER + (THICKER - THINNER) * torch.rand((len(classes), 1, 1), generator=generator)
    hand = KnownPairs((SIZE, SIZE), CONTROL_SHAPE, generator, deformation=HAND)
    fields = hand.field(hand.draw(len(classes)))
    images = []
    for start in range(0, len(classes), BATCH):
        part = slice(start, start + BATCH)
        depths = [_depth(FONTS[font], int(digit)) for font, digit in zip(fonts[part], classes[part], strict=True)]
        images.append(_written(torch.stack(depths), fields[part], thicker[part]))
    return np.concatenate(images), classes


def write_digits(folder: str | os.PathLike[str], images: NDArray[np.uint8], classes: NDArray[np.uint8]) -> None:
    """Writes digits as :func:`~monai_cellreg.data.datasets.mnist.read_mnist` reads them: the first two thirds train.

    Args:
        folder: for ``images-idx3-ubyte`` and ``labels-idx1-ubyte``; made when missing.
        images: (N, H, W).
        classes: (N,).

    Raises:
        ValueError: for images that are not as many as the classes, or another type of numbers.
    """
    check_same_shape("classes", classes.shape, "the first axis of images", images.shape[:1])
    for name, array in (("images", images), ("labels", classes)):
        if array.dtype != np.uint8:
            raise ValueError(f"{name} is {array.dtype}; expected uint8: scale to 0 to 255 and convert")
        header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
        with atomic_path(Path(ensure_writable_dir(folder), f"{name}-idx{array.ndim}-ubyte")) as temporary:
            temporary.write_bytes(header + array.tobytes())


@cache
def _depth(font: str, digit: int) -> Tensor:
    """How deep points lie in a printed figure that is centred by its mass, in pixels; negative outside (1, H, W)."""
    path = Path(matplotlib.get_data_path(), "fonts", "ttf", f"{font}.ttf")
    left, top, right, bottom = ImageFont.truetype(path, 1000).getbbox(str(digit))
    face = ImageFont.truetype(path, 1000 * HEIGHT * FINE / (bottom - top))
    canvas = Image.new("L", (SIZE * FINE, SIZE * FINE))
    ImageDraw.Draw(canvas).text((SIZE * FINE / 2, SIZE * FINE / 2), str(digit), fill=255, font=face, anchor="mm")
    inside = np.asarray(canvas) > 127
    move = [round(n / 2 - middle) for n, middle in zip(inside.shape, center_of_mass(inside), strict=True)]
    inside = np.roll(inside, move, (0, 1))
    depth = distance_transform_edt(inside) - distance_transform_edt(~inside)
    return torch.from_numpy(depth / FINE).float()[None]


def _written(depths: Tensor, fields: Tensor, thicker: Tensor) -> NDArray[np.uint8]:
    """Figures (B, 28, 28) under deformations (B, 2, 28, 28), centred by their mass.

    Moving what a deformation reads moves the figure by about as much, so that a few corrections are enough.
    """
    pixels = torch.stack(torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij"), dim=-1)
    off = torch.zeros(len(depths), 1, 1, 2)
    for _ in range(CORRECTIONS):
        at = pixels + fields.movedim(1, -1) + off
        images = (sample(depths, (at + 0.5) * FINE - 0.5)[:, 0] + thicker + 0.5).clamp(0, 1)
        moments = (images[..., None] * (pixels - (SIZE - 1) / 2)).sum((1, 2), keepdim=True)
        off = off + moments / images.sum((1, 2))[:, None, None, None]
    return (255 * images).round().to(torch.uint8).numpy()
