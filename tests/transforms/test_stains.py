"""Stains are those of scikit-image, and vary in its space of concentrations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import skimage.color
import torch
from torch import Tensor

from monai_cellreg.transforms import RandStain, RandStaind, SeparateStains, SeparateStainsd
from monai_cellreg.transforms.stains import STAINS


def rgb(dims: int = 2) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).uniform(0.05, 1, (3, *(9, 12, 5)[:dims]))).float()


def last(image: Tensor) -> np.ndarray:
    return np.moveaxis(image.numpy(), 0, -1)


def stained(dims: int = 2) -> tuple[np.ndarray, Tensor]:
    """Concentrations of all three stains and the image (3, *spatial) that scikit-image makes of them."""
    stains = np.random.default_rng(1).uniform(0.02, 0.08, (*(9, 12, 5)[:dims], 3))
    image = skimage.color.combine_stains(stains, skimage.color.rgb_from_hed)
    return stains, torch.from_numpy(np.moveaxis(image, -1, 0).copy())


@pytest.mark.parametrize("stains", STAINS)
def test_separates_as_scikit_image_does(spatial_dims: int, stains: str) -> None:
    image = rgb(spatial_dims)
    expected = skimage.color.separate_stains(last(image), getattr(skimage.color, f"{stains}_from_rgb"))
    out = SeparateStains(stains)(image)
    assert out.dtype == torch.float32
    assert np.abs(last(out) - expected).max() < 1e-6
    assert expected.max() > 0.05 and (expected == 0).any()


def test_hed_and_channels_in_the_order_asked_for() -> None:
    image = rgb()
    expected = skimage.color.rgb2hed(last(image))
    out = SeparateStainsd(["image"], "hed", [2, 0])({"image": image})["image"]
    assert np.abs(last(out) - expected[..., [2, 0]]).max() < 1e-6


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_integers_are_scaled_by_their_white(dtype: type) -> None:
    image = (rgb().numpy() * np.iinfo(dtype).max).astype(dtype)
    expected = skimage.color.rgb2hed(np.moveaxis(image, 0, -1))
    assert np.abs(last(SeparateStains()(image)) - expected).max() < 1e-6


def test_black_and_white_are_finite() -> None:
    image = torch.tensor([0.0, 1.0]).expand(3, 1, 2)
    out = SeparateStains()(image)
    assert out.isfinite().all() and out[:, 0, 0].max() > 0.3
    assert torch.equal(out[:, 0, 1], torch.zeros(3))
    assert RandStain().set_random_state(0)(image).isfinite().all()


def test_concentrations_are_scaled_and_shifted(spatial_dims: int) -> None:
    stains, image = stained(spatial_dims)
    change = RandStain(scale=0.3, shift=0.01).set_random_state(3)
    after = skimage.color.separate_stains(last(change(image)), skimage.color.hed_from_rgb)
    for k in range(3):
        fit = np.polyfit(stains[..., k].ravel(), after[..., k].ravel(), 1)
        assert np.abs(np.polyval(fit, stains[..., k]) - after[..., k]).max() < 1e-6
        assert 0.7 <= fit[0] <= 1.3 and -0.01 <= fit[1] <= 0.01
        assert abs(fit[0] - 1) > 1e-3 and abs(fit[1]) > 1e-4


def test_draws_fill_their_range_and_differ_between_stains() -> None:
    stains, image = stained()
    change = RandStain(scale=0.3, shift=0.01).set_random_state(0)
    fits = []
    for _ in range(40):
        after = skimage.color.separate_stains(last(change(image)), skimage.color.hed_from_rgb)
        fits.append([np.polyfit(stains[..., k].ravel(), after[..., k].ravel(), 1) for k in range(3)])
    values = np.array(fits)  # (draws, stains, (factor, offset))
    assert values[..., 0].min() < 0.75 and values[..., 0].max() > 1.25
    assert values[..., 1].min() < -0.008 and values[..., 1].max() > 0.008
    assert np.abs(np.corrcoef(values[..., 0].T)[np.triu_indices(3, 1)]).max() < 0.5


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_nothing_drawn_gives_the_image_back(dtype: torch.dtype) -> None:
    image = (rgb() * 255).to(torch.uint8) if dtype == torch.uint8 else rgb()
    out = RandStain(scale=0, shift=0)(image)
    assert out.dtype == dtype
    torch.testing.assert_close(out.as_tensor(), image, rtol=0, atol=0 if dtype == torch.uint8 else 1e-6)
    assert torch.equal(RandStain(prob=0.0)(image).as_tensor(), image)


def test_integers_keep_type_and_range() -> None:
    image = (rgb() * 255).to(torch.uint8)
    change, same = (RandStain().set_random_state(1) for _ in range(2))
    out, expected = change(image), 255 * same(image.double() / 255)
    assert out.dtype == torch.uint8
    assert (out.double() - expected.as_tensor()).abs().max() <= 0.5


def test_each_key_has_a_draw_of_its_own() -> None:
    image = rgb()
    out = RandStaind(["a", "b"]).set_random_state(0)({"a": image, "b": image})
    assert (out["a"] - out["b"]).abs().max() > 0.01


@pytest.mark.parametrize("transform", [SeparateStains(), RandStain()])
@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.rand(1, 6, 7), "img has shape 1x6x7; expected RGB"),
        (torch.rand(6, 7, 3), "img has shape 6x7x3; expected RGB"),
        (torch.rand(3, 6), "img has shape 3x6; expected RGB"),
        (255 * torch.rand(3, 6, 7), r"expected them within \[0, 1\]: divide it by the intensity of white"),
        (torch.full((3, 6, 7), torch.nan), "img holds 126 of 126 values that are NaN"),
        (torch.zeros(3, 6, 7, dtype=torch.int64), "img is of type torch.int64; expected uint8, uint16 or floating"),
    ],
)
def test_what_is_not_rgb_is_refused(transform: Any, image: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        transform(image)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SeparateStains("he"), "stains is 'he', expected one of 'hed'"),
        (lambda: SeparateStains(channels=[3]), r"channels is \[3\]; expected some of 0, 1, 2"),
        (lambda: SeparateStains(channels=[]), r"channels is \[\]; expected some of 0, 1, 2"),
        (lambda: RandStain(scale=-0.1), "scale is -0.1; expected a number of 0 or more"),
        (lambda: RandStain(shift=float("nan")), "shift is nan; expected a number of 0 or more"),
    ],
)
def test_unsound_settings_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
