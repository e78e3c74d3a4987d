"""Losses that hold the two directions together."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class CycleConsistencyLoss(nn.Module):
    """Mean squared difference of each heat map and image to the other side warped onto it, summed over both directions.

    Args:
        alpha: weight of the image intensities against the heat maps.

    References:
        Deep learning for non-rigid registration of cell nuclei in temporal microscopy images, SPIE 2022, eq. 3. ``alpha`` is
        not given there; BENCHMARKS.md has the values tried.
    """

    def __init__(self, alpha: float = 0.1) -> None:
        super().__init__()
        if not alpha >= 0:
            raise ValueError(f"alpha is {alpha}; expected a weight of at least 0")
        self.alpha = alpha

    def forward(
        self,
        heat_maps: tuple[Tensor, Tensor],
        warped_heat_maps: tuple[Tensor, Tensor],
        images: tuple[Tensor, Tensor],
        warped_images: tuple[Tensor, Tensor],
    ) -> Tensor:
        """Pairs of (B, C, *spatial): the fixed side with the warped moving one, then the moving with the warped fixed.

        Returns:
            Scalar.
        """
        overlap = sum(functional.mse_loss(a, b) for a, b in zip(heat_maps, warped_heat_maps, strict=True))
        if self.alpha == 0:
            return overlap
        return overlap + self.alpha * sum(
            functional.mse_loss(a, b) for a, b in zip(images, warped_images, strict=True)
        )
