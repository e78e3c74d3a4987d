"""What losses on fields accept; refusals are pinned by the contract of the deformation losses."""

from __future__ import annotations

import torch
from monai.data import MetaTensor
from torch import Tensor

from monai_cellreg.losses.ddf import as_field, as_weight, shares


def test_fields_become_plain_and_floating() -> None:
    for given, wanted in ((torch.int16, torch.float32), (torch.float16, torch.float32), (torch.float64, torch.float64)):
        field = as_field(MetaTensor(torch.ones(1, 2, 3, 1)).to(given), smallest=1)
        assert type(field) is Tensor and field.dtype == wanted and field.shape == (1, 2, 3, 1)
    weight = as_weight(MetaTensor(torch.ones(1, 1, 3, 1)).bool(), field)
    assert type(weight) is Tensor and weight.dtype == torch.float64


def test_shares_of_every_item_sum_to_one() -> None:
    weight = torch.rand(3, 1, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(shares(weight, "").flatten(1).sum(1), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(shares(weight[:1], ""), shares(weight, "")[:1])
