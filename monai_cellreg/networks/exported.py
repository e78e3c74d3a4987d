"""The form in which networks are exported and shared: one tensor in, one tensor out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

INNER = "network."


class PairAsChannels(nn.Module):
    """A registration network that takes the pair as the channels of one image and gives the displacements alone.

    It is what MONAI's ``verify_net_in_out``, ``ckpt_export`` and ``onnx_export`` and programs for deployment expect.
    Its weights are those of the network, under the same names: one file serves both.

    Convention: the displacements are a MONAI voxel DDF, which ``monai.networks.blocks.Warp`` reads: in voxels, fixed to
    moving, components in tensor-axis order.

    Args:
        network: takes the fixed and the moving image, each (B, C, *spatial); gives ``fixed_to_moving`` among others.

    Example:
        >>> import torch
        >>> from monai_cellreg.networks import DIRNet
        >>> PairAsChannels(DIRNet((64, 48)))(torch.rand(1, 2, 64, 48)).shape
        torch.Size([1, 2, 64, 48])
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_state_dict_post_hook(_without_inner)
        self.register_load_state_dict_pre_hook(_with_inner)

    def forward(self, image: Tensor) -> Tensor:
        """The fixed image's channels, then the moving one's, (B, 2 C, *spatial), to displacements (B, D, *spatial)."""
        fixed, moving = image.chunk(2, dim=1)
        return self.network(fixed, moving)["fixed_to_moving"]


def _without_inner(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Mapping[str, Any]) -> None:
    """Names of weights as the network itself has them."""
    for name in [name for name in state if name.startswith(prefix + INNER)]:
        state[prefix + name.removeprefix(prefix + INNER)] = state.pop(name)


def _with_inner(module: nn.Module, state: dict[str, Any], prefix: str, *others: Any) -> None:
    """The opposite of :func:`_without_inner`, of what is about to be loaded."""
    for name in [name for name in state if name.startswith(prefix)]:
        state[prefix + INNER + name.removeprefix(prefix)] = state.pop(name)
