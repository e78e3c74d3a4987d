"""Joint segmentation and registration."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...geometry import AffineField, ThinPlateSplineField, warp
from .control_point_regressor import ControlPointRegressor
from .segmentation_unet import SegmentationUNet


class JointSegmentationRegistration(nn.Module):
    """Segments both images and regresses the map between them, in both directions, from the segmentations.

    Gradients: the regressor sees heat maps thresholded at 0.5, a step that passes no gradient, so the transformation
    loss trains the regressor alone; the segmentation learns from its own loss and, through the warped heat maps, from
    the cycle loss. With ``soft_heat_maps`` the regressor sees the heat maps themselves and every loss reaches every
    weight.

    Args:
        image_size: size of the images, every axis divisible by 32; resize other images first, as ``mc.register`` does.
        control_shape: control points of the thin-plate spline along each axis; ``None`` for an affine map.
        in_channels: channels of one image.
        features: see :class:`SegmentationUNet`.
        soft_heat_maps: give the regressor heat maps instead of masks.
        segment: ``False`` for images that are segmentations already: the regressor alone, as in Sect. 2.1.

    References:
        Deep learning for non-rigid registration of cell nuclei in temporal microscopy images, SPIE 2022, Sect. 2.2.
        With s the fixed side, its s2t is our ``fixed_to_moving`` and its t2s our ``moving_to_fixed``.
    """

    def __init__(
        self,
        image_size: Sequence[int],
        *,
        control_shape: Sequence[int] | None = (5, 5),
        in_channels: int = 1,
        features: Sequence[int] = (8, 16, 32, 64, 128, 8),
        soft_heat_maps: bool = False,
        segment: bool = True,
    ) -> None:
        super().__init__()
        self.image_size = tuple(image_size)
        self.soft_heat_maps = soft_heat_maps
        self.segmentation = SegmentationUNet(len(self.image_size), in_channels, features) if segment else None
        self.field = (
            AffineField(self.image_size)
            if control_shape is None
            else ThinPlateSplineField(self.image_size, control_shape)
        )
        self.regressor = ControlPointRegressor(self.image_size, self.field.parameter_shape)

    def logits(self, image: Tensor) -> Tensor:
        """Heat map logits (B, 1, *image_size) of images (B, C, *image_size)."""
        if tuple(image.shape[2:]) != self.image_size:
            raise ValueError(
                f"image has shape {tuple(image.shape)} but the network takes (B, C, *{self.image_size}); "
                "expected images resized to image_size (mc.register does it)"
            )
        return torch.logit(image, eps=1e-4) if self.segmentation is None else self.segmentation(image)

    def parameters_between(self, fixed_heat_map: Tensor, moving_heat_map: Tensor) -> Tensor:
        """Parameters (B, ...) of ``self.field`` that map fixed to moving, from heat maps (B, 1, *image_size)."""
        pair = torch.cat([fixed_heat_map, moving_heat_map], dim=1)
        if not self.soft_heat_maps:
            pair = (pair > 0.5).to(pair.dtype)
        return self.regressor(pair).float()

    def forward(self, fixed: Tensor, moving: Tensor) -> dict[str, Tensor]:
        """Segments, registers and warps a batch of pairs.

        Args:
            fixed: (B, C, *image_size) in [0, 1].
            moving: likewise.

        Returns:
            For each side X of ``fixed``, ``moving``: ``X_logits``, ``X_heat_map`` (B, 1, ...), ``warped_X`` and
            ``warped_X_heat_map``, that side seen from the other one; the ``parameters`` (B, ...) of the map and the
            voxel fields ``fixed_to_moving`` and ``moving_to_fixed`` (B, D, ...).
        """
        batch = fixed.shape[0]
        logits = self.logits(torch.cat([fixed, moving])).float()
        heat_maps = torch.sigmoid(logits)
        swapped = torch.cat([heat_maps[batch:], heat_maps[:batch]])
        parameters = self.parameters_between(heat_maps, swapped)  # first half fixed_to_moving, second moving_to_fixed
        fields = self.field(parameters)
        read = torch.cat([torch.cat([moving, fixed]).float(), swapped], dim=1)
        warped = warp(read, fields)  # first half on the fixed side
        channels = fixed.shape[1]
        return {
            "fixed_logits": logits[:batch],
            "moving_logits": logits[batch:],
            "fixed_heat_map": heat_maps[:batch],
            "moving_heat_map": heat_maps[batch:],
            "parameters": parameters[:batch],
            "fixed_to_moving": fields[:batch],
            "moving_to_fixed": fields[batch:],
            "warped_moving": warped[:batch, :channels],
            "warped_moving_heat_map": warped[:batch, channels:],
            "warped_fixed": warped[batch:, :channels],
            "warped_fixed_heat_map": warped[batch:, channels:],
        }
