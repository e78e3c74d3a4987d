"""Regressing again what a first pass leaves."""

from __future__ import annotations

import torch
from monai.inferers import Inferer
from torch import Tensor

from ..geometry import warp
from ..networks import JointSegmentationRegistration


class RefiningInferer(Inferer):
    """Registers a batch of pairs in several passes.

    Each pass regresses, from the segmentations, the map from the fixed images to the moving ones as warped by the map
    so far, and puts it before that map. Heat maps are computed once, and always warped by the whole chain at once.

    Args:
        passes: number of regressions, at least 1; 1 gives the network's own map.
    """

    def __init__(self, passes: int = 3) -> None:
        super().__init__()
        if passes < 1:
            raise ValueError(f"passes is {passes}; expected at least 1")
        self.passes = passes

    @torch.no_grad()
    def __call__(  # type: ignore[override]
        self, fixed: Tensor, network: JointSegmentationRegistration, moving: Tensor
    ) -> dict[str, Tensor]:
        """Predictions for images (B, C, *image_size).

        Returns:
            ``fixed_heat_map`` and ``moving_heat_map`` (B, 1, ...), the voxel field ``fixed_to_moving`` (B, D, ...) of
            the whole chain, and the ``parameters`` (passes, B, ...) of its maps in the order in which they are applied.
        """
        fixed_heat_map, moving_heat_map = torch.sigmoid(network.logits(torch.cat([fixed, moving])).float()).chunk(2)
        field = fixed_heat_map.new_zeros(fixed.shape[0], fixed.ndim - 2, *fixed.shape[2:])
        chain: list[Tensor] = []
        for _ in range(self.passes):
            chain.insert(0, network.parameters_between(fixed_heat_map, warp(moving_heat_map, field)))
            step = network.field(chain[0])
            field = step + warp(field, step)
        return {
            "fixed_heat_map": fixed_heat_map,
            "moving_heat_map": moving_heat_map,
            "fixed_to_moving": field,
            "parameters": torch.stack(chain),
        }
