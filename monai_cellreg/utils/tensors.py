"""Images without their metadata."""

from __future__ import annotations

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor


def plain(image: Tensor | np.ndarray) -> Tensor:
    """The values of an image, array or tensor, as a tensor without metadata; shares their memory."""
    return image.as_tensor() if isinstance(image, MetaTensor) else torch.as_tensor(image)
