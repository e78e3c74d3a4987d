"""Losses on corresponding points."""

from __future__ import annotations

from torch import Tensor, nn

from ..geometry import voxel_to_cube_ddf


class TransformationLoss(nn.Module):
    """Mean squared distance between predicted and true positions of the grid points.

    Distances are on the cube [-1, 1]^D, so that the value does not depend on the image size and is comparable with the
    other terms.

    References:
        Deep learning for non-rigid registration of cell nuclei in temporal microscopy images, SPIE 2022, eq. 2, with
        every voxel centre as a grid point.
    """

    def forward(self, predicted_vox: Tensor, true_vox: Tensor) -> Tensor:
        """Voxel displacement fields (B, D, *spatial); gives a scalar."""
        if predicted_vox.shape != true_vox.shape:
            raise ValueError(
                f"predicted_vox has shape {tuple(predicted_vox.shape)}, true_vox {tuple(true_vox.shape)}; "
                "expected the same (B, D, *spatial)"
            )
        return voxel_to_cube_ddf(predicted_vox - true_vox).square().sum(1).mean()
