"""How alike two images of features are, place by place and displacement by displacement."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...utils import check_same_shape


class LocalCorrelation(nn.Module):
    r"""The correlation layer of FlowNet, in 2D and 3D: a cost volume over a window of displacements.

    .. math:: c_d(x) = \frac{1}{C} \sum_k f_k(x)\, m_k(x + d)

    for features f of the fixed and m of the moving image, which are zero outside, and every d of the window. The
    channels run over the window in the order of the tensor axes, the last axis fastest.

    Args:
        radius: of the window in voxels, one number or one for each axis; 2 r + 1 displacements along an axis.
        stride: distance of neighbouring displacements in voxels; the window then reaches ``radius * stride``.

    Raises:
        ValueError: for a negative radius or a stride below 1.

    References:
        Dosovitskiy et al., FlowNet: learning optical flow with convolutional networks, ICCV 2015, Sect. 3, eq. 1, with
        patches of one voxel; the mean over the channels keeps the scale whatever their number.

    Example:
        >>> fixed, moving = torch.tensor([[[[0.0, 2, 0]]]]), torch.tensor([[[[0.0, 0, 3]]]])
        >>> LocalCorrelation((0, 1))(fixed, moving)[0, :, 0, 1]
        tensor([0., 0., 6.])
    """

    def __init__(self, radius: int | Sequence[int], *, stride: int = 1) -> None:
        super().__init__()
        self.radius = radius if isinstance(radius, int) else tuple(radius)
        self.stride = stride
        if min([radius] if isinstance(radius, int) else radius) < 0 or stride < 1:
            raise ValueError(f"radius is {radius} and stride {stride}; expected a radius of 0 or more, a stride from 1")

    def channels(self, spatial_dims: int) -> int:
        """Number of displacements in the window."""
        return len(self._window(spatial_dims))

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """Features (B, C, *spatial) of both images to (B, displacements, *spatial).

        Raises:
            ValueError: when the shapes differ.
        """
        check_same_shape("moving", moving.shape, "fixed", fixed.shape)
        size = fixed.shape[2:]
        reach = [r * self.stride for r in self._radii(len(size))]
        wide = functional.pad(moving, [margin for r in reversed(reach) for margin in (r, r)])
        costs = []
        for offset in self._window(len(size)):
            place = tuple(slice(r + o, r + o + s) for r, o, s in zip(reach, offset, size, strict=True))
            costs.append((fixed * wide[(..., *place)]).mean(1))
        return torch.stack(costs, dim=1)

    def _radii(self, spatial_dims: int) -> tuple[int, ...]:
        if isinstance(self.radius, int):
            return (self.radius,) * spatial_dims
        if len(self.radius) != spatial_dims:
            raise ValueError(f"radius is {self.radius} for {spatial_dims} axes; expected one number, or one an axis")
        return self.radius

    def _window(self, spatial_dims: int) -> list[tuple[int, ...]]:
        """Every displacement in voxels."""
        steps = [range(-r * self.stride, r * self.stride + 1, self.stride) for r in self._radii(spatial_dims)]
        return list(product(*steps))

    def extra_repr(self) -> str:
        return f"radius={self.radius}, stride={self.stride}"
