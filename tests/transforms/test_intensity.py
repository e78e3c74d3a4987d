"""The MONAI forms of appearance and normalisation do what their batched forms do, one image at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from monai_cellreg.transforms import (
    AppearanceRange,
    NormalizePercentiles,
    NormalizePercentilesd,
    RandAppearance,
    RandAppearanced,
    RandomAppearance,
    normalise,
)


def image(dims: int = 2, channels: int = 1) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).uniform(0, 1, (channels, *(20, 26, 12)[:dims]))).float()


def test_appearance_is_the_batched_one_of_the_same_seed(spatial_dims: int) -> None:
    change = RandAppearance(AppearanceRange(blur=0.0)).set_random_state(3)
    out = change(image(spatial_dims))
    batched = RandomAppearance(torch.Generator().manual_seed(change.seed), settings=AppearanceRange(blur=0.0))
    assert torch.equal(out.as_tensor(), batched(image(spatial_dims)[None])[0])
    assert not torch.equal(change(image(spatial_dims)), out)


def test_each_key_has_a_draw_of_its_own() -> None:
    out = RandAppearanced(["fixed", "moving"]).set_random_state(0)({"fixed": image(), "moving": image()})
    assert (out["fixed"] - out["moving"]).abs().max() > 0.05


def test_probability_is_that_of_each_image() -> None:
    change = RandAppearanced(["a", "b"], prob=0.5).set_random_state(0)
    outs = [change({"a": image(), "b": image()}) for _ in range(40)]
    kept = np.array([[torch.equal(out[key].as_tensor(), image()) for key in "ab"] for out in outs])
    assert 10 <= kept[:, 0].sum() <= 30 and 10 <= kept[:, 1].sum() <= 30
    assert 10 <= (kept[:, 0] == kept[:, 1]).sum() <= 30


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (255 * image(), r"img has values from .* expected them within \[0, 1\]: scale it first"),
        (image() - 0.5, r"img has values from -0.4"),
        (image() / 0, "img holds .* NaN or infinite"),
    ],
)
def test_appearance_refuses_other_ranges(wrong: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RandAppearance()(wrong)


@pytest.mark.parametrize("percentiles", [(0.5, 99.5), (10.0, 70.0)])
def test_percentiles_become_zero_and_one(spatial_dims: int, percentiles: tuple[float, float]) -> None:
    given = 7 * image(spatial_dims) - 2
    low, high = np.percentile(given.numpy(), percentiles)
    out = NormalizePercentilesd("image", *percentiles)({"image": given})["image"]
    expected = np.clip((given.numpy() - low) / (high - low), 0, 1)
    assert np.abs(out.numpy() - expected).max() < 1e-5
    assert (out.as_tensor() - normalise(given[None], percentiles)[0]).abs().max() < 1e-5


def test_percentiles_of_each_channel() -> None:
    given = image(channels=2) * torch.tensor([1.0, 40.0]).reshape(2, 1, 1)
    each = NormalizePercentiles(channel_wise=True)(given)
    one = NormalizePercentiles()(given)
    assert torch.equal(each[:1], NormalizePercentiles()(given[:1]))
    assert each[0].max() == 1 and one[0].max() < 0.1


@pytest.mark.filterwarnings("ignore:Divide by zero")
def test_constant_image_becomes_zero() -> None:
    assert torch.equal(NormalizePercentiles()(torch.full((1, 4, 5), 3.0)).as_tensor(), torch.zeros(1, 4, 5))


@pytest.mark.parametrize("make", [NormalizePercentiles, lambda *p: NormalizePercentilesd("image", *p)])
@pytest.mark.parametrize("percentiles", [(50.0, 50.0), (-1.0, 50.0), (0.0, 101.0)])
def test_unsound_percentiles_are_refused(make: Any, percentiles: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"expected 0 <= lower < upper <= 100"):
        make(*percentiles)


def test_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="img holds 1 of 20 values that are NaN"):
        NormalizePercentiles()(torch.tensor([torch.nan] + [0.0] * 19).reshape(1, 4, 5))
