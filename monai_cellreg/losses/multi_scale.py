"""An image loss at several resolutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.utils import LossReduction
from torch import Tensor, nn
from torch.nn import functional

from .image_pair import ImagePair, prepare
from .reduction import check_reduction

POOLS = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


class MultiScaleLoss(nn.Module):
    """The mean of an image loss over several resolutions, which widens its reach at little cost.

    ``L = mean_s loss(pool_s(pred), pool_s(target), pool_s(weight))``, where ``pool_s`` averages blocks of ``s`` voxels
    along every axis, weighted, once for both images. MONAI's loss of this name smooths at full resolution instead,
    knows no weight, and takes the widths of its kernel as scales.

    Args:
        loss: takes ``pred``, ``target`` and, when there is one, ``weight``.
        scales: lengths of the blocks in voxels; 1 is the full resolution. An axis shorter than that becomes one block.
        reduction: ``"mean"`` or ``"sum"`` over the scales, or ``"none"`` for the loss of each, (scales, ...).

    Raises:
        ValueError: for another value of an argument, for a loss that gives maps of several sizes, and as
            :meth:`ImageLoss.forward` does.

    References:
        Mok, Chung, Large deformation diffeomorphic image registration with Laplacian pyramid networks, MICCAI 2020, for
        a similarity over a pyramid; there the finer scales count more.

    Example:
        >>> pred = torch.tensor([[[1.0, -1.0, 2.0, 2.0]]])
        >>> MultiScaleLoss(nn.MSELoss(), scales=[1, 2, 4], reduction="none")(pred, torch.zeros(1, 1, 4))
        tensor([2.5000, 2.0000, 1.0000])
    """

    def __init__(
        self, loss: nn.Module, scales: Sequence[int] = (1, 2, 4), reduction: LossReduction | str = LossReduction.MEAN
    ) -> None:
        super().__init__()
        if not scales or any(scale < 1 or scale != int(scale) for scale in scales):
            raise ValueError(f"scales is {scales}, expected at least one whole number of voxels, such as (1, 2, 4)")
        self.loss, self.scales, self.reduction = loss, tuple(map(int, scales)), check_reduction(reduction)

    def forward(self, pred: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The loss over all scales; for the arguments see :meth:`ImageLoss.forward`."""
        images = prepare(pred, target, weight)
        losses = [self.loss(*(x for x in _pooled(images, scale) if x is not None)) for scale in self.scales]
        shapes = {tuple(loss.shape) for loss in losses}
        if len(shapes) > 1:
            raise ValueError(
                f"the loss gave maps of the shapes {sorted(shapes)}, expected one shape at all scales; set the "
                "reduction of the loss to 'mean' or 'sum'"
            )
        stacked = torch.stack(losses)
        return stacked if self.reduction == "none" else getattr(stacked, self.reduction)()


def _pooled(images: ImagePair, scale: int) -> ImagePair:
    """Weighted means over blocks, which keep the blocks at the end of an axis that are not full."""
    if scale == 1:
        return images
    pred, target, weight = images
    block = [min(scale, size) for size in pred.shape[2:]]

    def pool(image: Tensor) -> Tensor:
        return POOLS[len(block)](image, block, ceil_mode=True)

    if weight is None:
        return ImagePair(pool(pred), pool(target), None)
    share = pool(weight)
    visible = torch.where(share > 0, share, 1)
    return ImagePair(pool(pred * weight) / visible, pool(target * weight) / visible, share)
