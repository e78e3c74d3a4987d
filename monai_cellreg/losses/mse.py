"""Mean squared difference of intensities."""

from __future__ import annotations

from torch import Tensor

from .image_pair import ImageLoss, ImagePair


class MSELoss(ImageLoss):
    """Mean squared difference of two images, for images of one modality and equal brightness.

    ``L = sum_x w(x) (pred(x) - target(x))**2 / sum_x w(x)`` over the voxels and channels of an image, averaged over the
    batch. ``reduction="none"`` gives the weighted squares (B, C, *spatial), ``"sum"`` their sum.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    References:
        Hill et al., Medical image registration, Physics in Medicine and Biology 46, 2001 (sum of squared intensity
        differences), here as a mean.

    Example:
        >>> import torch
        >>> pred, target = torch.tensor([[[1.0, 2.0, 9.0]]]), torch.zeros(1, 1, 3)
        >>> MSELoss()(pred, target, weight=torch.tensor([[[1.0, 1.0, 0.0]]]))
        tensor(2.5000)
    """

    def unlikeness(self, images: ImagePair) -> Tensor:
        """Squared differences (B, C, *spatial)."""
        return (images.pred - images.target).square()
