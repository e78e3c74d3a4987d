"""Losses on segmentations; for soft Dice take ``monai.losses.DiceLoss``, with a mask ``MaskedDiceLoss``."""

from __future__ import annotations

from copy import deepcopy

from monai.utils import LossReduction
from torch import Tensor, nn
from torch.nn import functional

from ..utils import format_shape
from .image_pair import ImageLoss, ImagePair, prepare
from .tensors import may_look

ROUNDING = 1e-2  # by which a warped heat map may leave [0, 1], bfloat16 included


class PairSegmentationLoss(nn.Module):
    """Binary cross entropy of the heat maps of both images, summed over the two.

    References:
        Deep learning for non-rigid registration of cell nuclei in temporal microscopy images, SPIE 2022, eq. 1;
        computed on logits for numerical stability.
    """

    def forward(self, fixed_logits: Tensor, fixed_label: Tensor, moving_logits: Tensor, moving_label: Tensor) -> Tensor:
        """All (B, 1, *spatial), labels in [0, 1]; gives a scalar.

        Raises:
            ValueError: when logits (``pred``) and label (``target``) differ in shape, or hold NaN.
        """
        fixed, moving = prepare(fixed_logits, fixed_label, None), prepare(moving_logits, moving_label, None)
        cross_entropy = functional.binary_cross_entropy_with_logits
        return cross_entropy(fixed.pred, fixed.target) + cross_entropy(moving.pred, moving.target)


class LabelCrossEntropyLoss(ImageLoss):
    r"""Binary cross entropy of a warped label, or heat map, to the label that it should cover.

    .. math:: L = -\frac{\sum_x w(x) (y(x) \log p(x) + (1 - y(x)) \log(1 - p(x)))}{\sum_x w(x)}

    ``pred`` holds probabilities, since they are what is warped; warp labels linearly (one read at the nearest voxel has
    no gradient). p is squeezed into [eps, 1 - eps], linearly, which bounds value and gradient where p is sure and
    wrong, as the values of a warped mask mostly are. Unlike ``torch.nn.BCELoss`` it works under autocast, and takes
    values that linear interpolation has rounded past 0 or 1.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``, which gives (B, C, *spatial).
        eps: the value is at most ``-log(eps)``, the gradient ``1 / eps``; 0 for the cross entropy as it is.

    Example:
        >>> import torch
        >>> LabelCrossEntropyLoss()(torch.full((1, 1, 2, 2), 0.5), torch.ones(1, 1, 2, 2))
        tensor(0.6931)
    """

    def __init__(self, reduction: LossReduction | str = LossReduction.MEAN, *, eps: float = 1e-3) -> None:
        super().__init__(reduction)
        if not 0 <= eps < 0.5:
            raise ValueError(f"eps is {eps}, expected a number from 0 to below 0.5, such as 1e-3")
        self.eps = float(eps)

    def unlikeness(self, images: ImagePair) -> Tensor:
        """Cross entropies (B, C, *spatial).

        Raises:
            ValueError: for values that are no probabilities.
        """
        pred, target = (
            _probabilities(name, image) for name, image in (("pred", images.pred), ("target", images.target))
        )
        return functional.binary_cross_entropy(self.eps + (1 - 2 * self.eps) * pred, target, reduction="none")


def _probabilities(name: str, image: Tensor) -> Tensor:
    """The image in [0, 1], where only rounding has led out of it."""
    if may_look():
        low, high = image.detach().aminmax()
        if bool((low < -ROUNDING) | (high > 1 + ROUNDING)):
            raise ValueError(
                f"{name} has values from {float(low):.3g} to {float(high):.3g}, expected probabilities in [0, 1]; take "
                "the sigmoid of logits, and one mask a label of a label map"
            )
    return image.clamp(0, 1)


class SegmentationFeatureLoss(ImageLoss):
    r"""Mean squared difference of what a frozen network, such as one that segments, sees in two images.

    .. math:: L = \frac{\sum_x w(x) |f(I)(x) - f(J)(x)|^2}{C \sum_x w(x)}

    for the C feature channels of f. A copy of the network is kept in evaluation mode without gradient of its own,
    whatever ``train()`` says; the gradient goes through it to the images. To compare a warped feature map instead, as
    the reference does, warp it and take the :class:`~monai_cellreg.losses.MSELoss` of both maps.

    Args:
        network: image (B, C, *spatial) to one feature map (B, F, *any size).
        reduction: ``"mean"``, ``"sum"`` or ``"none"``, which gives (B, F, *any size).

    References:
        Mahapatra, registration of histopathology images using self-supervised fine-grained segmentation feature maps
        (SR-Net), eq. 2.
    """

    def __init__(self, network: nn.Module, reduction: LossReduction | str = LossReduction.MEAN) -> None:
        super().__init__(reduction)
        self.network = deepcopy(network).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> SegmentationFeatureLoss:
        """Sets the mode of the loss; the network stays in evaluation mode."""
        super().train(mode)
        self.network.eval()
        return self

    def unlikeness(self, images: ImagePair) -> Tensor:
        """Squared differences (B, F, *any size)."""
        pred, target = self.network(images.pred), self.network(images.target)
        if not isinstance(pred, Tensor) or pred.ndim != images.pred.ndim:
            given = format_shape(pred.shape) if isinstance(pred, Tensor) else type(pred).__name__
            raise ValueError(
                f"network gave {given} for an image {format_shape(images.pred.shape)}, expected one feature map "
                "(B, F, *any size); wrap the network to give one of its maps"
            )
        return (pred - target).square()

    def reduce(self, values: Tensor, weight: Tensor | None) -> Tensor:
        """As ``reduction`` says, with the weight brought to the size of the feature map."""
        if weight is not None:
            weight = functional.interpolate(weight.mean(1, keepdim=True), size=values.shape[2:], mode="area")
        return super().reduce(values, weight)
