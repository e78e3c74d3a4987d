"""Registering again what a first pass leaves."""

from __future__ import annotations

from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor

from ..networks import JointSegmentationRegistration


class RefiningInferer(Inferer):
    """Registers a batch of pairs in several passes.

    Each pass finds, from the segmentations, the map from the fixed images to the moving ones as warped by the map so
    far, and puts it before that map. Heat maps are computed once, and always warped by the whole chain at once.

    Args:
        passes: number of registrations, at least 1; 1 gives the network's own map.
    """

    def __init__(self, passes: int = 3) -> None:
        super().__init__()
        if passes < 1:
            raise ValueError(f"passes is {passes}; expected at least 1")
        self.passes = passes

    @torch.no_grad()
    def __call__(  # type: ignore[override]
        self, fixed: Tensor, network: JointSegmentationRegistration, moving: Tensor
    ) -> dict[str, Any]:
        """Predictions for images (B, C, *image_size).

        Returns:
            ``fixed_heat_map`` and ``moving_heat_map`` (B, 1, ...), the voxel field ``fixed_to_moving`` (B, D, ...) of
            the whole chain, and the ``parameters`` (B, ...) of the stages of every pass, in the order in which they
            were found: the last pass acts first.
        """
        images = torch.cat([fixed, moving])
        heat_maps = torch.sigmoid(network.logits(images).float())
        seen, heat_maps = network.seen(images, heat_maps).chunk(2), heat_maps.chunk(2)
        field, parameters = None, []
        for _ in range(self.passes):
            maps = network.registration(*seen, field)
            field = maps.fields[-1]
            parameters.append(maps.parameters)
        return {
            "fixed_heat_map": heat_maps[0],
            "moving_heat_map": heat_maps[1],
            "fixed_to_moving": field,
            "parameters": parameters,
        }
