"""Losses that hold the two directions together."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class CycleConsistencyLoss(nn.Module):
    """Mean squared difference of each heat map and image to the other side warped onto it, summed over both directions.

    Args:
        alpha: weight of the image intensities against the heat maps.

    References:
        Deep learning for non-rigid registration of cell nuclei in temporal microscopy images, SPIE 2022, eq. 3.
        ``alpha`` is not given there; BENCHMARKS.md has the values tried.
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
        overlap = _both(heat_maps, warped_heat_maps)
        return overlap if self.alpha == 0 else overlap + self.alpha * _both(images, warped_images)


def _both(pair: tuple[Tensor, Tensor], warped: tuple[Tensor, Tensor]) -> Tensor:
    """Mean squared difference, summed over the two directions."""
    return functional.mse_loss(pair[0], warped[0]) + functional.mse_loss(pair[1], warped[1])
