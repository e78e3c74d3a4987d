"""Metadata is left behind, and values are left alone while a graph is traced or compiled."""

from __future__ import annotations

import torch
from monai.data import MetaTensor
from torch import Tensor

from monai_cellreg.losses.tensors import may_look, plain


def test_plain_tensor_of_the_type_asked_for() -> None:
    given = MetaTensor(torch.tensor([1.0, 2.0], requires_grad=True), meta={"name": "a"})
    found = plain(given, torch.float64)
    assert type(found) is Tensor and found.dtype == torch.float64 and found.requires_grad
    same = torch.ones(2)
    assert plain(same, torch.float32) is same


def test_values_are_looked_at_outside_of_tracing_and_compiling_only() -> None:
    seen: list[bool] = []

    def asked(x: Tensor) -> Tensor:
        seen.append(may_look())
        return x + may_look()

    torch.jit.trace(asked, torch.zeros(1), check_trace=False)
    assert seen == [False]
    assert may_look()
    compiled = torch.compile(lambda x: x + may_look(), backend="eager", fullgraph=True)
    assert compiled(torch.zeros(1)).item() == 0
