"""Joint segmentation and registration."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...geometry import warp
from ...utils import check_choice
from .cascade import cascade_of
from .segmentation_unet import SegmentationUNet

REGISTERED = ("masks", "heat_maps", "heat_maps_and_images")


class JointSegmentationRegistration(nn.Module):
    """Segments both images and finds the map between them, in both directions, from the segmentations.

    Gradients: the registration sees heat maps thresholded at 0.5, a step that passes no gradient, so the losses of the
    map train the registration alone; the segmentation learns from its own loss and, through the warped heat maps, from
    the cycle loss. Where the registration sees the heat maps themselves, every loss reaches every weight.

    Args:
        image_size: size of the images, every axis divisible by 32; resize other images first, as ``mc.register`` does.
        transformer: transformation models; see :func:`~monai_cellreg.networks.cascade_of`.
        control_shape: control points of the splines along each axis; 5 each when omitted.
        in_channels: channels of one image.
        features: see :class:`SegmentationUNet`.
        registers: what the registration sees of each side: ``"masks"`` (as in the paper), ``"heat_maps"``, or
            ``"heat_maps_and_images"``, which also aligns what lies inside.
        segment: ``False`` for images that are segmentations already: the registration alone, as in Sect. 2.1.

    References:
        Deep learning for non-rigid registration of cell nuclei in temporal microscopy images, SPIE 2022, Sect. 2.2.
        With s the fixed side, its s2t is our ``fixed_to_moving`` and its t2s our ``moving_to_fixed``.
    """

    def __init__(
        self,
        image_size: Sequence[int],
        *,
        transformer: str = "tps",
        control_shape: Sequence[int] | None = None,
        in_channels: int = 1,
        features: Sequence[int] = (8, 16, 32, 64, 128, 8),
        registers: str = "masks",
        segment: bool = True,
    ) -> None:
        super().__init__()
        self.image_size = tuple(image_size)
        check_choice("registers", registers, REGISTERED)
        self.registers = registers
        self.segmentation = SegmentationUNet(len(self.image_size), in_channels, features) if segment else None
        seen = 1 + in_channels if registers == "heat_maps_and_images" else 1
        self.registration = cascade_of(transformer, self.image_size, control_shape=control_shape, in_channels=seen)

    @property
    def takes_segmentations(self) -> bool:
        """Whether the images have to be segmentations."""
        return self.segmentation is None

    def logits(self, image: Tensor) -> Tensor:
        """Heat map logits (B, 1, *image_size) of images (B, C, *image_size)."""
        if tuple(image.shape[2:]) != self.image_size:
            raise ValueError(
                f"image has shape {tuple(image.shape)} but the network takes (B, C, *{self.image_size}); "
                "expected images resized to image_size (mc.register does it)"
            )
        return torch.logit(image, eps=1e-4) if self.segmentation is None else self.segmentation(image)

    def seen(self, image: Tensor, heat_map: Tensor) -> Tensor:
        """What the registration sees (B, 1 or 1 + C, *image_size) of images (B, C, ...) and heat maps (B, 1, ...)."""
        if self.registers == "masks":
            return (heat_map > 0.5).to(heat_map.dtype)
        return heat_map if self.registers == "heat_maps" else torch.cat([heat_map, image.to(heat_map.dtype)], dim=1)

    def forward(self, fixed: Tensor, moving: Tensor) -> dict[str, Tensor]:
        """Segments, registers and warps a batch of pairs.

        Args:
            fixed: (B, C, *image_size) in [0, 1].
            moving: likewise.

        Returns:
            For each side X of ``fixed``, ``moving``: ``X_logits``, ``X_heat_map`` (B, 1, ...), ``warped_X`` and
            ``warped_X_heat_map``, that side seen from the other one; the voxel fields ``fixed_to_moving`` and
            ``moving_to_fixed`` (B, D, ...); and ``estimates`` (B, N, D, ...) of the first, coarse to fine and stage by
            stage, of which it is the last.
        """
        batch = fixed.shape[0]
        images = torch.cat([fixed, moving])
        logits = self.logits(images).float()
        heat_maps = torch.sigmoid(logits)
        seen, swapped = self.seen(images, heat_maps), torch.cat([heat_maps[batch:], heat_maps[:batch]])
        maps = self.registration(seen, torch.cat([seen[batch:], seen[:batch]]))
        fields = maps.fields[-1]  # first half fixed_to_moving, second moving_to_fixed
        read = torch.cat([torch.cat([moving, fixed]).float(), swapped], dim=1)
        warped = warp(read, fields)  # first half on the fixed side
        channels = fixed.shape[1]
        return {
            "fixed_logits": logits[:batch],
            "moving_logits": logits[batch:],
            "fixed_heat_map": heat_maps[:batch],
            "moving_heat_map": heat_maps[batch:],
            "estimates": torch.stack([field[:batch] for field in maps.fields], dim=1),
            "fixed_to_moving": fields[:batch],
            "moving_to_fixed": fields[batch:],
            "warped_moving": warped[:batch, :channels],
            "warped_moving_heat_map": warped[:batch, channels:],
            "warped_fixed": warped[batch:, :channels],
            "warped_fixed_heat_map": warped[batch:, channels:],
        }
