"""Values without metadata."""

import numpy as np
import torch
from monai.data import MetaTensor

from monai_cellreg.utils import plain


def test_metadata_goes_and_memory_is_shared() -> None:
    image = MetaTensor(torch.arange(6.0).reshape(1, 2, 3), meta={"space": "RAS"})
    values = plain(image)
    assert type(values) is torch.Tensor
    values[0, 1, 2] = -1
    assert float(image[0, 1, 2]) == -1
    array = np.zeros((2, 3), np.uint8)
    plain(array)[1, 0] = 7
    assert array[1, 0] == 7
