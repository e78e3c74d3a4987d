"""DIRNet: unsupervised deformable registration by a fully convolutional regressor and a spline."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...geometry import AffineField, PatchBSplineField, ThinPlateSplineField, ThinPlateSplineTransform, warp
from ...utils import check_choice
from .cascade import Cascade, Head, Stage
from .patch_regressor import AffineRegressor, PatchRegressor, WholeImageRegressor


@dataclass(frozen=True)
class DIRNetVariant:
    """What tells the variants of the paper apart.

    Args:
        pooling: ``"average"``, ``"max"`` or ``"stride"``.
        order: of the B-spline; 0 for a thin-plate spline.
        sees: what a control point depends on: ``"patch"``, ``"overlapping"`` patches, or ``"image"``.
    """

    pooling: str = "average"
    order: int = 3
    sees: str = "patch"


DIRNET_VARIANTS: Mapping[str, DIRNetVariant] = {
    "B": DIRNetVariant(),
    "A1": DIRNetVariant(pooling="max"),
    "A2": DIRNetVariant(pooling="stride"),
    "B1": DIRNetVariant(order=2),
    "B2": DIRNetVariant(order=0),
    "C1": DIRNetVariant(sees="overlapping"),
    "C2": DIRNetVariant(sees="image"),
}
"""The baseline, ``"B"``, and the variants by the names of the paper."""


class DIRNet(nn.Module):
    """Registers pairs of images in one pass: regressors predict control points, a spline makes a map of them.

    The weights know nothing of the size of the images (but those of variant C2): :meth:`at` gives the same network for
    another one.

    Args:
        image_size: of the images, D axes; each divisible by :attr:`divisor`.
        variant: of the paper, one of ``DIRNET_VARIANTS``.
        levels: halvings of each spline stage, coarse to fine; control points are ``2**levels`` voxels apart. One stage
            in the paper. Stages with more halvings than the finest see the images coarser by as many.
        channels: kernels of every layer, or of the layers before each halving of the finest stage.
        in_channels: channels of one image.
        affine: begins with an affine stage.

    Raises:
        ValueError: for an unknown variant, no stage, or a size that is not divisible.

    References:
        de Vos et al., End-to-end unsupervised deformable image registration with a convolutional neural network, 2017.
        The spline is complete at the border of the image, and control points lie at the centres of the patches that
        they are predicted from, on which the paper is silent. Several stages, the affine one and the third dimension
        are what its authors did next (A deep learning framework for unsupervised affine and deformable image
        registration, Medical Image Analysis 2019).

    Example:
        >>> network = DIRNet((64, 48))
        >>> network(torch.rand(2, 1, 64, 48), torch.rand(2, 1, 64, 48))["fixed_to_moving"].shape
        torch.Size([2, 2, 64, 48])
    """

    takes_segmentations = False

    def __init__(
        self,
        image_size: Sequence[int],
        *,
        variant: str = "B",
        levels: Sequence[int] = (4,),
        channels: int | Sequence[int] = 16,
        in_channels: int = 1,
        affine: bool = False,
    ) -> None:
        super().__init__()
        check_choice("variant", variant, DIRNET_VARIANTS)
        self.image_size, self.levels = tuple(image_size), tuple(levels)
        self.variant = DIRNET_VARIANTS[variant]
        if not self.levels:
            raise ValueError(f"levels is {levels}; expected the halvings of one stage or more, such as [4]")
        dims, seen = len(self.image_size), 2 * in_channels
        networks: list[nn.Module] = []
        if affine:
            networks.append(AffineRegressor(dims, **self._depth(max(self.levels)), in_channels=seen, channels=channels))
        networks += [self._regressor(stage, seen, channels) for stage in self.levels]
        self.registration = self._cascade(networks, self.image_size)

    @property
    def divisor(self) -> int:
        """What every axis of the images has to be divisible by."""
        return 2 ** (max(self.levels) + (self.variant.sees == "image"))

    @property
    def fits_any_size(self) -> bool:
        """Whether :meth:`at` gives networks for other sizes."""
        return self.variant.sees != "image"

    def at(self, image_size: Sequence[int]) -> DIRNet:
        """The network with these very weights, for images of another size that is divisible by :attr:`divisor`.

        Raises:
            ValueError: when the weights have a size of their own, or the size is not divisible.
        """
        if tuple(image_size) == self.image_size:
            return self
        if not self.fits_any_size:
            raise ValueError(
                f"image_size is {tuple(image_size)}; expected {self.image_size}, the one size of fully connected layers"
            )
        other = copy.copy(self)  # shares the weights
        other._modules = dict(self._modules)
        other.image_size = tuple(image_size)
        device = next(self.parameters()).device
        other.registration = self._cascade([stage.network for stage in self.registration.stages], other.image_size)
        other.registration.to(device).train(self.training)
        return other

    def forward(self, fixed: Tensor, moving: Tensor) -> dict[str, Tensor]:
        """Registers and warps a batch of pairs.

        Args:
            fixed: (B, C, *image_size) in [0, 1].
            moving: likewise.

        Returns:
            The voxel field ``fixed_to_moving`` (B, D, ...), ``warped_moving`` (B, C, ...), and ``estimates``
            (B, N, D, ...), the field after each stage, of which the first is the last.
        """
        fields = self.registration(fixed, moving).fields
        return {
            "fixed_to_moving": fields[-1],
            "estimates": torch.stack(fields, dim=1),
            "warped_moving": warp(moving.float(), fields[-1]),
        }

    def _regressor(self, levels: int, in_channels: int, channels: int | Sequence[int]) -> nn.Module:
        if self.variant.sees == "image":
            return WholeImageRegressor(self.image_size, levels=levels, in_channels=in_channels, channels=channels)
        return PatchRegressor(
            len(self.image_size),
            **self._depth(levels),
            in_channels=in_channels,
            channels=channels,
            pooling=self.variant.pooling,
            overlapping=self.variant.sees == "overlapping",
        )

    def _depth(self, levels: int) -> dict[str, int]:
        """Halvings of a regressor, and how many of them only make the images as coarse as its stage."""
        return {"levels": levels, "coarsened": levels - min(self.levels)}

    def _cascade(self, networks: Sequence[nn.Module], size: tuple[int, ...]) -> Cascade:
        if any(n % self.divisor for n in size):
            near = tuple(-(-n // self.divisor) * self.divisor for n in size)
            raise ValueError(f"image_size is {size}; expected sizes divisible by {self.divisor}, such as {near}")
        return Cascade([Stage(network, self._head(network, size)) for network in networks])

    def _head(self, network: nn.Module, size: tuple[int, ...]) -> Head:
        if isinstance(network, AffineRegressor):
            return AffineField(size)
        patch = 2**network.levels
        if self.variant.order:
            return PatchBSplineField(size, patch, order=self.variant.order)
        return _ThinPlateSplineOfPatches(size, tuple(-(-n // patch) for n in size))


class _ThinPlateSplineOfPatches(ThinPlateSplineField):
    """The head of thin-plate splines for parameters (B, D, *patches); its control points reach from edge to edge."""

    def forward(self, parameters: Tensor) -> Tensor:
        return super().forward(_rows(parameters))

    def transform(self, parameters: Tensor) -> ThinPlateSplineTransform:
        return super().transform(_rows(parameters))


def _rows(parameters: Tensor) -> Tensor:
    return parameters.flatten(2).transpose(1, 2)  # (B, K, D)
