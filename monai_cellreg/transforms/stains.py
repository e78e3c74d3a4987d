"""Stains of histology: separated by Beer and Lambert's law, and varied at random."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from math import log
from typing import Any

import numpy as np
import skimage.color
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform
from torch import Tensor

from ..utils import check_choice, check_finite, format_shape, plain
from .intensity import RandPerKeyd, check_unit_range
from .items import Image, grid_of, like

STAINS = ("hed", "hdx", "fgx", "bex", "rbd", "gdx", "hax", "bro", "bpx", "ahx", "hpx")
DARKEST = 1e-6  # intensity at which the concentrations' unit of absorbance ends, as in scikit-image


class SeparateStains:
    """Concentrations of the stains of an RGB image: scikit-image's ``separate_stains``, channels first, 2D or 3D.

    Args:
        stains: three letters that name scikit-image's matrix: ``"hed"`` (haematoxylin, eosin, DAB), ``"hdx"``,
            ``"fgx"``, ``"bex"``, ``"rbd"``, ``"gdx"``, ``"hax"``, ``"bro"``, ``"bpx"``, ``"ahx"`` or ``"hpx"``.
        channels: stains to give, by place among the three letters, in this order; all when omitted.

    Raises:
        ValueError: for unknown stains or channels; on a call, for an image that is not RGB, see the method.

    References:
        Ruifrok, Johnston, Quantification of histochemical staining by color deconvolution, 2001.

    Example:
        >>> SeparateStains("hed", channels=[0])(torch.ones(3, 4, 5)).shape
        torch.Size([1, 4, 5])
    """

    def __init__(self, stains: str = "hed", channels: Sequence[int] | None = None) -> None:
        self.matrix = from_rgb(stains)
        self.channels = [0, 1, 2] if channels is None else list(channels)
        if not self.channels or not set(self.channels) <= {0, 1, 2}:
            raise ValueError(f"channels is {channels}; expected some of 0, 1, 2, the places of the stains {stains!r}")

    def __call__(self, img: Image) -> Tensor:
        """(3, *spatial), integers of 8 or 16 bits or floating in [0, 1], to (channels, *spatial), float32 from 0 on."""
        stains = _mixed(absorbance(img), self.matrix)[self.channels].clamp_min(0)
        return like(img, stains.float(), grid_of(img))


class SeparateStainsd(MapTransform):
    """Dictionary form of :class:`SeparateStains`.

    Args:
        keys: RGB images.
        stains: see :class:`SeparateStains`.
        channels: see :class:`SeparateStains`.
    """

    def __init__(self, keys: KeysCollection, stains: str = "hed", channels: Sequence[int] | None = None) -> None:
        super().__init__(keys)
        self.transform = SeparateStains(stains, channels)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The data with the images of the keys separated."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.transform(d[key])
        return d


class RandStain(RandomizableTransform):
    """Varies how strongly each stain of an RGB image has taken: concentration ``c`` becomes ``(1 + a) c + b``.

    ``a`` and ``b`` are drawn for each of the three stains. Concentrations are those of :class:`SeparateStains`, but not
    cut at 0, so that nothing drawn gives the image back.

    Args:
        scale: largest ``a`` either way.
        shift: largest ``b`` either way; one unit darkens white to 1e-6 of its intensity.
        stains: see :class:`SeparateStains`.
        prob: probability of a change.

    Raises:
        ValueError: for a negative scale or shift or unknown stains; on a call, for an image that is not RGB.

    References:
        Tellez et al., Whole-slide mitosis detection in H&E breast histology using PHH3 as a reference to train
        distilled stain-invariant convolutional networks, IEEE TMI 2018.
    """

    def __init__(self, scale: float = 0.2, shift: float = 0.005, stains: str = "hed", prob: float = 1.0) -> None:
        RandomizableTransform.__init__(self, prob)
        for name, given in (("scale", scale), ("shift", shift)):
            if not 0 <= given < float("inf"):
                raise ValueError(f"{name} is {given}; expected a number of 0 or more, the largest change either way")
        self.scale, self.shift, self.matrix = scale, shift, from_rgb(stains)
        self._factor, self._offset = np.ones(3), np.zeros(3)

    def randomize(self, data: Any = None) -> None:
        """Draws whether and how each stain changes."""
        super().randomize(None)
        self._factor = 1 + self.scale * self.R.uniform(-1, 1, 3)
        self._offset = self.shift * self.R.uniform(-1, 1, 3)

    def __call__(self, img: Image) -> Tensor:
        """(3, *spatial), integers of 8 or 16 bits or floating in [0, 1], to the same shape, type and range."""
        self.randomize()
        dark = absorbance(img)
        rgb, grid = plain(img), grid_of(img)
        if not self._do_transform:
            return like(img, rgb, grid)
        column = (3, *[1] * (dark.ndim - 1))
        factor, offset = (torch.as_tensor(x).to(dark).reshape(column) for x in (self._factor, self._offset))
        stains = factor * _mixed(dark, self.matrix) + offset
        new = torch.exp(log(DARKEST) * _mixed(stains, np.linalg.inv(self.matrix))).clamp(0, 1)
        if not rgb.dtype.is_floating_point:
            new = (new * torch.iinfo(rgb.dtype).max).round()
        return like(img, new.to(rgb.dtype), grid)


class RandStaind(RandPerKeyd):
    """Dictionary form of :class:`RandStain`, with a draw for each key.

    Args:
        keys: RGB images.
        scale: see :class:`RandStain`.
        shift: see :class:`RandStain`.
        stains: see :class:`RandStain`.
        prob: probability of a change, for each key.
    """

    def __init__(
        self,
        keys: KeysCollection,
        scale: float = 0.2,
        shift: float = 0.005,
        stains: str = "hed",
        prob: float = 1.0,
    ) -> None:
        super().__init__(keys, RandStain(scale, shift, stains, prob))


def from_rgb(stains: str) -> np.ndarray:
    """scikit-image's matrix (3, 3) from absorbances, in rows of RGB, to concentrations of the stains."""
    check_choice("stains", stains, STAINS)
    return np.array(getattr(skimage.color, f"{stains}_from_rgb"), dtype=np.float64)


def absorbance(img: Image) -> Tensor:
    """Absorbance (3, *spatial), float64, of an RGB image: 0 for white, 1 at the intensity 1e-6.

    Raises:
        ValueError: for another number of channels, another type, or values that are not finite or not in [0, 1].
    """
    rgb = plain(img)
    if rgb.ndim not in (3, 4) or rgb.shape[0] != 3:
        raise ValueError(
            f"img has shape {format_shape(rgb.shape)}; expected RGB, (3, *spatial) with two or three axes, channels "
            "first. Move the channels by EnsureChannelFirst, and drop an alpha channel"
        )
    if rgb.dtype.is_floating_point:
        check_finite("img", rgb)
        values = rgb.double()
    elif rgb.dtype in (torch.uint8, torch.uint16):
        values = rgb.double() / torch.iinfo(rgb.dtype).max
    else:
        raise ValueError(f"img is of type {rgb.dtype}; expected uint8, uint16 or floating values within [0, 1]")
    check_unit_range(values, "divide it by the intensity of white")
    return values.clamp_min(DARKEST).log() / log(DARKEST)


def _mixed(channels: Tensor, matrix: np.ndarray) -> Tensor:
    """Channels (3, *spatial) times a matrix (3, 3) that acts on rows."""
    return torch.tensordot(torch.as_tensor(matrix.T.copy()), channels, dims=1)
