"""The methods of the benchmark of nuclei, and the masks that its networks find."""

from __future__ import annotations

import torch
from monai.transforms import Resize
from torch import Tensor

from ..networks import JointSegmentationRegistration
from ..transforms import normalise, to_grey
from ..utils import plain
from .contenders import Contender, network_of
from .nuclei_networks import NETWORKS
from .nuclei_training import TrainedNetwork

__all__ = ["DEFAULT_METHODS", "QUICK_METHODS", "network_contender", "segmented"]

DEFAULT_METHODS = (*NETWORKS, "auto", "elastix", "simpleitk", "ants", "segreg", "joint")
"""The networks of the paper in its order, then the others."""

QUICK_METHODS = (*NETWORKS, "auto", "elastix")


def network_contender(network: TrainedNetwork) -> Contender:
    """A network that was trained for the benchmark."""
    return Contender(network.name, network.method(), f"{network.name}-{network.seed}", network.fingerprint)


def segmented(contender: Contender, image: Tensor) -> Tensor | None:
    """The mask (1, H, W), bool, that a network finds in an image; ``None`` of methods that do not segment.

    Args:
        contender: whose network is asked.
        image: (C, H, W), one or three channels.
    """
    network = network_of(contender.method)
    if not isinstance(network, JointSegmentationRegistration) or network.takes_segmentations:
        return None
    seen = _resized(normalise(to_grey(plain(image))[None])[0], network.image_size)
    with torch.no_grad():
        logits = network.eval().logits(seen[None].to(next(network.parameters()).device))
    return _resized(torch.sigmoid(logits.float())[0].cpu(), tuple(image.shape[1:])) > 0.5


def _resized(image: Tensor, size: tuple[int, ...]) -> Tensor:
    """An image (1, H, W) at another size, smoothed first where it shrinks."""
    if tuple(image.shape[1:]) == tuple(size):
        return image
    return torch.as_tensor(plain(Resize(size, mode="bilinear", anti_aliasing=True)(image)))
