"""Colour becomes the luminance that scikit-image computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from skimage.color import rgb2gray

from monai_cellreg.transforms import to_grey


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_colour_becomes_luminance(spatial_dims: int, dtype: torch.dtype) -> None:
    shape = (3, 5, 7, 4)[: spatial_dims + 1]
    image = torch.tensor(np.random.default_rng(0).integers(0, 256, shape)).to(dtype)
    before = image.clone()
    expected = rgb2gray(np.moveaxis(image.double().numpy(), 0, -1))
    grey = to_grey(image)
    assert grey.shape == (1, *shape[1:]) and grey.dtype == torch.float32
    np.testing.assert_allclose(grey[0], expected, rtol=0, atol=1e-4)
    assert torch.equal(image, before)


def test_grey_stays(spatial_dims: int) -> None:
    image = torch.arange(60).reshape((1, 5, 12, 1)[: spatial_dims + 1]).short()
    grey = to_grey(MetaTensor(image))
    assert grey.dtype == torch.float32
    assert torch.equal(torch.as_tensor(grey), image.float())


@pytest.mark.parametrize("channels", [0, 2, 4])
def test_other_channels_are_refused(channels: int) -> None:
    with pytest.raises(ValueError, match=f"^image has shape {channels}x5x7 with {channels} channels first; expected 1"):
        to_grey(torch.zeros(channels, 5, 7))
