"""The segmentation network of the joint method."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets import BasicUNet
from torch import Tensor, nn


class SegmentationUNet(nn.Module):
    """U-Net with four max-pooling levels and skip connections (MONAI's blocks), giving heat map logits.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        features: channels of the five resolutions, finest first, then of the last full-resolution block.

    References:
        Deep learning for non-rigid registration of cell nuclei in temporal microscopy images, SPIE 2022, Sect. 2.2.
        Widths and instance normalisation are ours: with statistics of the training's batches, images of another kind
        are segmented far worse (BENCHMARKS.md). Weights and features lie channels-last, which halves the time of a step
        on CPUs.
    """

    def __init__(
        self, spatial_dims: int, in_channels: int = 1, features: Sequence[int] = (8, 16, 32, 64, 128, 8)
    ) -> None:
        super().__init__()
        self.memory_format = torch.channels_last if spatial_dims == 2 else torch.channels_last_3d
        norm = ("instance", {"affine": True})
        unet = BasicUNet(spatial_dims, in_channels, 1, features=tuple(features), act="relu", norm=norm)
        self.unet = unet.to(memory_format=self.memory_format)  # type: ignore[call-overload]  # missing in torch's types

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, *spatial) image to logits (B, 1, *spatial)."""
        return self.unet(image.contiguous(memory_format=self.memory_format))
