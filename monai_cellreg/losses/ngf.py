"""Normalised gradient fields: edges of two images that point the same way, whatever their brightness."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.utils import LossReduction
from torch import Tensor

from ..utils import Spacing, axis_spacing, check_positive, check_spacing
from .gradient import spatial_gradient
from .image_pair import ImageLoss, ImagePair

FLAT = 1e-20  # added to squared lengths: the gradient of a constant image has no direction


class NormalizedGradientFieldsLoss(ImageLoss):
    r"""How far edges of two images are from parallel, for images of different modalities.

    .. math:: L = \frac{1}{V} \int 1 - \langle n(I), n(J) \rangle^2 dx, \qquad
              n(I) = \frac{\nabla I}{\sqrt{|\nabla I|^2 + \epsilon^2}}

    A voxel costs 0 where both images have a strong edge in the same or in the opposite direction, 1 where one is flat.
    Derivatives are central differences, one-sided at the border and beside hidden voxels, so that a box as weight gives
    the loss of the cropped images. ``reduction="none"`` gives (B, C, *spatial), times the weight.

    Args:
        epsilon: length of a gradient that counts as an edge, for both images, in intensity by unit of the spacing.
            When None, each channel of each image has its own, ``noise`` times its mean length of the gradient, which
            makes the loss invariant to scaling of either image.
        noise: how much of the mean gradient is noise; used when ``epsilon`` is None.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        spacing: distance of voxels in world units, one number or one for each axis; 1 when None.

    Raises:
        ValueError: for an argument that is not positive; see also :meth:`ImageLoss.forward`.

    References:
        Haber, Modersitzki, Intensity gradient based registration and fusion of multi-modal images, MICCAI 2006 (the
        distance by inner products, and the automatic epsilon from the noise level).

    Example:
        >>> image = torch.rand(1, 1, 16, 12, generator=torch.Generator().manual_seed(0))
        >>> loss = NormalizedGradientFieldsLoss()
        >>> bool(torch.isclose(loss(image, image), loss(5 - 2 * image, image)))
        True
    """

    def __init__(
        self,
        epsilon: float | None = None,
        noise: float = 1.0,
        *,
        reduction: LossReduction | str = LossReduction.MEAN,
        spacing: Spacing = None,
    ) -> None:
        super().__init__(reduction)
        if epsilon is not None:
            check_positive("epsilon", epsilon)
        check_positive("noise", noise)
        check_spacing(spacing)
        self.epsilon, self.noise, self.spacing = epsilon, float(noise), spacing

    def unlikeness(self, images: ImagePair) -> Tensor:
        """One less the squared inner products of the normalised gradients (B, C, *spatial)."""
        dims, weight = images.pred.ndim - 2, images.weight
        visible = None if weight is None else weight > 0
        lengths = axis_spacing(self.spacing, dims)
        gradients = [spatial_gradient(image, visible, lengths) for image in (images.pred, images.target)]
        edges = [self._edge(gradient, weight) for gradient in gradients]
        product = torch.stack([p * t for p, t in zip(*gradients, strict=True)]).sum(0)
        return 1 - product / edges[0] * (product / edges[1])  # in turn, which stays in the range of float32

    def _edge(self, gradient: Sequence[Tensor], weight: Tensor | None) -> Tensor:
        """Squared length of the gradient of an image (B, C, *spatial), plus the squared epsilon of each channel."""
        square = torch.stack([part.square() for part in gradient]).sum(0) + FLAT
        if self.epsilon is not None:
            return square + self.epsilon**2
        axes, length = tuple(range(2, square.ndim)), square.sqrt()
        if weight is None:
            mean = length.mean(axes, keepdim=True)
        else:
            mean = (length * weight).sum(axes, keepdim=True) / weight.sum(axes, keepdim=True)
        return square + (self.noise * mean).square()
