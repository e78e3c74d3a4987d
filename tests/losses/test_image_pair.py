"""What image losses share beyond the contract of tests/contracts/test_image_losses.py."""

from __future__ import annotations

import re

import pytest
import torch

from monai_cellreg.losses.image_pair import ImageLoss, prepare


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        ((torch.uint8, torch.uint8), torch.float32),
        ((torch.float16, torch.bfloat16), torch.float32),
        ((torch.float32, torch.float64), torch.float64),
    ],
)
def test_images_share_a_type_of_full_precision(types: tuple[torch.dtype, torch.dtype], expected: torch.dtype) -> None:
    images = prepare(*(torch.ones(1, 1, 3, dtype=dtype) for dtype in types), torch.ones(1, 1, 3, dtype=torch.bool))
    assert {image.dtype for image in images} == {expected}


def test_hidden_voxels_are_zero_and_others_as_given() -> None:
    pred, target = torch.tensor([[[1.0, torch.nan, 3.0]]]), torch.tensor([[[4.0, 5.0, 6.0]]])
    images = prepare(pred, target, torch.tensor([[[0.5, 0.0, 2.0]]]))
    assert images.pred.tolist() == [[[1, 0, 3]]]
    assert images.target.tolist() == [[[4, 0, 6]]]


def test_finite_values_whose_sum_is_not_are_taken() -> None:
    large = torch.full((1, 1, 4), 3e38)
    assert torch.equal(prepare(large, large, None).pred, large)


def test_number_of_axes_is_checked_when_it_is_known() -> None:
    image = torch.rand(1, 1, 4, 5)
    assert prepare(image, image, None, spatial_dims=2).weight is None
    text = "pred has 2 spatial axes (shape 4x5), expected 3; give an image with 3 axes"
    with pytest.raises(ValueError, match=re.escape(text)):
        prepare(image, image, None, spatial_dims=3)


def test_subclass_has_to_say_what_is_unlike() -> None:
    with pytest.raises(NotImplementedError):
        ImageLoss()(torch.rand(1, 1, 4), torch.rand(1, 1, 4))
