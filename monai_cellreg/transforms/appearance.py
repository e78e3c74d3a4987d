"""How the same nuclei look at another time: intensity drift, bleaching, texture, blur and noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from monai.networks.layers import GaussianFilter
from torch import Tensor
from torch.nn import functional

from ..utils import check_not_negative

MOST_VALUES = 1 << 24  # that torch.quantile takes


@dataclass(frozen=True)
class AppearanceRange:
    """Largest changes, each drawn per image between none and this.

    Args:
        gamma: of the logarithm of the exponent.
        gradient: relative change of brightness across the frame.
        texture: standard deviation of the logarithm of a smooth random factor (chromatin that changes).
        blur: standard deviation of the blur in voxels, for half of the calls.
        background: brightness added everywhere.
        shot_noise: standard deviation of Poisson-like noise at full brightness.
        read_noise: standard deviation of Gaussian noise.

    Raises:
        ValueError: for a negative or infinite change.
    """

    gamma: float = 0.6
    gradient: float = 0.5
    texture: float = 0.8
    blur: float = 1.5
    background: float = 0.2
    shot_noise: float = 0.15
    read_noise: float = 0.08

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            check_not_negative(name, value)


class RandomAppearance:
    """Changes intensities only, each image of a batch on its own; then rescales by percentiles to [0, 1].

    Args:
        generator: source of all randomness, on the CPU.
        settings: the largest changes.
    """

    def __init__(self, generator: torch.Generator, *, settings: AppearanceRange | None = None) -> None:
        self.generator = generator
        self.settings = settings or AppearanceRange()

    def __call__(self, image: Tensor) -> Tensor:
        """(B, C, *spatial) in [0, 1] to the same shape and range."""
        s = self.settings
        x = image.clamp(0, 1) ** torch.exp(self._uniform(image, -s.gamma, s.gamma))
        cells = int(torch.randint(4, 14, (1,), generator=self.generator))
        x = x * torch.exp(self._uniform(image, 0, s.texture) * self._smooth(image, cells))
        x = x * (1 + self._uniform(image, 0, s.gradient) * self._smooth(image, 2).clamp(-1, 1))
        if float(torch.rand(1, generator=self.generator)) < 0.5 and s.blur > 0:
            sigma = float(torch.rand(1, generator=self.generator)) * s.blur + 1e-3
            x = GaussianFilter(image.ndim - 2, sigma).to(x)(x)
        x = x + self._uniform(image, 0, s.background)
        noise = self._uniform(image, 0, s.shot_noise) * x.clamp_min(0).sqrt() * self._normal(image)
        return normalise(x + noise + self._uniform(image, 0, s.read_noise) * self._normal(image))

    def _uniform(self, image: Tensor, low: float, high: float) -> Tensor:
        shape = (image.shape[0], *([1] * (image.ndim - 1)))
        return (low + (high - low) * torch.rand(shape, generator=self.generator)).to(image.device)

    def _normal(self, image: Tensor) -> Tensor:
        return torch.randn(image.shape, generator=self.generator).to(image.device)

    def _smooth(self, image: Tensor, cells: int) -> Tensor:
        """Smooth standard normal field of about ``cells`` cells along each axis."""
        dims = image.ndim - 2
        coarse = torch.randn(image.shape[0], 1, *([cells] * dims), generator=self.generator).to(image.device)
        mode = "bicubic" if dims == 2 else "trilinear"
        return functional.interpolate(coarse, size=image.shape[2:], mode=mode)


def normalise(image: Tensor, percentiles: Sequence[float] = (0.5, 99.5)) -> Tensor:
    """Each image of a batch (B, C, *spatial) scaled so that the percentiles become 0 and 1, then clipped to [0, 1].

    The percentiles of an image of more than ``MOST_VALUES`` are those of every n-th value.
    """
    flat = image.flatten(1)
    flat = flat[:, :: -(-flat.shape[1] // MOST_VALUES)]
    low, high = _percentiles(flat, percentiles)
    shape = (-1, *([1] * (image.ndim - 1)))
    return ((image - low.reshape(shape)) / (high - low).clamp_min(1e-6).reshape(shape)).clamp(0, 1)


def _percentiles(flat: Tensor, percentiles: Sequence[float]) -> Tensor:
    """Percentiles (P, B) of rows (B, N); NumPy selects them on the CPU, where torch sorts: 40 times as slow."""
    if flat.device.type == "cpu" and not flat.requires_grad:
        return torch.from_numpy(np.percentile(flat.numpy(), percentiles, axis=1)).to(flat.dtype)
    return torch.quantile(flat, torch.tensor(percentiles, dtype=flat.dtype, device=flat.device) / 100, dim=1)
