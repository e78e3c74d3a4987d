"""Parts of a network that a training leaves as they are."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ..utils import check_choice


def freeze(network: nn.Module, parts: Sequence[str]) -> None:
    """Takes the weights of parts of a network out of the training; statistics of normalisation still follow the data.

    Args:
        network: any module.
        parts: names of its submodules, such as ``["registration"]``.

    Raises:
        ValueError: for a name that the network does not have.
    """
    known = [name for name, _ in network.named_modules() if name]
    for part in parts:
        check_choice("frozen", part, known)
        network.get_submodule(part).requires_grad_(False)
