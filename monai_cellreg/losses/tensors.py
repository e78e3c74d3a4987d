"""Tensors as every loss takes them, and whether their values may be looked at."""

from __future__ import annotations

import torch
from monai.data import MetaTensor
from torch import Tensor


def plain(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Without the metadata of a MONAI tensor, which every operation would carry along."""
    return (tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor).to(dtype)


def may_look() -> bool:
    """Whether values of tensors may be looked at: not while a graph is traced or compiled."""
    return not (torch.jit.is_tracing() or torch.compiler.is_compiling())
