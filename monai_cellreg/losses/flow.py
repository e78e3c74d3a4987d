"""The loss of networks that predict a flow at several resolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..geometry import voxel_to_cube_ddf
from ..utils import format_shape
from .ddf import as_field, is_finite
from .tensors import plain


class MultiScaleFlowLoss(nn.Module):
    r"""Mean endpoint error of predictions from coarse to fine, in which finer ones count more.

    .. math:: L = \frac{\sum_n d^{N - n} \, \overline{|u_n(x) - u(x)|}}{\sum_n d^{N - n}}

    over the voxels x for the N predictions u_n of the field u. Distances are on the cube [-1, 1]^D, so that the value
    does not depend on the image size. Not squared, it follows a few large errors less than
    :class:`TransformationLoss`, and still pulls where the error is small.

    Args:
        decay: weight of each prediction over that of the next finer one, above 0.

    Raises:
        ValueError: for another decay.

    References:
        Dosovitskiy et al., FlowNet: learning optical flow with convolutional networks, ICCV 2015, Sect. 3 and 5: the
        endpoint error at every resolution, there against the downsampled truth; here predictions come resized.

    Example:
        >>> estimates = torch.stack([torch.full((1, 2, 3, 3), 4.0), torch.zeros(1, 2, 3, 3)], dim=1)
        >>> MultiScaleFlowLoss(decay=0.25)(estimates, torch.zeros(1, 2, 3, 3))  # (0.25 * 4 * sqrt(2) + 0) / 1.25
        tensor(1.1314)
    """

    def __init__(self, decay: float = 0.5) -> None:
        super().__init__()
        if not 0 < decay < float("inf"):
            raise ValueError(f"decay is {decay}; expected a number above 0, such as 0.5")
        self.decay = decay

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """The loss of predicted fields and the true one, in voxels.

        Args:
            pred: (B, N, D, *spatial), coarse to fine.
            target: (B, D, *spatial).

        Returns:
            Scalar.

        Raises:
            ValueError: for shapes that do not fit, or a value that is not finite.
        """
        truth = as_field(target, smallest=1)
        if pred.ndim != truth.ndim + 1 or pred.shape[1] < 1 or pred[:, 0].shape != truth.shape:
            raise ValueError(
                f"pred has shape {format_shape(pred.shape)} but target {format_shape(truth.shape)}; expected (B, N, "
                "*target.shape[1:]), N predictions of each field"
            )
        with torch.autocast(pred.device.type, enabled=False):
            missed = voxel_to_cube_ddf((plain(pred, truth.dtype) - truth[:, None]).flatten(0, 1))
            square = missed.square().sum(1)
            exact = square == 0  # has no gradient, in place of an infinite one
            errors = square.masked_fill(exact, 1).sqrt().masked_fill(exact, 0).unflatten(0, pred.shape[:2])
            errors = errors.flatten(2).mean(dim=(0, 2))  # (N,)
            weights = self.decay ** torch.arange(len(errors) - 1, -1, -1, dtype=errors.dtype, device=errors.device)
            loss = (errors * weights).sum() / weights.sum()
        if not is_finite(loss):
            raise ValueError("pred or target has a value that is not finite; expected numbers: look for an overflow")
        return loss
