"""MONAI's layers for displacement and velocity fields, by this package's sampling.

They take the place of ``monai.networks.blocks.Warp`` and ``DVF2DDF``: same arguments, same results. Unlike those, they
keep coordinates in float32 when images or fields come in half precision, let one image or field serve a batch, let an
axis of one voxel fade to zero outside, take no random state from others, hold none between calls, warn of nothing, and
say so when they do not know a mode.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...geometry import exponentiate
from ...geometry import warp as warp_image
from ...utils import check_choice, check_same_shape

# Numbers are those that MONAI passes to its C++ extension.
MODES: dict[str | int, str] = {"bilinear": "linear", "nearest": "nearest", "bicubic": "bicubic"}
MODES |= {0: "nearest", 1: "linear", 3: "bicubic"}
PADDINGS: dict[str | int, str] = {"border": "border", "zeros": "zeros", "reflection": "reflection"}
PADDINGS |= {0: "border", 1: "reflection", 7: "zeros"}


class Warp(nn.Module):
    """An image read through a displacement field: ``warped(x) = image(x + ddf(x))``.

    Convention: displacements in voxels, components in tensor-axis order; the image ends at the centres of its outer
    voxels, see :func:`~monai_cellreg.geometry.sample`.

    Args:
        mode: ``"bilinear"`` (also of volumes), ``"nearest"`` (no gradient for the field) or ``"bicubic"`` (2D only); a
            ``GridSampleMode``, or its number in MONAI's extension: 0 nearest, 1 linear, 3 cubic.
        padding_mode: ``"border"``, ``"zeros"`` or ``"reflection"``; a ``GridSamplePadMode``, or its number: 0 border,
            1 reflection, 7 zeros.
        jitter: read at points moved by up to a voxel along every axis, the same ones in every call.

    Raises:
        ValueError: for an unknown mode or padding.

    Example:
        >>> ddf = torch.tensor([0.5, 0.0]).reshape(1, 2, 1, 1).expand(1, 2, 2, 3)
        >>> Warp()(torch.tensor([[[[0.0, 1, 2], [10, 11, 12]]]]), ddf)
        tensor([[[[ 5.,  6.,  7.],
                  [10., 11., 12.]]]])
    """

    def __init__(self, mode: str | int = "bilinear", padding_mode: str | int = "border", jitter: bool = False) -> None:
        super().__init__()
        self.mode, self.padding = _resolved(mode, padding_mode)
        self.jitter = jitter

    def forward(self, image: Tensor, ddf: Tensor) -> Tensor:
        """Image (B or 1, C, *spatial) and field (B or 1, D, *spatial) to the warped image (B, C, *spatial)."""
        check_same_shape("ddf", ddf.shape[2:], "image", image.shape[2:])
        if self.jitter:
            generator = torch.Generator(ddf.device).manual_seed(0)
            ddf = ddf + torch.rand(ddf.shape, generator=generator, device=ddf.device, dtype=_wide(ddf.dtype))
        return warp_image(image, ddf, mode=self.mode, padding=self.padding)

    def extra_repr(self) -> str:
        return f"mode={self.mode!r}, padding={self.padding!r}, jitter={self.jitter}"


class DVF2DDF(nn.Module):
    """Velocities to displacements, by scaling and squaring; see :func:`~monai_cellreg.geometry.exponentiate`.

    Args:
        num_steps: number of squarings.
        mode: see :class:`Warp`.
        padding_mode: see :class:`Warp`; what a flow that leaves the image reads there.

    Raises:
        ValueError: when ``num_steps`` is not positive, or for an unknown mode or padding.
    """

    def __init__(self, num_steps: int = 7, mode: str | int = "bilinear", padding_mode: str | int = "zeros") -> None:
        super().__init__()
        if num_steps <= 0:
            raise ValueError(f"num_steps is {num_steps}; expected 1 or more squarings (7 serves most images)")
        self.num_steps = num_steps
        self.mode, self.padding = _resolved(mode, padding_mode)

    def forward(self, dvf: Tensor) -> Tensor:
        """Velocities (B, D, *spatial) to displacements of that shape, both in voxels; float32 or better."""
        return exponentiate(dvf, steps=self.num_steps, mode=self.mode, padding=self.padding)

    def extra_repr(self) -> str:
        return f"num_steps={self.num_steps}, mode={self.mode!r}, padding={self.padding!r}"


def _resolved(mode: str | int, padding_mode: str | int) -> tuple[str, str]:
    """Mode and padding in the geometry's words."""
    check_choice("mode", mode, MODES)
    check_choice("padding_mode", padding_mode, PADDINGS)
    return MODES[mode], PADDINGS[padding_mode]


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)
