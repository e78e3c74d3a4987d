"""Regressors of DIRNet: one displacement a patch of a pair of images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from monai.networks.blocks import Convolution
from monai.networks.layers import Pool
from torch import Tensor, nn

from ...utils import check_choice, check_not_negative, check_positive

ELU = ("elu", {"inplace": True})
POOLINGS = ("average", "max", "stride")


class PatchRegressor(nn.Module):
    """Convolutions and halvings down to one voxel a patch, then convolutions of one voxel: each patch by itself.

    Starts at the identity. Every layer but the last has batch normalisation and ELU.

    Args:
        spatial_dims: 2 or 3.
        levels: number of halvings; a patch has ``2**levels`` voxels along each axis.
        coarsened: how many of them only average the images, before the first convolution.
        in_channels: channels of both images together.
        channels: kernels of every layer, or of the layers before each other halving; those after the last have as many
            as it.
        pooling: ``"average"``, ``"max"``, or ``"stride"`` for strided convolutions of two voxels.
        overlapping: one more convolution before and one after the last halving, so that neighbouring patches overlap
            by what the control points of a cubic spline share.

    Raises:
        ValueError: for an unknown pooling, or no levels or channels.

    References:
        de Vos et al., End-to-end unsupervised deformable image registration with a convolutional neural network, 2017,
        Sect. 2 and, for the options, 4.2. We predict displacements in half patches, so that neither the size of the
        image nor that of the patches changes their scale.

    Example:
        >>> PatchRegressor(2)(torch.rand(3, 2, 64, 48)).shape
        torch.Size([3, 2, 4, 3])
    """

    def __init__(
        self,
        spatial_dims: int,
        *,
        levels: int = 4,
        coarsened: int = 0,
        in_channels: int = 2,
        channels: int | Sequence[int] = 16,
        pooling: str = "average",
        overlapping: bool = False,
    ) -> None:
        super().__init__()
        self.spatial_dims, self.levels = spatial_dims, levels
        widths = _widths(channels, levels - coarsened)
        self.coarsen = _coarsen(spatial_dims, coarsened)
        self.features = _features(spatial_dims, [in_channels, *widths], pooling=pooling, overlapping=overlapping)
        last = widths[-1]
        self.each_patch = nn.Sequential(*(_layer(spatial_dims, last, last, 1) for _ in range(2)))
        self.out = Convolution(spatial_dims, last, spatial_dims, kernel_size=1, conv_only=True)
        _zero(self.out.conv)

    def forward(self, pair: Tensor) -> Tensor:
        """(B, in_channels, *size) to displacements (B, D, *patches) on the cube [-1, 1]^D of the images."""
        _check_size(pair.shape[2:], self.levels)
        return _on_cube(
            self.out(self.each_patch(self.features(self.coarsen(pair)))).float(), pair.shape[2:], self.levels
        )


class WholeImageRegressor(nn.Module):
    """As :class:`PatchRegressor`, but every displacement depends on the whole image, which has one size.

    Args:
        image_size: of the images; every axis divisible by ``2**(levels + 1)``.
        levels: number of halvings that make the patches.
        in_channels: channels of both images together.
        channels: as of :class:`PatchRegressor`.
        hidden: width of the two fully connected layers.

    Raises:
        ValueError: for a size that is not divisible, or no levels or channels.

    References:
        de Vos et al. 2017, Sect. 4.2 (DIRNet-C2).
    """

    def __init__(
        self,
        image_size: Sequence[int],
        *,
        levels: int = 4,
        in_channels: int = 2,
        channels: int | Sequence[int] = 16,
        hidden: int = 1024,
    ) -> None:
        super().__init__()
        dims = len(image_size)
        _check_size(image_size, levels + 1)
        self.image_size, self.levels = tuple(image_size), levels
        widths = _widths(channels, levels)
        self.features, last = _features(dims, [in_channels, *widths]), widths[-1]
        self.down = nn.Sequential(_layer(dims, last, last, 3), _halving(dims, last, "average"))
        cells = math.prod(size // 2 ** (levels + 1) for size in image_size) * last
        self.hidden = nn.Sequential(
            nn.Flatten(),
            *(nn.Linear(cells, hidden), nn.BatchNorm1d(hidden), nn.ELU()),
            *(nn.Linear(hidden, hidden), nn.BatchNorm1d(hidden), nn.ELU()),
        )
        self.patches = tuple(size // 2**levels for size in image_size)
        self.out = nn.Linear(hidden, dims * math.prod(self.patches))
        _zero(self.out)

    def forward(self, pair: Tensor) -> Tensor:
        """(B, in_channels, *image_size) to displacements (B, D, *patches) on the cube [-1, 1]^D of the images."""
        if tuple(pair.shape[2:]) != self.image_size:
            raise ValueError(
                f"pair has shape {tuple(pair.shape)}; expected (B, C, *{self.image_size}), the one size that a network "
                "with fully connected layers takes. Resize the images"
            )
        found = self.out(self.hidden(self.down(self.features(pair)))).float()
        return _on_cube(found.reshape(pair.shape[0], -1, *self.patches), self.image_size, self.levels)


class AffineRegressor(nn.Module):
    """Parameters of one affine map from a pair of images of any size, by averaging over all patches.

    Starts at the identity.

    Args:
        spatial_dims: 2 or 3.
        levels: number of halvings.
        coarsened: as of :class:`PatchRegressor`.
        in_channels: channels of both images together.
        channels: as of :class:`PatchRegressor`.

    References:
        de Vos et al., A deep learning framework for unsupervised affine and deformable image registration, Medical
        Image Analysis 2019: convolutions, global average pooling and fully connected layers. Both images are read
        together here, as by the other regressors.
    """

    def __init__(
        self,
        spatial_dims: int,
        *,
        levels: int = 4,
        coarsened: int = 0,
        in_channels: int = 2,
        channels: int | Sequence[int] = 16,
    ) -> None:
        super().__init__()
        self.spatial_dims, self.levels = spatial_dims, levels
        widths = _widths(channels, levels - coarsened)
        self.coarsen = _coarsen(spatial_dims, coarsened)
        self.features = _features(spatial_dims, [in_channels, *widths], overlapping=True)
        self.out = nn.Linear(widths[-1], spatial_dims * (spatial_dims + 1))
        _zero(self.out)

    def forward(self, pair: Tensor) -> Tensor:
        """(B, in_channels, *size) to parameters (B, D, D + 1) of :class:`~monai_cellreg.geometry.AffineField`."""
        _check_size(pair.shape[2:], self.levels)
        found = self.out(self.features(self.coarsen(pair)).flatten(2).mean(2))
        return found.float().reshape(-1, self.spatial_dims, self.spatial_dims + 1)


def _widths(channels: int | Sequence[int], levels: int) -> list[int]:
    """Kernels of the layers before each halving."""
    check_positive("levels", levels)
    widths = [channels] * levels if isinstance(channels, int) else list(channels)
    if len(widths) != levels:
        raise ValueError(f"channels is {widths}; expected one number, or {levels}, one for each of the levels")
    for width in widths:
        check_positive("channels", width)
    return widths


def _coarsen(dims: int, halvings: int) -> nn.Module:
    """Averages images over cubes of ``2**halvings`` voxels."""
    check_not_negative("coarsened", halvings)
    return Pool["avg", dims](kernel_size=2**halvings) if halvings else nn.Identity()


def _features(dims: int, widths: Sequence[int], *, pooling: str = "average", overlapping: bool = False) -> nn.Module:
    """Convolutions of three voxels and halvings in turn; the first of the widths is that of the input."""
    check_choice("pooling", pooling, POOLINGS)
    layers: list[nn.Module] = []
    for level, (before, width) in enumerate(zip(widths[:-1], widths[1:], strict=True), start=1):
        extra = [_layer(dims, width, width, 3) for _ in range(2 if overlapping and level == len(widths) - 1 else 0)]
        layers += [_layer(dims, before, width, 3), *extra[:1], _halving(dims, width, pooling), *extra[1:]]
    return nn.Sequential(*layers)


def _layer(dims: int, inputs: int, outputs: int, kernel: int) -> nn.Module:
    return Convolution(dims, inputs, outputs, kernel_size=kernel, norm="batch", act=ELU, adn_ordering="NA")


def _halving(dims: int, channels: int, pooling: str) -> nn.Module:
    if pooling == "stride":
        return Convolution(
            dims, channels, channels, kernel_size=2, strides=2, padding=0, norm="batch", act=ELU, adn_ordering="NA"
        )
    return Pool["avg" if pooling == "average" else "max", dims](kernel_size=2)


def _zero(layer: nn.Module) -> None:
    for values in layer.parameters():
        nn.init.zeros_(values)


def _on_cube(half_patches: Tensor, size: Sequence[int], levels: int) -> Tensor:
    """Displacements (B, D, *patches) in half patches, on the cube of an image."""
    half = torch.tensor([max(n - 1, 1) / 2 for n in size], device=half_patches.device)
    return half_patches * (2**levels / 2 / half).reshape(-1, *[1] * len(size))


def _check_size(size: Sequence[int], levels: int) -> None:
    if any(n % 2**levels for n in size):
        near = tuple(max(1, math.ceil(n / 2**levels)) * 2**levels for n in size)
        raise ValueError(f"image_size is {tuple(size)}; expected sizes divisible by {2**levels}, such as {near}")
