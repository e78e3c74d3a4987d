"""What a packed bundle runs in programs that know one image in and one image out, such as MONAI Label's bundle app."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform
from torch import Tensor

from ..geometry import DenseTransform, Pair, SamplingGrid, resample
from ..networks import PairAsChannels
from ..utils import format_shape, plain
from .method import Inferer, LearnedMethod
from .refinement import Refinement


class FramesAsChannelsd(MapTransform):
    """A file of two frames, fixed and then moving, as one image of two channels.

    MONAI's readers give the frames of a film, the pages of a TIFF and the time points of a volume as the last axis.

    Args:
        keys: of the image, as ``monai.transforms.LoadImaged`` gives it: (*spatial, 2), or (H, W, 1, 2) in 2D.
        spatial_dims: 2 or 3, as the network has them.

    Raises:
        ValueError: when an image has another number of frames or axes.
    """

    def __init__(self, keys: str, *, spatial_dims: int) -> None:
        super().__init__(keys)
        self.spatial_dims = spatial_dims

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The data with images (2, *spatial); their meta key ``spatial_shape`` is that of one frame as a volume."""
        changed = dict(data)
        for key in self.key_iterator(changed):
            changed[key] = self._channels(changed[key], str(key))
        return changed

    def _channels(self, image: Tensor, name: str) -> MetaTensor:
        frames = torch.movedim(plain(image), -1, 0)
        if self.spatial_dims == 2 and frames.ndim == 4 and frames.shape[-1] == 1:
            frames = frames[..., 0]
        if frames.shape[0] != 2 or frames.ndim != self.spatial_dims + 1:
            raise ValueError(
                f"{name} has shape {format_shape(image.shape)}; expected two frames of {self.spatial_dims} axes along "
                "the last axis, the fixed and then the moving image. Save the two as one film, TIFF or NIfTI"
            )
        meta = dict(image.meta) if isinstance(image, MetaTensor) else {}
        meta["spatial_shape"] = np.array([*frames.shape[1:], 1][:3])
        return MetaTensor(frames.float(), meta=meta)


class WarpedMovingInferer:
    """Registers a pair given as channels and gives the moving image as the fixed one lies: what a viewer can show.

    The pair is registered as :func:`~monai_cellreg.methods.register` does it, at its own size and with the pixel size
    of its affine. Of a network that takes segmentations, the channels are labels, and so is the answer.

    Args:
        inferer: brings pairs to the network.
        refinement: improves each map by optimisation; none when omitted.
    """

    def __init__(self, inferer: Inferer, refinement: Refinement | None = None) -> None:
        self.inferer, self.refinement = inferer, refinement

    def __call__(self, inputs: Tensor, network: PairAsChannels) -> Tensor:
        """Pairs (B, 2, *spatial) to warped moving images (B, 1, *spatial), in 2D with a last axis of one: volumes."""
        spacing = np.linalg.norm(np.asarray(inputs.affine), axis=0) if isinstance(inputs, MetaTensor) else np.ones(3)
        shape = tuple(inputs.shape[2:])
        grid = SamplingGrid(shape, np.diag([*spacing[: len(shape)], 1.0]), unit="mm")
        method = LearnedMethod(network.network, self.inferer, self.refinement)
        warped = torch.stack([_warped(pair, grid, method) for pair in plain(inputs).cpu()])
        return warped if len(shape) == 3 else warped[..., None]


def _warped(channels: Tensor, grid: SamplingGrid, method: LearnedMethod) -> Tensor:
    """The moving image (1, *spatial) of a pair (2, *spatial) on the fixed one."""
    fixed, moving = channels[:1], channels[1:]
    labelled = bool(method.network.takes_segmentations)
    labels = {"fixed_label": fixed, "moving_label": moving} if labelled else {}
    with torch.enable_grad():  # a refinement descends
        found = method.register(Pair(fixed, moving, grid, grid, **labels))
    at_voxels = DenseTransform(found.displacement(grid).detach(), grid)
    return resample(moving[None], at_voxels, grid, grid, mode="nearest" if labelled else "linear")[0].detach()
