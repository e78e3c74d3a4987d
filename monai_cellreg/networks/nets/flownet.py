"""The network of optical flow."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.blocks import Convolution
from torch import Tensor, nn
from torch.nn import functional

from ..blocks import LocalCorrelation

MODES = {2: "bilinear", 3: "trilinear"}
SLOPE = 0.1


class FlowNet(nn.Module):
    """Displacements of every voxel, predicted coarse to fine from the correlation of the features of two images.

    Three strided convolutions see each image by itself, with shared weights; from their correlation, and the features
    of the fixed image, two more go down to 1/32 of the resolution. On the way up every resolution from 1/16 to 1/4
    predicts a flow, which the next one sees beside the features of the fixed image. Starts at zero flow.

    Args:
        image_size: of the images, every axis divisible by 32.
        in_channels: channels of one image.
        channels: of the five resolutions from 1/2 to 1/32.
        radius: of the correlation in voxels of 1/8 of the resolution.

    Raises:
        ValueError: when the size is not divisible by 32, or there are not five channels.

    References:
        Dosovitskiy et al., FlowNet: learning optical flow with convolutional networks, ICCV 2015 (FlowNetC): siamese
        encoder, correlation, prediction at several resolutions. Fewer, narrower layers, batch normalisation, a
        correlation window of 7 in place of 21 (our displacements are small) and the third dimension are ours.
    """

    def __init__(
        self,
        image_size: Sequence[int],
        *,
        in_channels: int = 1,
        channels: Sequence[int] = (12, 24, 48, 64, 96),
        radius: int = 3,
    ) -> None:
        super().__init__()
        self.image_size = tuple(image_size)
        if len(channels) != 5:
            raise ValueError(f"channels is {tuple(channels)}; expected five widths, of 1/2 to 1/32 of the resolution")
        factor = 2 ** len(channels)
        if any(s % factor for s in self.image_size):
            near = tuple(max(factor, round(s / factor) * factor) for s in self.image_size)
            raise ValueError(f"image_size is {self.image_size}; expected sizes divisible by {factor}, such as {near}")
        dims = len(self.image_size)
        first, second, third, fourth, fifth = channels

        def convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
            return Convolution(
                dims,
                inputs,
                outputs,
                strides=stride,
                kernel_size=3,
                norm="batch",
                act=("leakyrelu", {"negative_slope": SLOPE}),
            )

        self.siamese = nn.ModuleList(
            [convolution(in_channels, first, 2), convolution(first, second, 2), convolution(second, third, 2)]
        )
        self.correlation = LocalCorrelation(radius)
        self.redirection = convolution(third, third // 2)
        self.joined = convolution(third // 2 + self.correlation.channels(dims), third)
        self.down = nn.ModuleList([convolution(third, fourth, 2), convolution(fourth, fifth, 2)])
        sides = (fourth, third, second)  # features that meet the way up at 1/16, 1/8, 1/4
        below = (fifth, fourth + dims, third + dims)
        self.up = nn.ModuleList(convolution(b + s, s) for b, s in zip(below, sides, strict=True))
        self.flows = nn.ModuleList(Convolution(dims, s, dims, kernel_size=3, conv_only=True) for s in sides)
        for flow in self.flows:
            nn.init.zeros_(flow.conv.weight)
            nn.init.zeros_(flow.conv.bias)

    def forward(self, pair: Tensor) -> list[Tensor]:
        """The flow from the fixed to the moving image.

        Args:
            pair: (B, 2 in_channels, *image_size): the fixed image, then the moving one.

        Returns:
            Displacements (B, D, *image_size) on the cube [-1, 1]^D, predicted at 1/16, 1/8 and 1/4 of the resolution
            and resized linearly; the last one is the result.
        """
        batch = pair.shape[0]
        features, pyramid = torch.cat(pair.chunk(2, dim=1)), []
        for layer in self.siamese:
            features = layer(features)
            pyramid.append(features[:batch])
        cost = functional.leaky_relu(self.correlation(features[:batch], features[batch:]), SLOPE)
        joined = self.joined(torch.cat([self.redirection(features[:batch]), cost], dim=1))
        sixteenth = self.down[0](joined)
        below, flows = self.down[1](sixteenth), []
        for layer, predict, side in zip(self.up, self.flows, (sixteenth, joined, pyramid[1]), strict=True):
            seen = layer(torch.cat([_resized(below, side.shape[2:]), side], dim=1))
            flows.append(predict(seen))
            below = torch.cat([seen, flows[-1]], dim=1)
        return [_resized(flow.float(), self.image_size) for flow in flows]


def _resized(values: Tensor, size: Sequence[int]) -> Tensor:
    return functional.interpolate(values, size=tuple(size), mode=MODES[len(size)])
