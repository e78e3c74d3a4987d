"""The registration network of the segmentation-based and the joint method."""

from __future__ import annotations

import math
from collections.abc import Sequence

from monai.networks.blocks import Convolution
from torch import Tensor, nn


class ControlPointRegressor(nn.Module):
    """Five convolution and two fully connected layers from a pair of images to transformation parameters.

    Starts at the identity (zero parameters).

    Args:
        spatial_size: image size; every axis divisible by 32.
        parameter_shape: shape of one set of parameters, e.g. (25, 2) for 5 x 5 control points or (2, 3) for affine.
        in_channels: channels of both images together.
        channels: of the five convolutions, each halving the resolution.
        hidden: width of the first fully connected layer.

    Raises:
        ValueError: when the size is not divisible by 32.

    References:
        Deep learning for non-rigid registration of cell nuclei in temporal microscopy images, SPIE 2022, Sect. 2.1
        (layer count); widths, strides and
        normalisation are ours. Without the layer normalisation nearly all hidden units die within an epoch.
    """

    def __init__(
        self,
        spatial_size: Sequence[int],
        parameter_shape: Sequence[int],
        *,
        in_channels: int = 2,
        channels: Sequence[int] = (16, 32, 64, 64, 128),
        hidden: int = 256,
    ) -> None:
        super().__init__()
        factor = 2 ** len(channels)
        if any(s % factor for s in spatial_size):
            near = tuple(max(factor, round(s / factor) * factor) for s in spatial_size)
            raise ValueError(
                f"spatial_size is {tuple(spatial_size)}; expected sizes divisible by {factor}, such as {near}"
            )
        self.spatial_size, self.parameter_shape = tuple(spatial_size), tuple(parameter_shape)
        widths = [in_channels, *channels]
        self.convolutions = nn.Sequential(
            *(
                Convolution(len(self.spatial_size), a, b, strides=2, kernel_size=3, norm="batch", act="relu")
                for a, b in zip(widths[:-1], widths[1:], strict=True)
            )
        )
        cells = math.prod(s // factor for s in self.spatial_size)
        self.hidden = nn.Sequential(
            nn.Flatten(), nn.Linear(cells * widths[-1], hidden), nn.LayerNorm(hidden), nn.ReLU()
        )
        self.out = nn.Linear(hidden, math.prod(self.parameter_shape))
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, pair: Tensor) -> Tensor:
        """(B, in_channels, *spatial_size) to (B, *parameter_shape)."""
        return self.out(self.hidden(self.convolutions(pair))).reshape(-1, *self.parameter_shape)
