"""How many processor threads the methods of a benchmark may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["limited_threads"]


@contextmanager
def limited_threads(count: int) -> Iterator[None]:
    """Limits PyTorch and ITK, and sets both back."""
    variable = "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"
    before = torch.get_num_threads(), os.environ.get(variable)
    torch.set_num_threads(count)
    os.environ[variable] = str(count)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        os.environ.pop(variable)
        if before[1] is not None:
            os.environ[variable] = before[1]
